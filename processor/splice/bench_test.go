package splice

import (
	"bytes"
	"container/list"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// lru is what a tracker usually is: a map of ids and a list of them, the one
// seen longest ago at its end. It is the yardstick, not a straw man.
type lru struct {
	limit int
	byID  map[string]*list.Element
	order *list.List
}

func newLRU(limit int) *lru {
	return &lru{limit: limit, byID: map[string]*list.Element{}, order: list.New()}
}

func (l *lru) seen(id []byte) bool {
	if e, ok := l.byID[string(id)]; ok {
		l.order.MoveToFront(e)
		return true
	}
	s := string(id)
	l.byID[s] = l.order.PushFront(s)
	if l.order.Len() > l.limit {
		last := l.order.Back()
		l.order.Remove(last)
		delete(l.byID, last.Value.(string))
	}
	return false
}

func (t *tracker) seen(k hashKey, id []byte) bool {
	_, known := t.remember(k.alone(id))
	return known
}

// benchID is a 24-byte id, as message brokers and clocks make them.
func benchID(dst []byte, i int) []byte {
	dst = append(dst[:0], "1700000000000-0000000000"...)
	for p := len(dst) - 1; i > 0; i /= 10 {
		dst[p] = '0' + byte(i%10)
		p--
	}
	return dst
}

// passIDs takes n ids past seen. With repeats, every id comes twice, a hundred
// events apart, as after a reconnect.
func passIDs(from, n int, repeats bool, seen func([]byte) bool) time.Duration {
	id := make([]byte, 0, 24)
	began := time.Now()
	for i := from; i < from+n; i++ {
		at := i
		if repeats && i%2 == 1 {
			at = i - 100 - 1
		}
		id = benchID(id, at)
		seen(id)
	}
	return time.Since(began)
}

// idsOnly is what making the ids takes of that time, at best: the least of
// several goes, so that what is left is rather too much.
func idsOnly(n int) time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 10 {
		least = min(least, passIDs(1000, n, false, func([]byte) bool { return false }))
	}
	return least
}

// BenchmarkTracker compares a full tracker with a map and a list, in turns, so
// that a noisy neighbour hits both. It reports the median of the rounds' ratios,
// which is what docs/performance.md has, and the tracker's size.
func BenchmarkTracker(b *testing.B) {
	const ids, rounds = 50_000, 15
	for _, kind := range []string{"new", "half-repeats"} {
		b.Run(kind, func(b *testing.B) {
			k := newHashKey(1)
			tr, naive := newTracker(DefaultWindow, wholeEntry), newLRU(DefaultWindow)
			next, made := 1000, idsOnly(ids)
			round := func() (ours, theirs time.Duration) {
				repeats := kind != "new"
				ours = passIDs(next, ids, repeats, func(id []byte) bool { return tr.seen(k, id) }) - made
				theirs = passIDs(next, ids, repeats, naive.seen) - made
				next += ids
				return ours, theirs
			}
			round()
			var ratios, costs []float64
			for b.Loop() {
				for range rounds {
					ours, theirs := round()
					ratios = append(ratios, float64(theirs)/float64(ours))
					costs = append(costs, float64(ours)/ids)
				}
			}
			slices.Sort(ratios)
			slices.Sort(costs)
			b.ReportMetric(ratios[len(ratios)/2], "x-lru")
			b.ReportMetric(costs[len(costs)/2], "ns/id")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("size", func(b *testing.B) {
		k := newHashKey(1)
		for b.Loop() {
			tr := newTracker(DefaultWindow, wholeEntry)
			for i := range DefaultWindow {
				tr.seen(k, strconv.AppendInt(nil, int64(i), 10))
				switch i + 1 {
				case 10, 100:
					b.ReportMetric(float64(tr.size()), "B@"+strconv.Itoa(i+1))
				case DefaultWindow:
					b.ReportMetric(float64(tr.size()), "B@full")
				}
			}
		}
	})
}

func BenchmarkHash(b *testing.B) {
	k := newHashKey(1)
	for _, n := range []int{24, 120, 600, 64 << 10} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := []byte(strings.Repeat("x", n))
			b.SetBytes(int64(n))
			for b.Loop() {
				k.sum(domainContent, p)
			}
		})
	}
}

// steps makes chunks of events, and gives them to a Machine. The ids, seven
// digits each, are counted on from one Step to the next, in place.
type steps struct {
	m      *Machine
	now    time.Time
	chunks [][]byte
	i      int
	id     int // 0: the chunks stay as they are
	notes  int
}

func newSteps(p Policy, eventsPerChunk, dataBytes int, repeat bool) *steps {
	s := &steps{m: New(epoch0(), &p, Start{Seed: 1}), now: epoch0()}
	one := event("1000000", strings.Repeat("x", dataBytes))
	s.chunks = [][]byte{[]byte(strings.Repeat(one, eventsPerChunk))}
	if !repeat {
		s.id = 1_000_000
	}
	for range 4 * DefaultWindow / eventsPerChunk { // until everything has grown
		s.step()
	}
	return s
}

func (s *steps) step() {
	chunk := s.chunks[s.i]
	if s.id > 0 {
		each := bytes.Index(chunk, []byte("\n\n")) + 2
		for at := 0; at+each <= len(chunk); at += each {
			s.id++
			strconv.AppendInt(chunk[at+4:at+4], int64(s.id), 10)
		}
	}
	rd := s.m.Step(s.now, Chunk{Bytes: chunk})
	s.notes += len(rd.Notes)
	s.i = (s.i + 1) % len(s.chunks)
	s.now = s.now.Add(time.Millisecond)
}

func BenchmarkStep(b *testing.B) {
	for _, bm := range []struct {
		name   string
		p      Policy
		events int
		data   int
		repeat bool
	}{
		{"overlap/1x120B", Policy{}, 1, 100, false},
		{"overlap/34x120B", Policy{}, 34, 100, false},
		{"overlap/1x600B", Policy{}, 1, 580, false},
		{"overlap/1x64KiB", Policy{}, 1, 64 << 10, false},
		{"always/1x120B", Policy{Dedup: DedupAlways}, 1, 100, false},
		{"always/34x120B", Policy{Dedup: DedupAlways}, 34, 100, false},
		{"always/dropped/34x120B", Policy{Dedup: DedupAlways}, 34, 100, true},
		{"observe/34x120B", Policy{Observe: true}, 34, 100, false},
	} {
		b.Run(bm.name, func(b *testing.B) {
			s := newSteps(bm.p, bm.events, bm.data, bm.repeat)
			b.SetBytes(int64(len(s.chunks[0])))
			b.ReportAllocs()
			for b.Loop() {
				s.step()
			}
		})
	}
}

// Step allocates nothing once a stream runs, whatever comes.
func TestStepAllocations(t *testing.T) {
	for name, s := range map[string]*steps{
		"one event":      newSteps(Policy{Heartbeat: time.Second}, 1, 100, false),
		"several events": newSteps(Policy{Heartbeat: time.Second}, 20, 100, false),
		"always":         newSteps(Policy{Dedup: DedupAlways}, 20, 100, false),
		"dropped":        newSteps(Policy{Dedup: DedupAlways}, 20, 100, true),
		"observed":       newSteps(Policy{Observe: true}, 20, 100, false),
		"no ids":         noIDs(),
		"drip":           drip(),
		"some dropped":   someDropped(),
	} {
		if n := testing.AllocsPerRun(1000, s.step); n != 0 {
			t.Errorf("%s: %v allocations per Step", name, n)
		}
	}
	s := newSteps(Policy{Dedup: DedupAlways}, 20, 100, true)
	if s.m.Counts().Duplicates == 0 || someDropped().m.Counts().Duplicates == 0 {
		t.Error("nothing was dropped")
	}
}

// sequence gives the same chunks again and again.
func sequence(p Policy, chunks ...string) *steps {
	s := newSteps(p, 1, 1, true)
	s.chunks = nil
	for _, c := range chunks {
		s.chunks = append(s.chunks, []byte(c))
	}
	for range 3 * len(chunks) {
		s.step()
	}
	return s
}

func noIDs() *steps {
	done := "[DONE]"
	return sequence(Policy{Complete: []Completion{{Data: &done}, {JSON: map[string]any{"a.b": "c"}}}},
		event("", "x"), "data: [DO", "NO]\n\n: comment\n")
}

// drip is events in chunks that end anywhere.
func drip() *steps {
	whole := strings.Repeat(event("", strings.Repeat("x", 100)), 200)
	var chunks []string
	for n := 1; len(whole) > 0; n = n*7%211 + 1 {
		n = min(n, len(whole))
		chunks = append(chunks, whole[:n])
		whole = whole[n:]
	}
	return sequence(Policy{}, chunks...)
}

// someDropped is chunks of which a part is dropped, so that the rest has to be
// put together.
func someDropped() *steps {
	known := event("1000000", "x")
	return sequence(Policy{Dedup: DedupAlways}, event("", "x")+known+event("", strings.Repeat("y", 3000))+known+event("", "z"))
}

// What one idle stream costs, before ids come: the bound of perf's memory target.
func TestMachineSize(t *testing.T) {
	r := newRun(t, Policy{Heartbeat: time.Second}, Start{Repeatable: true})
	r.chunk(event("", "hello"))
	r.pass(2 * time.Second)
	m := r.m
	n := int(unsafe.Sizeof(*m)) + int(unsafe.Sizeof(*m.scanner)) + m.window.size() - int(unsafe.Sizeof(m.window)) +
		cap(m.out.buf) + cap(m.cursor.id) + cap(m.trust.last) + cap(m.notes)*int(unsafe.Sizeof(Note{})) + cap(m.commands)*16
	t.Logf("Machine %d, Scanner %d, all %d bytes", unsafe.Sizeof(*m), unsafe.Sizeof(*m.scanner), n)
	if n > 1024 {
		t.Errorf("an idle Machine takes %d bytes, want at most 1024", n)
	}
}

// A busy moment leaves no large buffer behind once a stream is idle.
func TestBufferIsGivenUp(t *testing.T) {
	r := newRun(t, Policy{Heartbeat: time.Second}, Start{})
	r.chunk("data: x")
	r.chunk("\n\n" + strings.Repeat(event("", "y"), 1000))
	for range 2 * idleSteps {
		r.pass(time.Second)
	}
	if c := cap(r.m.out.buf); c > keepOutput {
		t.Errorf("%d bytes are kept", c)
	}
}
