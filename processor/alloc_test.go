package processor

import (
	"context"
	"fmt"
	"testing"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"holdfast/processor/wire"
	"holdfast/sessionstore/memory"
)

// pipe is a gRPC stream without a network: it encodes and decodes, and that is
// all.
type pipe struct {
	grpc.ServerStream

	codec *wire.Codec
	in    mem.BufferSlice
	sent  int
}

func (p *pipe) Context() context.Context { return context.Background() }

func (p *pipe) RecvMsg(m any) error { return p.codec.Unmarshal(p.in, m) }

func (p *pipe) SendMsg(m any) error {
	out, err := p.codec.Marshal(m)
	p.sent += out.Len()
	out.Free()
	return err
}

func (p *pipe) message(t testing.TB, m proto.Message) {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	p.in = mem.BufferSlice{mem.SliceBuffer(b)}
}

// piped returns a stream in mid-body, and its network.
func piped(t testing.TB, policies string) (*inlined, *pipe) {
	t.Helper()
	srv, err := NewServer(Options{
		Policies:   compile(t, policies),
		Store:      memory.New(memory.Options{}),
		Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{codec: wire.NewCodec(new(wire.Pool))}
	x := &exchange{srv: srv, g: p}
	for _, m := range []proto.Message{
		requestMessage("GET", "/events", "mcp-session-id: s"),
		responseMessage(":status: 200", "content-type: text/event-stream"),
	} {
		p.message(t, m)
		if err := p.RecvMsg(&x.req); err != nil {
			t.Fatal(err)
		}
		st, _, err := x.message()
		if err != nil {
			t.Fatal(err)
		}
		if st != nil {
			return st.(*inlined), p
		}
	}
	t.Fatal("no stream")
	return nil, nil
}

func (p *pipe) chunk(t testing.TB, i int) {
	t.Helper()
	p.message(t, bodyMessage(fmt.Sprintf("id: %08d\ndata: %0100d\n\n", i, i), false))
}

// The stream itself allocates nothing for a chunk: what is left is the codec's
// answer (wire.TestAllocations), and the state that is saved now and then.
func TestAllocationsPerChunk(t *testing.T) {
	allocationsPerChunk(t, `- {name: p, dedup: always}`)
}

func allocationsPerChunk(t *testing.T, policies string) {
	st, p := piped(t, policies)
	chunks := make([]mem.BufferSlice, 2000)
	for i := range chunks {
		p.chunk(t, i)
		chunks[i] = p.in
	}
	i := 0
	got := testing.AllocsPerRun(len(chunks)-1, func() {
		p.in = chunks[i]
		i++
		err := st.g.RecvMsg(&st.req)
		if st.received(err) {
			t.Fatal(st.status)
		}
	})
	if got > 3 {
		t.Errorf("a chunk costs %v allocations, want at most the codec's 3", got)
	}
	st.alarm.stop()
}

// Idle streams are counted in tens of thousands. Beside this there are the
// goroutine that gRPC gives each (8 KiB of stack), the machine, and the session.
func TestSizes(t *testing.T) {
	for what, size := range map[string][2]uintptr{ // and size classes
		"an inline stream":   {unsafe.Sizeof(inlined{}), 512},
		"a relayed stream":   {unsafe.Sizeof(relayed{}), 512},
		"an immediate one":   {unsafe.Sizeof(immediate{}), 512},
		"what it comes from": {unsafe.Sizeof(origin{}), 320},
	} {
		if size[0] > size[1] {
			t.Errorf("%s has %d bytes, want at most %d", what, size[0], size[1])
		}
	}
}

func BenchmarkChunk(b *testing.B) {
	for name, policies := range map[string]string{
		"ids=origin": `- {name: p, dedup: always}`,
		"ids=sealed": `- {name: p, dedup: always, ids: sealed}`,
	} {
		b.Run(name, func(b *testing.B) { benchmarkChunk(b, policies) })
	}
}

func benchmarkChunk(b *testing.B, policies string) {
	st, p := piped(b, policies)
	chunks := make([]mem.BufferSlice, 4096)
	for i := range chunks {
		p.chunk(b, i)
		chunks[i] = p.in
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p.in = chunks[i%len(chunks)]
		i++
		err := st.g.RecvMsg(&st.req)
		if st.received(err) {
			b.Fatal(st.status)
		}
	}
	st.alarm.stop()
}

// BenchmarkUnwanted is a request that no policy wants: one message.
func BenchmarkUnwanted(b *testing.B) {
	srv, err := NewServer(Options{Policies: compile(b, `- {name: p, match: {path_prefix: /other}}`), Store: memory.New(memory.Options{})})
	if err != nil {
		b.Fatal(err)
	}
	p := &pipe{codec: wire.NewCodec(new(wire.Pool))}
	p.message(b, requestMessage("GET", "/events", "user-agent: x", "x-request-id: 1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := srv.headers(p); err != nil {
			b.Fatal(err)
		}
	}
}
