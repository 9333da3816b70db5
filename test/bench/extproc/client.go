package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// connections to a server. Envoy has one per worker thread.
	connections = 2
	// window is how many chunks of a stream may be under way at once when the
	// server is to be kept busy.
	window = 16
	// opening is how many streams are opened at the same time.
	opening = 64
	// What the client is ready to receive without reading is more than it ever has
	// under way, so a goroutine may send without fear of a deadlock.
	streamWindow     = 2 << 20
	connectionWindow = 256 << 20
)

// client is Envoy's side of the protocol, towards one server.
type client struct {
	server *server
	conns  []*grpc.ClientConn
}

func dial(s *server) (*client, error) {
	c := &client{server: s}
	for range connections {
		conn, err := grpc.NewClient("passthrough:///"+s.Address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStaticStreamWindowSize(streamWindow),
			grpc.WithStaticConnWindowSize(connectionWindow),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(maxMessage)))
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

// exchange is one stream.
type exchange struct {
	g      grpc.ClientStream
	script *script
	answer *answer
	got    int // bytes of the answer so far
	reply  reply
}

// open opens a stream for every script and exchanges headers on it. Sessions of
// different names have nothing in common.
func (c *client) open(ctx context.Context, name string, scripts []*script) ([]*exchange, error) {
	response, err := responseHeaders()
	if err != nil {
		return nil, err
	}
	all := make([]*exchange, len(scripts))
	var group errgroup.Group // its context would end the streams with the opening
	group.SetLimit(opening)
	for i, s := range scripts {
		group.Go(func() error {
			request, err := requestHeaders(fmt.Sprintf("%s-%d", name, i))
			if err != nil {
				return err
			}
			x := &exchange{script: s, answer: c.server.of(s)}
			x.g, err = c.conns[i%connections].NewStream(ctx,
				&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, extproc.ExternalProcessor_Process_FullMethodName)
			if err != nil {
				return err
			}
			if err := x.ask(request, replyRequestHeaders); err != nil {
				return err
			}
			all[i] = x
			return x.ask(response, replyResponseHeaders)
		})
	}
	return all, group.Wait()
}

// ask sends headers and waits for the answer to them.
func (x *exchange) ask(f frame, member int) error {
	if err := x.g.SendMsg(f); err != nil {
		return err
	}
	defer x.reply.free()
	if err := x.g.RecvMsg(&x.reply); err != nil {
		return err
	}
	if int(x.reply.member) != member {
		return fmt.Errorf("headers were answered with field %d, not %d", x.reply.member, member)
	}
	return nil
}

// receive waits for a message and checks its bytes.
func (x *exchange) receive() error {
	if err := x.g.RecvMsg(&x.reply); err != nil {
		if errors.Is(err, io.EOF) { // a status of OK, which is too early here
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("after %d of %d bytes: %w", x.got, len(x.answer.bytes), err)
	}
	defer x.reply.buf.Free()
	body := x.reply.body
	x.reply.buf = nil
	if x.reply.member != replyResponseBody {
		return fmt.Errorf("a chunk was answered with field %d", x.reply.member)
	}
	if !bytes.HasPrefix(x.answer.bytes[x.got:], body) {
		return fmt.Errorf("wrong bytes after %d of %d: %.100q", x.got, len(x.answer.bytes), body)
	}
	x.got += len(body)
	return nil
}

// saturate sends everything, with at most a window of chunks unanswered, and
// returns when all that is due has come back. One goroutine does both, since every
// wake-up of the client is time that the servers do not have.
func (x *exchange) saturate() error {
	sent, dealt := 0, 0
	for {
		for sent < len(x.script.frames) && sent-dealt < window {
			if err := x.g.SendMsg(x.script.frames[sent]); err != nil {
				return x.why(err)
			}
			sent++
			dealt = x.dealt(dealt, sent)
		}
		if dealt == len(x.script.frames) {
			return nil
		}
		if err := x.receive(); err != nil {
			return err
		}
		dealt = x.dealt(dealt, sent)
	}
}

// dealt counts on from n, how many of the frames sent have had their answer. Bytes
// are counted and not messages: a server need not answer each chunk, and may send
// for several at once.
func (x *exchange) dealt(n, sent int) int {
	for n < sent && x.answer.due[n] <= x.got {
		n++
	}
	return n
}

// why finds the reason for a failed SendMsg: "On error, SendMsg aborts the stream
// [...] otherwise, io.EOF is returned and the status of the stream may be discovered
// using RecvMsg."
// https://pkg.go.dev/google.golang.org/grpc#ClientStream
func (x *exchange) why(err error) error {
	if errors.Is(err, io.EOF) {
		return x.receive()
	}
	return err
}

// pace sends a frame every gap, the first at begin, and returns how long each
// event took from the frame that completed it to its last byte's arrival.
func (x *exchange) pace(ctx context.Context, begin time.Time, gap time.Duration) ([]time.Duration, error) {
	// Sending must not wait for what comes back, so there are two goroutines here.
	// The times at which frames went out, since begin, are what they share.
	at := make([]atomic.Int64, len(x.script.frames))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		timer := time.NewTimer(time.Until(begin))
		defer timer.Stop()
		for i, f := range x.script.frames {
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			at[i].Store(int64(time.Since(begin)))
			if err := x.g.SendMsg(f); err != nil {
				return err
			}
			// By the clock and not by the last one: a frame that is late makes no other
			// late, and the rate is what it is meant to be.
			timer.Reset(time.Until(begin.Add(time.Duration(i+1) * gap)))
		}
		return nil
	})
	took := make([]time.Duration, 0, len(x.answer.whole))
	group.Go(func() error {
		for len(took) < len(x.answer.whole) {
			if err := x.receive(); err != nil {
				return err
			}
			now := time.Since(begin)
			for len(took) < len(x.answer.whole) && x.answer.whole[len(took)].end <= x.got {
				took = append(took, now-time.Duration(at[x.answer.whole[len(took)].frame].Load()))
			}
		}
		return nil
	})
	return took, group.Wait()
}

// finish ends the body and checks that not a byte is missing.
func (x *exchange) finish(end frame) error {
	if err := x.g.SendMsg(end); err != nil {
		return x.why(err)
	}
	for {
		if err := x.receive(); err != nil {
			return err
		}
		if x.reply.endOfStream {
			break
		}
	}
	if x.got != len(x.answer.bytes) {
		return fmt.Errorf("%d bytes came back of %d", x.got, len(x.answer.bytes))
	}
	return x.g.CloseSend()
}

// each calls f for all streams at once and returns the first error.
func each(all []*exchange, f func(i int, x *exchange) error) error {
	var group errgroup.Group
	for i, x := range all {
		group.Go(func() error {
			if err := f(i, x); err != nil {
				return fmt.Errorf("stream %d: %w", i, err)
			}
			return nil
		})
	}
	return group.Wait()
}
