package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// serveOrigin serves streams that go on behind the client's Last-Event-ID, and
// breaks each off at a random byte. It tells the parent on standard output, before
// it does so.
func serveOrigin(address string, o *options) error {
	var anywhere atomic.Bool // a response may break before it has brought an event
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Addr: address, Protocols: &protocols, ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveStream(w, r, o, anywhere.Load()) }),
	}
	lis, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	// The parent's end is the end of standard input, and ours.
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			anywhere.Store(true)
		}
		os.Exit(0)
	}()
	return s.Serve(lis)
}

// breakage is a way for a response to end before its time.
type breakage string

const (
	byFIN   breakage = "fin"   // HTTP/1.1: the connection closes without the last chunk
	byRST   breakage = "rst"   // HTTP/1.1: the connection is reset
	byReset breakage = "reset" // HTTP/2: RST_STREAM
	byEnd   breakage = "end"   // a clean end, too early
	byDeath breakage = "death" // the process; the parent does that
)

func serveStream(w http.ResponseWriter, r *http.Request, o *options, anywhere bool) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	last := 0
	if id := r.Header.Get("last-event-id"); id != "" {
		var err error
		if last, err = strconv.Atoi(id); err != nil {
			http.Error(w, "not one of my ids", http.StatusBadRequest)
			return
		}
	}
	if last == o.events {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	left := int(rand.ExpFloat64() * float64(o.distance))
	if !anywhere {
		left += len(appendEvent(nil, name, last+1))
	}
	w.Header().Set("content-type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	pace := time.NewTicker(o.pace)
	defer pace.Stop()
	var b []byte
	for n := last + 1; n <= o.events; n++ {
		b = appendEvent(b[:0], name, n)
		// What lies between the last byte and the end of the stream is a place to
		// break off, too.
		if left <= len(b) {
			_, _ = w.Write(b[:left])
			_ = rc.Flush()
			if left == len(b) {
				n++
			}
			breakOff(w, r, name, last, n-1)
			return
		}
		left -= len(b)
		if _, err := w.Write(b); err != nil {
			return
		}
		_ = rc.Flush()
		if n == o.events {
			return
		}
		select {
		case <-pace.C:
		case <-r.Context().Done():
			return
		}
	}
}

// breakOff ends the response. The client has, or will have, the events through
// last; first was its cursor.
func breakOff(w http.ResponseWriter, r *http.Request, name string, first, last int) {
	ways := []breakage{byFIN, byRST, byEnd}
	if last == first {
		// An end without anything new, when asked for what is new, means that there is
		// nothing more. Nobody could tell this one from that.
		ways = ways[:2]
	}
	how := ways[rand.IntN(len(ways))]
	if r.ProtoMajor == 2 && how != byEnd {
		how = byReset
	}
	// Its own write, so that a death of this process cannot tear it apart.
	fmt.Fprintf(os.Stdout, "broke %s %s %d %d %d\n", how, name, first, last, time.Now().UnixNano())
	switch how {
	case byEnd, byDeath:
		return
	case byReset:
		panic(http.ErrAbortHandler)
	case byFIN, byRST:
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(errors.Join(errors.New("hijack"), err))
	}
	if tcp, ok := conn.(*net.TCPConn); ok && how == byRST {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
