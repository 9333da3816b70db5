package main

import (
	"context"
	"encoding/hex"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/processor/console"
	"holdfast/processor/live"
	"holdfast/processor/splice"
	"holdfast/sessionstore"
	"holdfast/sessionstore/memory"
)

// running is a stream of the scripts.
type running live.Stream

func (r running) Snapshot() live.Stream { return live.Stream(r) }

// startAdmin is the script command "admin [unix]": an admin port with three
// sessions and two streams, whose address is then $ADMIN. The beginnings of two of the
// keys are alike.
func startAdmin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: admin [unix]")
	}
	network, address := "tcp", "127.0.0.1:0"
	if len(args) == 1 {
		network, address = "unix", ts.MkAbs("admin.sock")
	}
	ctx, stop := context.WithCancel(context.Background())
	ts.Defer(stop)
	lis, err := new(net.ListenConfig).Listen(ctx, network, address)
	ts.Check(err)
	store := memory.New(memory.Options{})
	for i, text := range []string{"00000000000000000000000000000001", "0123456789abcdef0123456789abcdef", "0123456fffffffffffffffffffffffff"} {
		var id sessionstore.SessionID
		_, err := hex.Decode(id[:], []byte(text))
		ts.Check(err)
		k := sessionstore.Key{Session: id, Line: sessionstore.LineID{1, 2, 3, 4, 5, 6, 7}, Info: sessionstore.Info{Policy: "notifications"}}
		if i == 1 {
			k.Info.Session, k.Info.Principal = "header:mcp-session-id 1868a9", "bf42\x1b[2J0177"
		}
		lease, _, err := store.Claim(ctx, k)
		ts.Check(err)
		ts.Check(store.Save(ctx, lease, &sessionstore.State{
			Acked: "40", LastSent: "57", Window: []uint64{1, 2, 3}, Trust: uint8(splice.TrustMonotonic), Events: 1234, Duplicates: 3,
		}))
		if i != 1 {
			ts.Check(store.Release(ctx, lease))
		}
	}
	streams := new(live.Registry)
	streams.Add(1, running{
		ID: live.ID(1).String(), State: "live", Mode: "hold", Policy: "notifications", Method: "GET", Path: "/feeds/1", Started: time.Now(),
		LastByte: time.Now(), Trust: "monotonic", Events: 7,
	})
	streams.Add(2, running{ID: live.ID(2).String(), State: "resuming", Mode: "hold", Method: "GET", Path: "/feeds/2", Started: time.Now(), LastByte: time.Now()})
	handler := console.New(console.Options{
		Streams: streams, Sessions: store, Metrics: prometheus.NewRegistry(), Config: func() any { return nil },
		Trust: func(v uint8) string { return splice.Trust(v).String() }, Loopback: true, Version: "v1.2.3",
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = console.Serve(ctx, lis, handler)
	}()
	ts.Defer(func() { stop(); <-done })
	at := lis.Addr().String()
	if network == "unix" {
		at = "unix:" + at
	}
	ts.Setenv("ADMIN", at)
}
