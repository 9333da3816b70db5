package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// client is one stream's, over a connection of its own. It is as plain as can be,
// so that most of the machine is left to the gateways.
type client struct {
	conn *net.TCPConn // nil: on HTTP/2
	stop func()
	body *bufio.Reader
	last int // id of the last event received
}

// request asks a gateway for a path.
func request(ctx context.Context, g *gateway, path string) (*client, error) {
	if g.http2 {
		return requestHTTP2(ctx, g, path)
	}
	to, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(g.Address, "http://"))
	if err != nil {
		return nil, g.Blame(err)
	}
	conn, err := net.DialTCP("tcp", nil, to)
	if err != nil {
		return nil, g.Blame(err)
	}
	c := &client{conn: conn, stop: func() { conn.Close() }}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nhost: bench\r\naccept: text/event-stream\r\n\r\n", path); err != nil {
		conn.Close()
		return nil, g.Blame(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 4<<10), nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, g.Blame(err)
	}
	c.body = bufio.NewReaderSize(resp.Body, 4<<10)
	return c, nil
}

// requestHTTP2 is request on HTTP/2. What is not read waits behind a window of 64 KiB,
// the least that there is without negotiation.
func requestHTTP2(ctx context.Context, g *gateway, path string) (*client, error) {
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &h2c, DisableCompression: true,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 * kib},
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := func() {
		cancel()
		transport.CloseIdleConnections()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.TrimPrefix(g.Address, "http://")+path, nil)
	if err != nil {
		stop()
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := transport.RoundTrip(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err = fmt.Errorf("status %s", resp.Status)
	}
	if err != nil {
		stop()
		return nil, g.Blame(err)
	}
	return &client{body: bufio.NewReaderSize(resp.Body, 4<<10), stop: stop}, nil
}

func (c *client) close() { c.stop() }

// next reads one event, which has to be the next one, and returns when it was
// sent. Comments, that is heartbeats, are passed over.
func (c *client) next() (sent time.Duration, err error) {
	var id, data []byte
	for {
		line, err := c.line()
		if err != nil {
			return 0, err
		}
		switch {
		case len(line) == 0 && data != nil:
			if n, err := strconv.Atoi(string(id)); err != nil || n != c.last+1 {
				return 0, fmt.Errorf("event %q follows event %d", id, c.last)
			}
			c.last++
			at, _, _ := bytes.Cut(data, []byte(" "))
			ns, err := strconv.ParseInt(string(at), 10, 64)
			return time.Duration(ns), err
		case bytes.HasPrefix(line, []byte("id: ")):
			id = append(id, line[4:]...)
		case bytes.HasPrefix(line, []byte("data: ")):
			data = append(data, line[6:min(len(line), 6+32)]...)
		}
	}
}

// line reads up to a line's end. Of a long one it returns the beginning.
func (c *client) line() ([]byte, error) {
	line, err := c.body.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		begin := bytes.Clone(line[:64])
		for err == bufio.ErrBufferFull {
			_, err = c.body.ReadSlice('\n')
		}
		line = begin
	}
	if err == io.EOF {
		return nil, errGone
	}
	return bytes.TrimSuffix(line, []byte("\n")), err
}

// pair is a stream's two ends.
type pair struct {
	*client
	*feed
}

// close closes both ends. Nobody may be writing.
func (p *pair) close() {
	p.client.close()
	p.end()
}

// open opens a stream through a gateway and reads its first event.
func (b *bench) open(ctx context.Context, g *gateway) (*pair, error) {
	path := fmt.Sprintf("/stream/%d", b.serial.Add(1))
	c, err := request(ctx, g, path)
	if err != nil {
		return nil, err
	}
	f, err := b.origin.feed(ctx, path)
	if err == nil {
		_, err = c.next()
	}
	if err != nil {
		c.close()
		return nil, g.Blame(err)
	}
	return &pair{c, f}, nil
}

// openAll opens n streams, some at a time.
func (b *bench) openAll(ctx context.Context, g *gateway, n int) ([]*pair, error) {
	all := make([]*pair, n)
	err := each(n, opening, func(i int) (err error) {
		all[i], err = b.open(ctx, g)
		return err
	})
	if err != nil {
		closeAll(all)
	}
	return all, err
}

// opening is how many streams are opened at the same time.
const opening = 50

func closeAll(all []*pair) {
	for _, p := range all {
		if p != nil {
			p.close()
		}
	}
}
