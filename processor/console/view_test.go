package console

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/processor/live"
)

// crowd is a registry of n running streams, of which some things vary, and m that
// ended, an each second's one before now.
func crowd(n, m int) *live.Registry {
	t := now()
	r := &live.Registry{}
	for i := 1; i <= n; i++ {
		s := streamOf{
			ID: live.ID(i).String(), Policy: "p", Mode: "hold", State: "live", Method: "GET", Path: fmt.Sprintf("/feed/%d", i%7),
			Upstream: fmt.Sprintf("10.0.0.%d:80", i%3), Started: t.Add(-time.Duration(i) * time.Minute), LastByte: t.Add(-time.Duration(n-i) * time.Second),
			Events: uint64(i * 37 % 101), Cursor: fmt.Sprint("c", i),
		}
		if i%10 == 0 {
			s.State = "resuming"
		}
		r.Add(live.ID(i), s)
	}
	for i := 1; i <= m; i++ {
		id := live.ID(1<<32 + i)
		r.Retire(id, live.History{
			Stream: live.Stream{
				ID: id.String(), Policy: "q", Mode: "inline", State: "ended", Path: "/gone", Started: t.Add(-time.Hour),
				Outcome: []string{"complete", "cut", "gap"}[i%3], Ended: t.Add(-time.Duration(m-i) * time.Second),
			},
			Timeline: []live.Moment{{At: t, What: "ended", Text: "cut"}},
		})
	}
	return r
}

func TestViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Streams = crowd(50, 9)
		h := New(o)
		for query, want := range map[string]struct {
			matched int
			first   []uint64 // IDs; those of ended streams as they were counted
		}{
			"sort=started":                     {50, []uint64{50, 49}},
			"sort=-started":                    {50, []uint64{1, 2}},
			"sort=-events":                     {50, []uint64{30, 19}},
			"sort=last_byte":                   {50, []uint64{1, 2}},
			"sort=id&offset=48":                {50, []uint64{49, 50}},
			"sort=id&offset=50":                {50, nil},
			"sort=id&offset=999999999":         {50, nil},
			"sort=path":                        {50, []uint64{7, 14}},
			"sort=id&state=resuming":           {5, []uint64{10, 20}},
			"sort=-ended&state=ended":          {9, []uint64{9, 8}},
			"sort=-ended&state=all":            {59, []uint64{50, 49}},
			"sort=ended&state=all":             {59, []uint64{1, 2}},
			"state=ended&outcome=bad&sort=id":  {6, []uint64{1, 2}},
			"state=ended&outcome=cut&sort=id":  {3, []uint64{1, 4}},
			"state=all&q=C50":                  {1, []uint64{50}},
			"sort=id&q=/FEED/3":                {7, []uint64{3, 10}},
			"sort=id&upstream=10.0.0.0:80":     {16, []uint64{3, 6}},
			"sort=id&q=10.0.0.0&state=all":     {16, []uint64{3, 6}},
			"sort=id&policy=q":                 {0, nil},
			"sort=id&policy=q&state=all&q=gap": {3, []uint64{2, 5}},
		} {
			got := decode[struct {
				Streams []live.Stream
				Matched int
				Total   int
			}](t, ask(h, "GET", "/api/v1/streams?limit=2&"+query))
			var first []uint64
			for _, s := range got.Streams {
				id, _ := live.ParseID(s.ID)
				first = append(first, uint64(id)&(1<<32-1))
			}
			if got.Matched != want.matched || !slices.Equal(first, want.first) || got.Total != 50 {
				t.Errorf("%s: %d matched, first %v; want %+v", query, got.Matched, first, want)
			}
		}
	})
}

// TestEveryFieldSorts: each order is one, forwards and backwards.
func TestEveryFieldSorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Streams = crowd(20, 5)
		h := New(o)
		for name := range orders() {
			page := func(sort string) []string {
				got := decode[streamsPage](t, ask(h, "GET", "/api/v1/streams?state=all&sort="+sort))
				return ids(got.Streams)
			}
			up, down := page(name), page("-"+name)
			slices.Reverse(down)
			if len(up) != 25 || !slices.Equal(up, down) {
				t.Errorf("%s: up and down differ", name)
			}
		}
	})
}

func TestStreamWithTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Streams = crowd(1, 1)
		h := New(o)
		running := decode[map[string]any](t, ask(h, "GET", "/api/v1/streams/0000000000000001"))
		if running["state"] != "live" || running["path"] != "/feed/1" || fmt.Sprint(running["timeline"]) != "[]" {
			t.Errorf("%v", running)
		}
		ended := decode[live.History](t, ask(h, "GET", "/api/v1/streams/0000000100000001"))
		if ended.Outcome != "cut" || len(ended.Timeline) != 1 || ended.Timeline[0].Text != "cut" {
			t.Errorf("%+v", ended)
		}
	})
}

func TestTargetsPage(t *testing.T) {
	if w := ask(New(options()), "GET", "/api/v1/targets"); w.Code != 200 || !strings.Contains(w.Body.String(), `"targets": []`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	o := options()
	want := []live.Target{{Policy: "p", Cluster: "c", Address: "10.0.0.1:80", State: "open", InARow: 3}}
	o.Targets = func() []live.Target { return want }
	got := decode[struct{ Targets []live.Target }](t, ask(New(o), "GET", "/api/v1/targets"))
	if diff := cmp.Diff(want, got.Targets); diff != "" {
		t.Error(diff)
	}
}

// message is one event of the watch stream.
type message struct {
	event string
	data  map[string]any
}

func (w *watching) message() message {
	w.t.Helper()
	m := message{}
	for w.in.Scan() {
		field, value, _ := strings.Cut(w.in.Text(), ": ")
		switch field {
		case "event":
			m.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &m.data); err != nil {
				w.t.Fatal(err)
			}
			return m
		}
	}
	w.t.Fatal("the stream has ended")
	return m
}

// until reads on to the next message of a kind.
func (w *watching) until(event string) map[string]any {
	w.t.Helper()
	for {
		if m := w.message(); m.event == event {
			return m.data
		}
	}
}

func TestWatchAView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		streams := crowd(5, 0)
		o.Streams = streams
		s := serve(t, New(o))
		w := s.watch("?sort=-started&limit=2&state=all")
		got := w.message()
		if got.event != "snapshot" || got.data["matched"] != 5.0 || len(got.data["streams"].([]any)) != 2 {
			t.Fatalf("%+v", got)
		}
		// A younger stream comes first and pushes one out of sight.
		id := live.ID(99)
		streams.Add(id, streamOf{ID: id.String(), State: "live", Started: now()})
		got = w.message()
		want := map[string]any{
			"total": 6.0, "matched": 6.0, "gone": []any{live.ID(2).String()},
			"order": []any{id.String(), live.ID(1).String()},
		}
		changed := got.data["changed"].([]any)
		delete(got.data, "time")
		delete(got.data, "changed")
		if diff := cmp.Diff(want, got.data); diff != "" || len(changed) != 1 {
			t.Errorf("%d changed: %s", len(changed), diff)
		}
		// One ends elsewhere: it is only a number here, for it is still to be seen.
		streams.Retire(3, live.History{Stream: live.Stream{ID: live.ID(3).String(), State: "ended", Outcome: "cut", Started: now().Add(-time.Hour), Ended: now()}})
		streams.Add(100, streamOf{ID: live.ID(100).String(), State: "live", Started: now().Add(-time.Hour)})
		got = w.message()
		if got.event != "changes" || got.data["matched"] != 7.0 || len(got.data["changed"].([]any)) != 0 || got.data["order"] != nil {
			t.Errorf("%+v", got)
		}
		s.stop()
		_ = w.resp.Body.Close()
	})
}

func TestWatchSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		streams := crowd(20, 3)
		var draining atomic.Bool
		registry := prometheus.NewRegistry()
		resumes := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_resumes_total"}, []string{"result"})
		ended := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_streams_total"}, []string{"outcome"})
		active := prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdfast_streams_active"})
		registry.MustRegister(resumes, ended, active)
		o.Streams, o.Metrics, o.Version = streams, registry, "v7"
		o.Ready = func() error {
			if draining.Load() {
				return errors.New("draining")
			}
			return nil
		}
		s := serve(t, New(o))
		time.Sleep(historyStep / 2) // between two samples
		w := s.watch("?limit=1&with=summary")
		if m := w.message(); m.event != "snapshot" {
			t.Fatalf("%+v", m)
		}
		sum := w.message()
		want := map[string]any{
			"version": "v7", "ready": true, "live": 20.0, "hidden": 0.0, "targets": []any{},
			"modes": map[string]any{"hold": 20.0}, "states": map[string]any{"live": 18.0, "resuming": 2.0},
			"outcomes": map[string]any{"complete": 1.0, "cut": 1.0, "gap": 1.0}, "policies": []any{"p", "q"},
		}
		delete(sum.data, "time")
		if diff := cmp.Diff(want, sum.data); diff != "" || sum.event != "summary" {
			t.Error(sum.event, diff)
		}
		if m := w.message(); m.event != "history" || len(m.data["points"].([]any)) != 0 || m.data["step"] != 5.0 {
			t.Errorf("%+v", m)
		}
		resumes.WithLabelValues("resumed").Add(3)
		resumes.WithLabelValues("denied").Add(2)
		resumes.WithLabelValues("abandoned").Add(9)
		ended.WithLabelValues("cut").Add(1)
		ended.WithLabelValues("complete").Add(4)
		active.Set(20)
		point := w.until("history")["points"].([]any)[0].(map[string]any)
		delete(point, "time")
		if diff := cmp.Diff(map[string]any{
			"active": 20.0, "events": 0.0, "duplicates": 0.0, "resumed": 3.0, "unresumed": 2.0, "bad": 1.0, "ended": 5.0,
		}, point); diff != "" {
			t.Error(diff)
		}
		draining.Store(true)
		if sum := w.until("summary"); sum["ready"] != false || sum["reason"] != "draining" {
			t.Errorf("%v", sum)
		}
		s.stop()
		_ = w.resp.Body.Close()
	})
}

// TestHistoryIsBounded: an hour later there is a quarter of one.
func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := history{metrics: prometheus.NewRegistry()}
		begun := now()
		for range 2 * historyLength {
			h.sample(now())
			time.Sleep(historyStep)
		}
		all := h.after(time.Time{})
		if len(all) != historyLength {
			t.Fatalf("%d points", len(all))
		}
		if last := all[historyLength-1].Time; last.Sub(begun) != (2*historyLength-1)*historyStep {
			t.Errorf("the last is of %v", last.Sub(begun))
		}
		if some := h.after(all[historyLength-3].Time); len(some) != 2 {
			t.Errorf("%d points after the third last", len(some))
		}
	})
}

// TestManyStreams: ten thousand streams of which each changes every second are
// one page of changes for who looks at a page.
func TestManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		o := options()
		r := &live.Registry{}
		for i := 1; i <= n; i++ {
			r.Add(live.ID(i), busy(i))
		}
		o.Streams = r
		s := serve(t, New(o))
		resp := s.get("/api/v1/streams/watch?sort=-events&limit=50&with=summary")
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		for range 3 {
			for event := ""; event != "changes"; {
				line, err := in.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if name, ok := strings.CutPrefix(line, "event: "); ok {
					event = strings.TrimSpace(name)
				}
			}
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if most := 50 * 1000; len(line) > most {
				t.Errorf("%d bytes of changes, want at most %d", len(line), most)
			}
		}
		s.stop()
	})
}

// busy is a stream with an event each second.
type busy live.ID

func (b busy) Snapshot() live.Stream {
	n := uint64(now().Unix())
	return live.Stream{ID: live.ID(b).String(), State: "live", Mode: "hold", Events: n - n%uint64(b), Started: time.Unix(0, int64(b))}
}
