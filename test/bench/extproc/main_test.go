package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc/mem"

	"holdfast/test/harness"
)

// The test binary is the echo server too, as the program is.
func TestMain(m *testing.M) {
	if isEcho(os.Args) {
		if err := serveEcho(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// tiny is enough to see every byte of every shape in every cut come back right.
// Its ratios mean nothing.
var tiny = effort{
	rounds: 1, streams: 4, chunks: 200, bytes: 1 << 20, largeEvent: 4 << 10,
	rate: 2000, pacedFor: 50 * time.Millisecond, pacedRounds: 1,
	idle: 20, idleRounds: 1, alike: true,
}

func TestEverythingOnce(t *testing.T) {
	var out strings.Builder
	b := &bench{effort: tiny, holdfast: harness.Holdfast(t), names: regexp.MustCompile(""), out: &out}
	if err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows := strings.Count(out.String(), "\n| ") - 3*2 // tables with two lines of heading
	if want := len(shapes)*len(cuts) + 3 + 2*2; rows != want {
		t.Errorf("%d rows, want %d:\n%s", rows, want, &out)
	}
	if _, err := os.Stat(b.dir); err == nil {
		t.Errorf("%s is left behind", b.dir)
	}
}

// A filter that does not filter is found out, and so is a server that changes a
// byte: both fail the run, whatever their ratios.
func TestWrongBytesEndTheRun(t *testing.T) {
	scripts := make([]*script, 1)
	var err error
	if scripts[0], err = write(generate(llm, 0, 20, 0), perBlock, 0); err != nil {
		t.Fatal(err)
	}
	for _, expect := range []func(*script) answer{
		func(s *script) answer { return s.filter },
		func(s *script) answer {
			a := s.echo
			a.bytes = bytes.Clone(a.bytes)
			a.bytes[len(a.bytes)/2] ^= 1
			return a
		},
	} {
		wrong := *scripts[0]
		wrong.echo = expect(scripts[0])
		if err := echoed(t, []*script{&wrong}); err == nil || !strings.Contains(err.Error(), "wrong bytes") {
			t.Errorf("the run ended with %v", err)
		}
	}
	if err := echoed(t, scripts); err != nil {
		t.Error(err)
	}
}

// echoed sends scripts through the echo server.
func echoed(t *testing.T, scripts []*script) error {
	t.Helper()
	s, err := startEcho(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	c, err := dial(s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	return new(bench).converse(t.Context(), c, scripts, func(all []*exchange) error {
		return each(all, func(_ int, x *exchange) error { return x.saturate() })
	})
}

func TestScript(t *testing.T) {
	stream := []block{
		{text: []byte(": c\n\n")},
		{text: []byte("id: 1\n\n"), event: true},
		{text: []byte("id: 1\n\n"), event: true, repeat: true},
		{text: []byte("id: 2\n\n"), event: true},
	}
	s, err := write(stream, perBlock, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		got  answer
		want string
	}{
		{"echo", s.echo, `": c\n\nid: 1\n\nid: 1\n\nid: 2\n\n" due [5 12 19 26] events [{1 12} {3 26}]`},
		{"filter", s.filter, `": c\n\nid: 1\n\nid: 2\n\n" due [5 12 12 19] events [{1 12} {3 19}]`},
	} {
		if got := fmt.Sprintf("%q due %v events %v", c.got.bytes, c.got.due, c.got.whole); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	bytewise, err := write(stream, perByte, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(bytewise.filter.due[:13]), "[0 0 0 0 5 5 5 5 5 5 5 12 12]"; got != want {
		t.Errorf("due byte by byte: %s, want %s", got, want)
	}
}

func TestCodecReadsWhatEchoSends(t *testing.T) {
	want := &extproc.ProcessingRequest{Request: &extproc.ProcessingRequest_ResponseBody{
		ResponseBody: &extproc.HttpBody{Body: []byte("data: x\n\n"), EndOfStream: true},
	}}
	resp, err := unchanged(want)
	if err != nil {
		t.Fatal(err)
	}
	f, err := encode(resp)
	if err != nil {
		t.Fatal(err)
	}
	var r reply
	if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(f)}, &r); err != nil {
		t.Fatal(err)
	}
	if r.member != replyResponseBody || string(r.body) != "data: x\n\n" || !r.endOfStream {
		t.Errorf("read field %d, %q, end of stream %t", r.member, r.body, r.endOfStream)
	}
	r.free()
	if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer(f[:len(f)-2])}, &r); err == nil {
		t.Error("half a message was read")
	}
	r.free()
}

// Verdicts: met, missed within the noise, missed.
func TestJudge(t *testing.T) {
	b := new(bench)
	for ratio, want := range map[float64]string{1: "yes", 1.2: "yes", 1.3: "noise", 1.5: "**no**"} {
		v := perRound{{10, 20, 30}, {10 * ratio, 20 * ratio, 60 * ratio}}
		if got := b.judge(&v, 1.2, timeNoise); !strings.HasSuffix(got, want) {
			t.Errorf("ratio %g: %s, want %s", ratio, got, want)
		}
	}
	if b.missed != 1 {
		t.Errorf("%d missed, want 1", b.missed)
	}
}

func TestNoProgram(t *testing.T) {
	_, err := startHoldfast(t.Context(), "no-such-program", t.TempDir(), nil)
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}
