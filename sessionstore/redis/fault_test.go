package redis_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/sessionstore"
	"holdfast/sessionstore/redis"
	"holdfast/test/redistest"
)

var logged = sessionstore.Key{
	Session: sessionstore.SessionID{1}, Line: sessionstore.LineID{1},
	Info: sessionstore.Info{Policy: "p"}, Log: sessionstore.LogLimits{Events: 1 << 20, Bytes: 64 << 20},
}

func record(n uint64, text string) []sessionstore.Record {
	return []sessionstore.Record{{Seq: n, ID: fmt.Append(nil, n), Wire: []byte(text)}}
}

// claim begins the stream that these tests write.
func claim(tb testing.TB, s *redis.Store) sessionstore.Lease {
	tb.Helper()
	lease, _, err := s.Claim(tb.Context(), logged)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Save(tb.Context(), lease, &sessionstore.State{Key: [2]uint64{1, 2}}); err != nil {
		tb.Fatal(err)
	}
	return lease
}

// write adds records first..last. Whether Redis answers must not matter to it: a
// write that waited would not come back while Redis is stopped.
func write(tb testing.TB, s *redis.Store, l sessionstore.Lease, first, last uint64, text string) {
	tb.Helper()
	for n := first; n <= last; n++ {
		if err := s.Append(tb.Context(), l, time.Time{}, record(n, text)); err != nil {
			tb.Fatal(err)
		}
		if err := s.Advance(tb.Context(), l, sessionstore.Progress{LastSent: fmt.Append(nil, n), Seen: []uint64{n}, Events: n}); err != nil {
			tb.Fatal(err)
		}
	}
}

// wantRecords reads a log from the beginning and says what is in it.
func wantRecords(tb testing.TB, s *redis.Store, l sessionstore.Lease, want func(n uint64) string, last uint64) {
	tb.Helper()
	at := sessionstore.Position{Session: l.Session, Line: l.Line, Number: l.Number}
	for {
		page, err := s.After(tb.Context(), at, sessionstore.PageLimits{})
		if err != nil {
			tb.Fatal(err)
		}
		for _, r := range page.Records {
			if r.Seq != at.Seq+1 || string(r.Wire) != want(r.Seq) || string(r.ID) != fmt.Sprint(r.Seq) {
				tb.Fatalf("record %d after %d is %q", r.Seq, at.Seq, r.Wire)
			}
			at.Seq = r.Seq
		}
		if !page.More {
			break
		}
	}
	if at.Seq != last {
		tb.Fatalf("the log ends with record %d, want %d", at.Seq, last)
	}
}

func always(text string) func(uint64) string { return func(uint64) string { return text } }

// TestRedisAway: a Redis that stops answering, or dies, holds nothing up and loses
// nothing. Meanwhile the store says so, and begins no stream.
func TestRedisAway(t *testing.T) {
	for _, test := range []struct {
		name       string
		away, back func(testing.TB, *redistest.Server)
	}{
		{
			"stops",
			func(_ testing.TB, s *redistest.Server) { s.Stall() },
			func(_ testing.TB, s *redistest.Server) { s.Resume() },
		},
		// It keeps nothing on disk: what there was is written again.
		{
			"dies",
			func(_ testing.TB, s *redistest.Server) { s.Kill() },
			func(tb testing.TB, s *redistest.Server) { s.Launch(tb) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			flushes := make(chan sessionstore.Flush, 10_000)
			s := open(t, redis.Options{URL: server.URL(), Flush: 5 * time.Millisecond})
			s.OnFlush(func(f sessionstore.Flush) {
				select {
				case flushes <- f:
				default:
				}
			})
			lease := claim(t, s)
			write(t, s, lease, 1, 500, "event")
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			test.away(t, server)
			write(t, s, lease, 501, 1000, "event")
			redistest.Eventually(t, "the store says that Redis is away", func() bool { return s.Failure() != nil })
			if why := s.Failure().Error(); !strings.Contains(why, server.Socket) {
				t.Errorf("it does not say which Redis: %q", why)
			}
			if _, _, err := s.Claim(t.Context(), sessionstore.Key{Session: sessionstore.SessionID{2}, Fresh: true}); err == nil {
				t.Error("a stream begins that nobody keeps")
			}
			write(t, s, lease, 1001, 1500, "event")
			test.back(t, server)
			redistest.Eventually(t, "the store works again", func() bool { return s.Failure() == nil })
			write(t, s, lease, 1501, 2000, "event")
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			failed := 0
			for len(flushes) > 0 {
				if f := <-flushes; f.Err != nil {
					failed++
				}
			}
			if failed == 0 {
				t.Error("nobody was told of a flush that failed")
			}
			other := open(t, redis.Options{URL: server.URL()})
			wantRecords(t, other, lease, always("event"), 2000)
			_, earlier, err := other.Claim(t.Context(), logged)
			if err != nil || len(earlier) != 1 || earlier[0].State.LastSent != "2000" || len(earlier[0].State.Window) != sessionstore.DefaultWindow {
				t.Errorf("the next stream learns %+v, %v", earlier, err)
			}
		})
	}
}

// TestRedisAwayIsBounded: what waits for a Redis that does not come back takes no more
// memory than it may, and the oldest of it is what is given up.
func TestRedisAwayIsBounded(t *testing.T) {
	t.Parallel()
	const bound = 256 << 10
	server := redistest.Start(t)
	s := open(t, redis.Options{URL: server.URL(), Flush: 5 * time.Millisecond, Memory: bound})
	lease := claim(t, s)
	write(t, s, lease, 1, 10, "event")
	server.Stall()
	text := strings.Repeat("x", 1000)
	write(t, s, lease, 11, 5000, text)
	if n := s.LogBytes(); n > bound {
		t.Errorf("%d bytes wait, %d may", n, bound)
	}
	server.Resume()
	redistest.Eventually(t, "the store works again", func() bool { return s.Failure() == nil })
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := open(t, redis.Options{URL: server.URL()})
	at := sessionstore.Position{Session: lease.Session, Line: lease.Line, Number: lease.Number}
	if _, err := other.After(t.Context(), at, sessionstore.PageLimits{}); !errors.Is(err, sessionstore.ErrTruncated) {
		t.Errorf("from the beginning: %v, want ErrTruncated", err)
	}
	at.Seq = 4990
	page, err := other.After(t.Context(), at, sessionstore.PageLimits{})
	if err != nil || len(page.Records) != 10 || string(page.Records[9].Wire) != text {
		t.Errorf("the newest records: %d, %v", len(page.Records), err)
	}
}

// TestPausedWriter: a process that is stopped while it holds a lease, and goes on after
// another one has taken its stream over, writes nothing more into it.
func TestPausedWriter(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriter$")
	cmd.Env = append(os.Environ(), "REDIS_WRITER="+server.URL())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	says := bufio.NewScanner(out)
	var theirs sessionstore.Lease
	if !says.Scan() || json.Unmarshal(says.Bytes(), &theirs) != nil {
		t.Fatalf("the writer says %q", says.Text())
	}

	s := open(t, redis.Options{URL: server.URL(), Flush: 5 * time.Millisecond})
	at := sessionstore.Position{Session: theirs.Session, Line: theirs.Line, Number: theirs.Number}
	redistest.Eventually(t, "the writer has written", func() bool {
		page, err := s.After(t.Context(), at, sessionstore.PageLimits{})
		return err == nil && page.Newest > 100
	})
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ours, known, err := s.Takeover(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	theirLast := known.Log.Newest
	write(t, s, ours, theirLast+1, theirLast+500, "ours")
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !says.Scan() || says.Text() != "fenced" {
		t.Fatalf("the writer says %q, want that it was fenced", says.Text())
	}
	write(t, s, ours, theirLast+501, theirLast+1000, "ours")
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, open(t, redis.Options{URL: server.URL()}), ours, func(n uint64) string {
		if n <= theirLast {
			return "theirs"
		}
		return "ours"
	}, theirLast+1000)
}

// TestWriter is the other process of TestPausedWriter.
func TestWriter(t *testing.T) {
	url := os.Getenv("REDIS_WRITER")
	if url == "" {
		return // it is no test of its own
	}
	s := open(t, redis.Options{URL: url, Flush: time.Millisecond})
	lease := claim(t, s)
	text, err := json.Marshal(lease)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(text))
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		<-tick.C
		err := s.Append(t.Context(), lease, time.Time{}, record(n, "theirs"))
		if errors.Is(err, sessionstore.ErrFenced) {
			fmt.Println("fenced")
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotThere: a Redis that cannot be used does not keep the process from starting, and
// it says why, without the password.
func TestNotThere(t *testing.T) {
	t.Parallel()
	server := redistest.StartSecured(t, "--requirepass", "right")
	for _, test := range []struct{ name, url, want string }{
		{"nobody listens", "redis://127.0.0.1:1/0", "connection refused"},
		{"no password", server.URL(), "NOAUTH"},
		{"wrong password", "redis://:wr0ng@" + server.Address() + "/0", "WRONGPASS"},
		{"unknown user", "redis://nobody:wr0ng@" + server.Address() + "/0", "WRONGPASS"},
		{"no TLS there", "rediss://" + server.Address() + "/0", "write redis://"},
		{"only TLS there", "redis://" + server.SecureAddress + "/0", "write rediss://"},
		{"an authority that nobody knows", "rediss://" + server.SecureAddress + "/0", "certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := redis.Open(redis.Options{URL: test.url, Flush: 5 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			redistest.Eventually(t, "the store says what is wrong", func() bool {
				err := s.Failure()
				return err != nil && strings.Contains(err.Error(), test.want)
			})
			if why := s.Failure().Error(); strings.Contains(why, "wr0ng") {
				t.Errorf("it tells the password: %s", why)
			}
			if _, _, err := s.Claim(t.Context(), logged); err == nil {
				t.Error("a stream begins that nobody keeps")
			}
		})
	}
}

// TestTwoProcessesOneNumber: processes that begin streams of a session at the same
// moment, when all they know is one that another's clock has put into the future, do
// not begin the same.
func TestTwoProcessesOneNumber(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	now := time.Now()
	at := func(shift time.Duration) *redis.Store {
		return open(t, redis.Options{URL: server.URL(), Flush: time.Hour, Now: func() time.Time { return now.Add(shift) }})
	}
	ahead, a, b := at(time.Minute), at(0), at(0)
	for n := range 200 {
		k := logged
		k.Session = sessionstore.SessionID{byte(n), 1}
		if _, _, err := ahead.Claim(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if err := ahead.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		numbers := map[uint64]int{}
		for _, s := range []*redis.Store{a, b} {
			l, earlier, err := s.Claim(t.Context(), k)
			if err != nil || len(earlier) != 1 || l.Number <= earlier[0].Lease.Number {
				t.Fatalf("stream %d after %+v: %v", l.Number, earlier, err)
			}
			write(t, s, l, 1, 1, fmt.Sprint("of store ", len(numbers)))
			numbers[l.Number]++
		}
		for _, s := range []*redis.Store{a, b} {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ses, err := ahead.Session(t.Context(), k.Session)
		if err != nil || len(ses.Streams) != 1+len(numbers) {
			t.Fatalf("%d numbers, and %d streams are kept: %v", len(numbers), len(ses.Streams), err)
		}
		if len(numbers) < 2 && n < 5 {
			t.Errorf("session %d: both processes began stream %v", n, numbers)
		}
	}
}
