package processor_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/processor"
	"holdfast/processor/config"
	"holdfast/processor/keyfile"
	"holdfast/processor/pass"
	"holdfast/processor/seal"
	"holdfast/processor/upstream"
	"holdfast/sessionstore"
	"holdfast/sessionstore/bolt"
	"holdfast/sessionstore/memory"
	"holdfast/sessionstore/redis"
	"holdfast/test/redistest"
)

// BenchmarkReturn is a client that comes back for 1000 events of a stream that is
// over, on loopback: first-byte-µs is from its request to the first of them. With
// redis it is another replica that serves it, which has to ask for everything.
func BenchmarkReturn(b *testing.B) {
	b.Run("store=memory", func(b *testing.B) {
		s := memory.New(memory.Options{})
		benchmarkReturn(b, func() sessionstore.Store { return s })
	})
	b.Run("store=bolt", func(b *testing.B) {
		s, err := bolt.Open(bolt.Options{Path: filepath.Join(b.TempDir(), "db"), Flush: 100 * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		benchmarkReturn(b, func() sessionstore.Store { return s })
	})
	b.Run("store=redis", func(b *testing.B) {
		server := redistest.Start(b)
		open := func() *redis.Store {
			s, err := redis.Open(redis.Options{URL: server.URL()})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			redistest.Eventually(b, "the store is connected", func() bool {
				_, _, err := s.Claim(b.Context(), sessionstore.Key{Session: sessionstore.SessionID{1}})
				return err == nil
			})
			return s
		}
		first, second := open(), open()
		stores := []sessionstore.Store{first, second}
		benchmarkReturn(b, func() sessionstore.Store {
			s := stores[0]
			stores = append(stores[1:], s)
			return s
		})
	})
}

func benchmarkReturn(b *testing.B, store func() sessionstore.Store) {
	origin := listen(b)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	up := &http.Server{Protocols: &protocols, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 1001 {
			fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"word %d\"}}]}\n\n", n)
		}
	})}
	go func() { _ = up.Serve(origin) }()
	defer up.Close()

	key := keyfile.New()
	signer, err := pass.New([][]byte{key}, pass.Options{})
	if err != nil {
		b.Fatal(err)
	}
	writer := serve(b, store(), signer, origin.Addr().String())
	text, _ := ask(b, writer, signer, http.MethodPost, "")
	ids := regexp.MustCompile(`id: (\S+)\n`).FindSubmatch(text)
	if ids == nil {
		b.Fatalf("no id in %q", text)
	}
	reader := serve(b, store(), signer, origin.Addr().String())
	var first time.Duration
	for b.Loop() {
		text, took := ask(b, reader, signer, http.MethodGet, string(ids[1]))
		if n := bytes.Count(text, []byte("data: ")); n != 1000 {
			b.Fatalf("%d events came back", n)
		}
		first += took
	}
	b.ReportMetric(float64(first.Microseconds())/float64(b.N), "first-byte-µs")
}

func listen(b *testing.B) net.Listener {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return lis
}

var (
	sealKey   = keyfile.New()
	transport = sync.OnceValue(func() *http.Transport {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		return &http.Transport{Protocols: &protocols, DisableCompression: true}
	})
)

func client() *http.Client { return &http.Client{Transport: transport()} }

func sealer(b *testing.B) *seal.Sealer {
	s, err := seal.New([][]byte{sealKey})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// serve starts a processor's relay listener, and returns its address.
func serve(b *testing.B, store sessionstore.Store, signer *pass.Signer, origin string) string {
	cfg, err := config.Parse("bench.yaml", []byte("fetch: {url: \"http://"+origin+"\"}\nrelay: {listen: unix:/relay}\npolicies: [{name: p, mode: hold, ids: sealed, detach: 1m}]"))
	if err != nil {
		b.Fatal(err)
	}
	policies, err := cfg.Compile()
	if err != nil {
		b.Fatal(err)
	}
	dialer, err := upstream.New(upstream.Options{URL: cfg.Fetch.URL})
	if err != nil {
		b.Fatal(err)
	}
	srv, err := processor.NewServer(processor.Options{
		Policies: policies, Store: store, Fetch: dialer, Relay: true, Tickets: signer, Sealer: sealer(b), Detached: 10,
		StoreTimeout: 10 * time.Second, // a busy machine is no failure here
	})
	if err != nil {
		b.Fatal(err)
	}
	lis, relay := listen(b), srv.RelayServer()
	go func() { _ = relay.Serve(lis) }()
	b.Cleanup(func() {
		_ = relay.Close()
		dialer.Close()
	})
	return lis.Addr().String()
}

// ask reads a whole response, and says when its first byte came.
func ask(b *testing.B, relay string, signer *pass.Signer, method, id string) ([]byte, time.Duration) {
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+relay+"/chat", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	token, err := signer.Sign(time.Now(), pass.Ticket, pass.Claims{Policy: "p", Method: method, Authority: relay, Path: "/chat"})
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set(pass.TicketHeader, token)
	if id != "" {
		r.Header.Set("Last-Event-Id", id)
	}
	begun := time.Now()
	res, err := client().Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	one := make([]byte, 1)
	if _, err := io.ReadFull(res.Body, one); err != nil {
		b.Fatal(res.Status, err)
	}
	took := time.Since(begun)
	rest, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	return slices.Concat(one, rest), took
}
