package harness

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The equipment has to be right before it judges others: straight from origin to
// client, every kind of end is seen as what it is.
func TestClientSeesWhatTheOriginDoes(t *testing.T) {
	origin := NewOrigin(t)
	for _, protocol := range []Protocol{H1, H2} {
		t.Run(string(protocol), func(t *testing.T) {
			client := NewClient(t, protocol)
			open := func(t *testing.T) (*Exchange, *Stream) {
				path := origin.Path("")
				s := Open(t, client, Request{Header: []string{"x-test", "1"}}.For(t, origin.URL+path))
				return origin.Accept(t, path), s
			}
			t.Run("clean end with trailer", func(t *testing.T) {
				x, s := open(t)
				if got := x.Request.Header.Get("x-test"); got != "1" {
					t.Errorf("the origin got x-test %q", got)
				}
				x.Stream()
				s.WantOpen(t)
				x.Send("data: a\n\n")
				s.Want(t, "data: a\n\n")
				x.Trailer("x-sum", "7")
				x.End()
				s.WantEnd(t)
				if got := s.Response(t).Trailer.Get("x-sum"); got != "7" {
					t.Errorf("trailer x-sum is %q", got)
				}
			})
			t.Run("abort", func(t *testing.T) {
				x, s := open(t)
				x.Stream()
				x.Send("data: a\n")
				s.Want(t, "data: a\n")
				x.Abort()
				s.WantAbort(t)
			})
			t.Run("reset", func(t *testing.T) {
				x, s := open(t)
				x.Stream()
				s.WantOpen(t)
				x.Reset()
				s.WantAbort(t)
			})
			t.Run("client leaves", func(t *testing.T) {
				x, s := open(t)
				x.Stream()
				s.WantOpen(t)
				s.Close()
				x.WantGone(t)
				x.Send("into the void")
			})
			t.Run("other answers", func(t *testing.T) {
				x, s := open(t)
				x.Answer(http.StatusNoContent)
				x.End()
				if got := s.Response(t).StatusCode; got != http.StatusNoContent {
					t.Errorf("status %d", got)
				}
				s.WantEnd(t)
			})
		})
	}
	if got := len(origin.Requests("/1")); got != 1 {
		t.Errorf("the origin counts %d requests at its first path, want 1", got)
	}
}

func TestSumMetric(t *testing.T) {
	const page = `# HELP a_total things
# TYPE a_total counter
a_total{kind="x",mode="inline"} 2
a_total{kind="y",mode="inline"} 3 1700000000000
a_total_other 100
b 1.5e+01
`
	for _, tc := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"a_total", nil, 5},
		{"a_total", []string{"kind=y"}, 3},
		{"a_total", []string{"mode=inline", "kind=x"}, 2},
		{"a_total", []string{"kind=z"}, 0},
		{"b", nil, 15},
		{"c", nil, 0},
	} {
		if got := SumMetric(page, tc.name, tc.labels...); got != tc.want {
			t.Errorf("SumMetric(%s%v) = %g, want %g", tc.name, tc.labels, got, tc.want)
		}
	}
}
