package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// newClient speaks one protocol.
func newClient(h2 bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	return &http.Client{Transport: &http.Transport{Protocols: &protocols, DisableCompression: true}}
}

// readStream reads one stream over one connection and compares it with the
// origin's.
func readStream(ctx context.Context, client *http.Client, url, name string, o *options, t *tally) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+name, http.NoBody)
	if err != nil {
		t.broken(name, 0, err.Error())
		return
	}
	req.Header.Set("accept", "text/event-stream")
	t.opened()
	res, err := client.Do(req)
	if err != nil {
		t.broken(name, 0, err.Error())
		return
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.broken(name, 0, res.Status)
		return
	}
	c := &comparer{stream: name, tally: t, next: 1}
	c.want = appendEvent(nil, name, 1)
	buf := make([]byte, 32<<10)
	for {
		n, err := res.Body.Read(buf)
		c.took(time.Now(), buf[:n])
		if err == nil {
			continue
		}
		if err != io.EOF || c.next <= o.events {
			t.broken(name, c.next-1, err.Error())
		}
		t.finished(o.events-(c.next-1), c.repeated)
		return
	}
}

// comparer checks bytes as they come.
type comparer struct {
	stream   string
	tally    *tally
	rest     []byte // of an event that is not whole yet
	want     []byte // event next
	next     int
	repeated int
}

func (c *comparer) took(now time.Time, b []byte) {
	c.rest = append(c.rest, b...)
	for {
		i := bytes.Index(c.rest, []byte("\n\n"))
		if i < 0 {
			return
		}
		block := c.rest[:i+2]
		c.rest = c.rest[i+2:]
		switch {
		case bytes.Equal(block, c.want):
			c.tally.arrived(c.stream, c.next, now)
			c.next++
			c.want = appendEvent(c.want[:0], c.stream, c.next)
		case block[0] == ':': // a heartbeat
		default:
			c.tally.strange(c.stream, c.next, string(block))
			c.repeated++
		}
	}
}
