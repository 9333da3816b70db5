package sim

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast/processor"
	"holdfast/processor/pass"
)

// origin serves all feeds, behind what stands for Envoy's loopback listener and
// its clusters. It does what the plans say, but for lies that nobody could see
// through: where HTTP leaves no way to tell an early end from the real one, it
// resets instead.
type origin struct {
	w    *world
	http *http.Server
	wire *wire

	mu      sync.Mutex
	until   time.Time       // no connection can be made before
	refused []time.Duration // when one was asked for
}

// request is what a client asks for, and whose it is.
const simHeader = "X-Sim"

// seen is what the origin has seen and done for one visit of a client.
type seen struct {
	mu       sync.Mutex
	attempts []*attempt
}

// attempt is one request to the origin.
type attempt struct {
	n      int
	at     time.Duration
	cursor string
	plan   plan

	wrote   strings.Builder
	wroteAt time.Duration // the last of it
	fresh   bool          // it has sent a whole entry with an id that no attempt before has
	cut     *entry
	end     string // how it ended, in words; empty: it has not
	endedAt time.Duration
}

// who is the request in a transcript.
func (a *attempt) who(v *visiting) string { return fmt.Sprintf("%s request %d", v.name, a.n) }

type connKey struct{}

func newOrigin(w *world) *origin {
	o := &origin{w: w, wire: newWire()}
	o.http = &http.Server{
		Handler: o, Protocols: h2c(), ErrorLog: zap.NewStdLog(zap.NewNop()),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	go func() { _ = o.http.Serve(o.wire) }()
	return o
}

// dial is how both the processor's fetches and Envoy's own requests get here.
func (o *origin) dial(ctx context.Context) (net.Conn, error) {
	o.mu.Lock()
	away := time.Now().Before(o.until)
	if away {
		o.refused = append(o.refused, o.w.now())
	}
	o.mu.Unlock()
	if away {
		return nil, errRefused
	}
	return o.wire.dial(ctx)
}

// refusedSince is how many connections were asked for and could not be made.
func (o *origin) refusedSince(at time.Duration) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.refused) - sort.Search(len(o.refused), func(i int) bool { return o.refused[i] >= at })
}

// ServeHTTP implements http.Handler.
func (o *origin) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	v := o.w.visitOf(r.Header.Get(simHeader))
	if v == nil {
		o.w.fail("the origin got a request that no client made: %v", r.Header)
		return
	}
	if r.Method == http.MethodPost {
		if b, err := io.ReadAll(r.Body); err == nil && string(b) != postBody {
			o.w.fail("%s: the origin got the body %q", v.name, b)
		}
	}
	a := o.admit(v, r)
	s := &serving{o: o, v: v, a: a, rw: rw, r: r}
	defer s.over()
	s.answer()
}

// postBody is the body of every POST.
const postBody = `{"stream":true}`

// admit takes down a request and checks what anybody may demand of it.
func (o *origin) admit(v *visiting, r *http.Request) *attempt {
	v.seen.mu.Lock()
	defer v.seen.mu.Unlock()
	cursor, has := v.admitRest(r)
	a := &attempt{n: len(v.seen.attempts), at: o.w.now(), cursor: cursor}
	v.seen.attempts = append(v.seen.attempts, a)
	if a.n < len(v.visit.Attempts) {
		a.plan = v.visit.Attempts[a.n]
	}
	o.w.note(a.who(v), "comes, cursor %q", cursor)
	own, ownHas := v.asked()
	switch {
	case v.feed.Kept && (v.mayFail() || o.w.isDraining()):
		// With nobody to read it, the origin gets the client's own.
	case a.n == 0 && (cursor != own || has != ownHas):
		o.w.fail("%s: the client's Last-Event-ID is %q (%v), the origin got %q (%v)", v.name, own, ownHas, cursor, has)
	case a.n > 0 && v.mayFail():
		// Where a processor dies before it has answered, Envoy makes the request itself.
	case a.n > 0 && !v.askable() && !v.mayAskAnew(cursor):
		o.w.fail("%s: asked again, where nothing can be resumed", v.name)
	case a.n > 0 && r.Method != http.MethodGet:
		o.w.fail("%s: %s is not to be repeated", v.name, r.Method)
	case a.n > 0 && cursor != own && !v.wasSent(cursor):
		o.w.fail("%s: asked for what comes after %q, which was never sent", v.name, cursor)
	case a.n > 0 && v.answered():
		o.w.fail("%s: asked again, behind the answer", v.name)
	case v.policy.Detach == 0 && v.isOver() && o.w.now() > v.overAt+time.Millisecond:
		o.w.fail("%s: a request after its client has left", v.name)
	}
	if got := r.Header.Get("Accept-Encoding"); got != "identity" && v.via() != "plain" && v.policy.Mode != "observe" {
		o.w.fail("%s: accept-encoding %q", v.name, got)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+v.who {
		o.w.fail("%s: authorization %q", v.name, got)
	}
	if r.Header.Get(pass.TicketHeader) != "" || r.Host != authority {
		o.w.fail("%s: the origin got %v for %s", v.name, r.Header, r.Host)
	}
	return a
}

// mayAskAnew says whether the client has nothing yet, and its request may be made
// once more.
func (v *visiting) mayAskAnew(cursor string) bool {
	if own, _ := v.asked(); cursor != own || v.method() != http.MethodGet {
		return false
	}
	last := v.seen.attempts[len(v.seen.attempts)-2]
	return last.plan.Answer.broken() || !slices.ContainsFunc(events(last.wrote.String()), func(b block) bool {
		return !slices.ContainsFunc(v.feed.Log.Entries[:v.from], func(e entry) bool { return same(b, e) }) // a repeat it did not get
	})
}

// wasSent says whether some attempt has sent a whole event with this id.
func (v *visiting) wasSent(id string) bool {
	return slices.ContainsFunc(v.seen.attempts, func(a *attempt) bool {
		return slices.ContainsFunc(events(a.wrote.String()), func(b block) bool { return b.id == id })
	})
}

// serving is one request that is being served.
type serving struct {
	o  *origin
	v  *visiting
	a  *attempt
	rw http.ResponseWriter
	r  *http.Request

	left int // bytes until the planned end; negative: there is none
}

// over takes down how it ended, if it was not the plan.
func (s *serving) over() {
	p := recover()
	s.v.seen.mu.Lock()
	if s.a.end == "" {
		s.a.end = "cancelled"
	}
	s.a.endedAt = s.o.w.now()
	s.v.seen.mu.Unlock()
	s.o.w.note(s.a.who(s.v), "%s after %d bytes", s.a.end, s.a.wrote.Len())
	if p != nil {
		panic(p)
	}
}

func (s *serving) ended(how string) {
	s.v.seen.mu.Lock()
	defer s.v.seen.mu.Unlock()
	if s.a.end == "" && s.r.Context().Err() == nil {
		s.a.end = how
	}
}

// answer answers the request.
func (s *serving) answer() {
	ctx, p := s.r.Context(), &s.a.plan
	if pause(ctx, p.Delay) != nil {
		return
	}
	s.rw.Header().Set(processor.UpstreamHeader, fmt.Sprintf("feed 10.0.0.%d:80", s.a.n%3+1))
	if p.Answer.over() && !s.mayStop() {
		p.Answer = busy
	}
	if p.Answer == serves && s.a.n > 0 && s.v.feed.Log.Ends && s.a.n >= len(s.v.visit.Attempts) && s.position() == len(s.v.feed.Log.Entries) && s.v.number%2 == 0 {
		p.Answer = noContent
	}
	if p.Answer == serves {
		s.events()
		return
	}
	s.ended("answered " + string(p.Answer))
	if p.After > 0 {
		s.rw.Header().Set("Retry-After", strconv.Itoa(p.After))
	}
	switch p.Answer {
	case resetEarly:
		panic(http.ErrAbortHandler)
	case killed:
		s.kill()
	case unreachable:
		s.o.mu.Lock()
		s.o.until = time.Now().Add(time.Second)
		s.o.mu.Unlock()
		s.kill()
	case hangs:
		<-ctx.Done()
	case wrongType:
		s.rw.Header().Set("Content-Type", "application/json")
		io.WriteString(s.rw, "{}")
	case encoded:
		s.rw.Header().Set("Content-Type", "text/event-stream")
		s.rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(s.rw)
		io.WriteString(z, "data: 1\n\n")
		_ = z.Close()
	case redirected:
		http.Redirect(s.rw, s.r, "/elsewhere", http.StatusFound)
	case noContent:
		s.rw.WriteHeader(http.StatusNoContent)
	default:
		http.Error(s.rw, "no", must(strconv.Atoi(string(p.Answer))))
	}
}

func (s *serving) kill() {
	_ = s.r.Context().Value(connKey{}).(net.Conn).Close()
	panic(http.ErrAbortHandler)
}

// mayStop says whether it is true that there is no more, or can be seen not to be.
func (s *serving) mayStop() bool {
	if s.a.n == 0 || len(s.v.policy.CompleteWhen) > 0 {
		return true
	}
	return s.position() == len(s.v.feed.Log.Entries) && s.v.feed.Log.Ends
}

// position is where in the log the request's answer begins.
func (s *serving) position() int {
	entries := s.v.feed.Log.Entries
	if s.a.cursor == "" || s.r.Method == http.MethodPost {
		return 0
	}
	for i, e := range slices.Backward(entries) {
		if e.ID == s.a.cursor {
			return i + 1
		}
	}
	return 0
}

// from makes the log as this answer has it, and says where in it to begin.
func (s *serving) from() (log []entry, at int) {
	log, at = s.v.feed.Log.Entries, s.position()
	p := &s.a.plan
	own, _ := s.v.asked()
	again := s.a.n > 0 && s.a.cursor != own // what would be the answer to a client's own request is no lie
	switch {
	case again && (p.Lapse == another && s.v.policy.Dedup != "always" || s.v.feed.Log.Kind == restarting):
		log, at = elsewhere(log), 0
	case !s.v.feed.Log.Kind.trusty():
		at = 0 // it does not look at cursors
	case again && p.Lapse == skips && at > 0:
		for n := 0; n < 2 && at < len(log); at++ {
			if log[at].ID != "" {
				n++
			}
		}
		for at < len(log) && log[at].ID == "" {
			at++
		}
	case s.a.cursor == "", s.v.feed.Kept && !again:
	case p.Replay < 0:
		at = 0
	default:
		at = max(0, at-p.Replay)
	}
	return log, at
}

// elsewhere is a log with other events under the same ids.
func elsewhere(log []entry) []entry {
	var out []entry
	for i, e := range log {
		if e.ID != "" {
			out = append(out, entry{At: e.At, ID: e.ID, Text: fmt.Sprintf("id: %s\ndata: other %d\n\n", e.ID, i)})
		}
	}
	return out
}

// events answers with an event stream.
func (s *serving) events() {
	h, p := s.rw.Header(), &s.a.plan
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Origin", s.v.name)
	s.rw.WriteHeader(http.StatusOK)
	s.rw.(http.Flusher).Flush()
	s.left = -1
	if p.End != natural {
		s.left = p.Bytes
	}
	if s.left == 0 || s.send(p.Begin, nil) {
		s.finish()
		return
	}
	log, at := s.from()
	for at < len(log) {
		var text strings.Builder
		marks := map[int]*entry{}
		for ; at < len(log) && log[at].At <= s.o.w.now(); at++ {
			e := &log[at]
			if s.missed(e) {
				continue
			}
			text.WriteString(e.Text)
			marks[text.Len()-len(e.Text)+len(e.whole())] = e
		}
		if s.send(text.String(), marks) {
			s.finish()
			return
		}
		if at < len(log) && pause(s.r.Context(), log[at].At-s.o.w.now()) != nil {
			return
		}
	}
	if !s.v.feed.Log.Ends {
		s.ended("silent")
		<-s.r.Context().Done()
		return
	}
	s.ended("done")
	if t := s.v.feed.Log.Trailer; t != "" {
		h.Set(http.TrailerPrefix+t, "7")
	}
}

// missed says whether an entry was for those who were there when it happened.
func (s *serving) missed(e *entry) bool {
	switch {
	case s.a.n > 0 && s.a.at >= e.At:
		return e.Idle || e.ID == "" && s.v.feed.Log.Forgets
	case s.a.at > e.At:
		return e.Idle
	}
	return false
}

// send writes a text in pieces, and says whether the planned end has come.
// marks are where in it entries end.
func (s *serving) send(text string, marks map[int]*entry) (over bool) {
	sent := 0
	for sent < len(text) {
		n := len(text) - sent
		if s.a.plan.Cut > 0 {
			n = min(n, s.a.plan.Cut)
		}
		if s.left >= 0 {
			n = min(n, s.left)
		}
		s.took(text[sent:sent+n], sent, marks)
		if _, err := io.WriteString(s.rw, text[sent:sent+n]); err != nil {
			panic(http.ErrAbortHandler)
		}
		s.rw.(http.Flusher).Flush()
		if sent += n; s.left > 0 {
			if s.left -= n; s.left == 0 {
				s.cutIn(sent, marks)
				return true
			}
		}
		if pause(s.r.Context(), s.a.plan.Every) != nil {
			panic(http.ErrAbortHandler)
		}
	}
	return false
}

// took takes down what is sent.
func (s *serving) took(piece string, sent int, marks map[int]*entry) {
	s.v.seen.mu.Lock()
	defer s.v.seen.mu.Unlock()
	for i := 1; i <= len(piece); i++ {
		if e := marks[sent+i]; e != nil && e.ID != "" && s.a.plan.Lapse != another && s.v.isNew(e) && !s.v.sentBefore(s.a, e) {
			s.a.fresh = true
		}
	}
	s.a.wrote.WriteString(piece)
	s.a.wroteAt = s.o.w.now()
}

// isNew says whether an entry comes after what the client has by its own word.
func (v *visiting) isNew(e *entry) bool {
	return slices.IndexFunc(v.feed.Log.Entries, func(x entry) bool { return x.At == e.At && x.Text == e.Text }) >= v.from
}

// sentBefore says whether an attempt before a has sent the entry, whole.
func (v *visiting) sentBefore(a *attempt, e *entry) bool {
	for _, b := range v.seen.attempts[:a.n] {
		if strings.Contains(b.wrote.String(), e.whole()) {
			return true
		}
	}
	return false
}

// cutIn takes down the entry that the end cuts in two.
func (s *serving) cutIn(sent int, marks map[int]*entry) {
	first := -1
	for i := range marks {
		if i > sent && (first < 0 || i < first) {
			first = i
		}
	}
	if first >= 0 && marks[sent] == nil {
		s.a.cut = marks[first]
	}
}

// finish is the planned end.
func (s *serving) finish() {
	ctx, p := s.r.Context(), &s.a.plan
	if pause(ctx, p.Linger) != nil {
		return
	}
	end := p.End
	switch {
	case end == early && !s.mayEndEarly():
		end = reset
	case end == hums && s.inside():
		end = stalls // a comment would be a part of what comes before it
	}
	s.ended(string(end))
	switch end {
	case early, natural:
	case reset:
		panic(http.ErrAbortHandler)
	case dies:
		s.kill()
	case stalls:
		<-ctx.Done()
	case hums:
		s.left = -1
		for pause(ctx, 7*time.Second) == nil {
			s.send(": hum\n\n", nil)
		}
	}
}

// inside says whether the response is in the middle of an event or a line.
func (s *serving) inside() bool {
	_, rest := read(s.a.wrote.String())
	return rest != ""
}

// mayEndEarly says whether the processor can find out that it was no real end:
// by a marker, or by a question that it has reason to ask.
func (s *serving) mayEndEarly() bool {
	if s.a.cut != nil && len(s.a.cut.Text) > int(s.o.w.s.Limits.EventBytes) {
		return false
	}
	return len(s.v.policy.CompleteWhen) > 0 || s.v.resumable() && s.a.fresh
}
