package main

import (
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
func readStream(ctx context.Context, client *http.Client, url, via, name string, o *options, t *tally) {
	t.opened(via)
	c := newComparer(name, o.events)
	refused := false
	why := func() string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+name, http.NoBody)
		if err != nil {
			return err.Error()
		}
		req.Header.Set("accept", "text/event-stream")
		res, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			refused = res.StatusCode == http.StatusServiceUnavailable
			return res.Status
		}
		buf := make([]byte, 32<<10)
		for {
			n, err := res.Body.Read(buf)
			now := time.Now()
			for range c.took(buf[:n]) {
				t.took(name, now)
			}
			switch {
			case err == nil:
				continue
			case err == io.EOF && c.next > o.events:
				return ""
			}
			return err.Error()
		}
	}()
	if refused && t.refusal(via) {
		return
	}
	t.finished(via, name, c, why)
}
