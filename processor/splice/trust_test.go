package splice

import (
	"strconv"
	"strings"
	"testing"
)

func TestTrust(t *testing.T) {
	counter := func(from, to int) string {
		var ids []string
		for i := from; i <= to; i++ {
			ids = append(ids, strconv.Itoa(i))
		}
		return strings.Join(ids, " ")
	}
	// Each id stands for an event; after a slash is its content, otherwise the
	// content is new.
	tests := []struct {
		name, ids string
		want      Trust
		epoch     uint32
	}{
		{"none", "", TrustAbsent, 0},
		{"one", "1", TrustUnique, 0},
		{"counter", "1 2 3 10 11 100", TrustMonotonic, 0},
		{"counter of any length", "99999999999999999999 100000000000000000000", TrustMonotonic, 0},
		{"leading zeros", "008 009 010", TrustMonotonic, 0},
		{"one id in two forms", "7 07", TrustUnique, 0},
		{"stream and index", "s3_8 s3_9 s3_10", TrustMonotonic, 0},
		{"redis stream", "1526919030474-55 1526919030474-56 1526919030475-0", TrustMonotonic, 0},
		{"time", "2026-01-01T09:59:59.9Z 2026-01-01T10:00:00.0Z", TrustMonotonic, 0},
		{"json", `[{"t":1,"o":5}] [{"t":2,"o":-1}]`, TrustUnique, 0},
		{"hex", "8f3a 91bc 0d2e", TrustUnique, 0},
		{"other stream's index", "a_1 a_2 b_1 b_2", TrustUnique, 0},
		{"not rising", "9 5 7 8", TrustUnique, 0},
		{"constant", "m m m", TrustConstant, 0},
		{"constant with an end", "m m m fin", TrustConstant, 0},
		{"constant and equal", "m/a m/a", TrustConstant, 0},
		{"one repeat at the start", "1/a 1/a 2 3", TrustMonotonic, 0},
		{"repeats of a known event", "1/a 2/b 3/c 2/b 3/c 4/d", TrustMonotonic, 0},
		{"topics", "temp/20 hum/20 wind/20 temp/20", TrustRestarting, 1},
		{"states", "hA/on hB/off hA/on", TrustRestarting, 1},
		{"known id, other content", "a b c a", TrustRestarting, 1},
		{"one content under two ids", "1/a 2/a 3/a", TrustMonotonic, 0},
		{"millisecond clock", "1700000000000 1700000000001 1700000000001 1700000000002", TrustRestarting, 1},
		{"counts from one again", "1 2 3 1 2 3", TrustRestarting, 1},
		{"counter falls", "501 502 503 1 2", TrustRestarting, 1},
		{"falls again soon", "501 502 503 1 2 0 5 4", TrustRestarting, 1},
		{"falls again late", "501 502 " + counter(1, 80) + " 0", TrustRestarting, 2},
		{"long after a restart", "501 502 " + counter(1, 200), TrustRestarting, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t, Policy{}, Start{})
			for i, id := range strings.Fields(tt.ids) {
				id, content, ok := strings.Cut(id, "/")
				if !ok {
					content = strconv.Itoa(i)
				}
				r.chunk(event(id, content))
			}
			if r.m.Trust() != tt.want || r.m.State().Epoch != tt.epoch {
				t.Errorf("%v in epoch %d, want %v in %d", r.m.Trust(), r.m.State().Epoch, tt.want, tt.epoch)
			}
		})
	}
}

// A verdict is about a stream; the next one begins anew, unless it continues
// where the client says it is.
func TestTrustOfNextStream(t *testing.T) {
	r := newRun(t, Policy{}, Start{})
	r.chunk(event("1", "a") + event("2", "b"))
	if b := r.back("2"); b.m.Trust() != TrustMonotonic {
		t.Errorf("continued: %v", b.m.Trust())
	}
	if b := r.back("9"); b.m.Trust() != TrustAbsent {
		t.Errorf("unknown cursor: %v", b.m.Trust())
	}
	if b := newRun(t, Policy{}, Start{Earlier: r.m.State()}); b.m.Trust() != TrustAbsent {
		t.Errorf("no cursor: %v", b.m.Trust())
	}
}

func TestCompareIDs(t *testing.T) {
	tests := []struct {
		a, b string
		want idOrder
	}{
		{"", "", orderEqual},
		{"1", "1", orderEqual},
		{"1", "2", orderAfter},
		{"9", "10", orderAfter},
		{"12", "123", orderAfter},
		{"10", "9", orderBefore},
		{"", "1", orderNone},
		{"a", "a1", orderNone},
		{"a1", "b2", orderNone},
		{"a1b", "a2c", orderNone},
		{"a1b1", "a1b22", orderAfter},
		{"a2b1", "a1b22", orderBefore},
		{"a1b1c", "a2b", orderNone},
		{"1.9", "1.10", orderAfter},
		{"1-22", "11-2", orderAfter},
		{"1-2", "1a2", orderNone},
		{"event-0000000041", "event-0000000042", orderAfter},
		{"event-0000000099/x7", "event-0000000100/x1", orderAfter},
		{"-1", "-2", orderAfter}, // a dash is text
		{"00", "0", orderNone},
	}
	for _, tt := range tests {
		if got := compareIDs([]byte(tt.a), []byte(tt.b)); got != tt.want {
			t.Errorf("%q, %q: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		back := map[idOrder]idOrder{orderNone: orderNone, orderEqual: orderEqual, orderAfter: orderBefore, orderBefore: orderAfter}
		if got := compareIDs([]byte(tt.b), []byte(tt.a)); got != back[tt.want] {
			t.Errorf("%q, %q: %d is not the reverse", tt.b, tt.a, got)
		}
	}
}
