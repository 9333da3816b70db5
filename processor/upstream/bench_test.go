package upstream

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func BenchmarkFetch(b *testing.B) {
	d, _, _ := serve(b, "unix", Options{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") })
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		res, err := d.Fetch(ctx, feedRequest())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res); err != nil {
			b.Fatal(err)
		}
		res.Close()
	}
}

// BenchmarkResume measures from the reset of a stream to the first bytes of the
// next one.
func BenchmarkResume(b *testing.B) {
	d, _, _ := serve(b, "unix", Options{}, func(w http.ResponseWriter, r *http.Request) {
		send(w, "data: 1\n\n")
		panic(http.ErrAbortHandler)
	})
	ctx := b.Context()
	buf := make([]byte, 64)
	for b.Loop() {
		res, err := d.Fetch(ctx, feedRequest())
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = res.Read(buf)
		}
		if CauseOf(err) != Reset {
			b.Fatal(err)
		}
		res.Close()
	}
}

// BenchmarkBulk measures one response that comes as fast as it can.
func BenchmarkBulk(b *testing.B) {
	block := bytes.Repeat([]byte("x"), 64<<10)
	for _, window := range []int{64 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", window>>10), func(b *testing.B) {
			d, _, _ := serve(b, "unix", Options{StreamWindow: window}, func(w http.ResponseWriter, _ *http.Request) {
				for {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			})
			res, err := d.Fetch(b.Context(), feedRequest())
			if err != nil {
				b.Fatal(err)
			}
			defer res.Close()
			buf := make([]byte, 64<<10)
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := io.ReadFull(res, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdle measures what a silent stream costs on our side: memory with its
// goroutines' stacks, the peer's few bytes included.
func BenchmarkIdle(b *testing.B) {
	const streams = 2000
	d := script(b, Options{}, func(p *peer) {
		for s := p.request(); s != 0; s = p.request() {
			p.answer(s, "data: 1\n\n", false)
		}
	})
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		fetch(b, d, feedRequest())
		before := used()
		var wg sync.WaitGroup
		held := make([]*Response, streams)
		for i := range held {
			held[i] = fetch(b, d, feedRequest())
			buf := make([]byte, 16)
			if _, err := held[i].Read(buf); err != nil {
				b.Fatal(err)
			}
			wg.Go(func() { _ = held[i].Wait() })
		}
		b.ReportMetric(float64(used()-before)/streams/1024, "KiB/stream")
		for _, res := range held {
			res.Close()
		}
		wg.Wait()
	}
}

func BenchmarkObserveResponses(b *testing.B) {
	s := NewStrategy(OpenAIResponses, post("/v1/responses"))
	observe(s, created)
	e := Event{Type: []byte("response.output_text.delta"), Data: []byte(fmt.Sprintf(strings.SplitN(delta, " ", 2)[1], 1))}
	b.SetBytes(int64(len(e.Data)))
	b.ReportAllocs()
	for b.Loop() {
		s.Observe(e)
		s.(*openAI).last = 0
	}
}
