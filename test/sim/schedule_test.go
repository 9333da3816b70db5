package sim

import (
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/config"
)

// schedule is one run, whole. It is drawn before anything runs.
type schedule struct {
	Random uint64 // seed of the processor's own randomness
	Limits config.Limits
	Feeds  []feed
	Store  storeFaults
	Drain  drain
	Crash  crash
	Tries  []hostTry
	Reload time.Duration // when the feeds' second policies come into force; 0: never
}

// feed is an origin's log under a path of its own, and who reads it.
type feed struct {
	Policy config.PolicyConfig
	Later  config.PolicyConfig // after a reload
	Method string              // of its requests

	Protocol   protocol
	Revision   string // of MCP
	Foreground bool   // a response of the Responses API that ends with its connection

	Log     journal
	Visits  []visit // connections of its first client, one after the other
	Twin    []visit // those of a second one on the same line; empty: there is none
	Kept    bool    // its clients come back to the processor's log
	Session string  // session key of its clients; empty: none
	Logged  bool    // Envoy's access log comes to the processor
}

// journal is what an origin has to say.
type journal struct {
	Kind    idKind
	Entries []entry
	Ends    bool   // the response ends after the last entry; otherwise it stays open
	Marked  bool   // the last entry is one that the policy's complete_when knows
	Forgets bool   // events without an id are for those who are there, and not repeated
	Trailer string // with the end; empty: none
}

// entry is a piece of the log.
type entry struct {
	At   time.Duration // when it happens, since the run began
	ID   string        // empty: none
	Text string        // as it goes over the wire
	Idle bool          // no event: a comment or a blank line, for who is there
}

func (e entry) named() bool { return e.ID != "" }

// whole is as much of an entry as makes it one: a CR ends a line, whether an LF
// follows or not.
func (e entry) whole() string {
	if strings.HasSuffix(e.Text, "\r\n") {
		return strings.TrimSuffix(e.Text, "\n")
	}
	return e.Text
}

// idKind is what an origin's ids are like.
type idKind string

const (
	dense      idKind = "dense"      // 1, 2, 3
	sparse     idKind = "sparse"     // rising
	unordered  idKind = "unordered"  // each different
	constant   idKind = "constant"   // one for all
	restarting idKind = "restarting" // each response counts from 1
	topics     idKind = "topics"     // a few names again and again
	absent     idKind = "absent"
)

// trusty says whether ids of a kind can carry a resume.
func (k idKind) trusty() bool { return k == dense || k == sparse || k == unordered }

// visit is one connection of a client.
type visit struct {
	Pause    time.Duration // before it
	Forgets  bool          // it brings no Last-Event-ID, as a page that was reloaded
	Read     int           // bytes at a time; 0: as they come
	Every    time.Duration // between two reads
	StopAt   int           // after so many bytes the client stops reading
	StopFor  time.Duration // for so long; 0: it does not stop
	LeaveAt  int           // it leaves after so many bytes; 0: it stays
	LeaveIn  time.Duration // it leaves after so long; 0: it stays
	Attempts []plan        // what becomes of the requests to the origin; those after them go well
}

// plan is what becomes of one request to the origin.
type plan struct {
	Answer answer
	Delay  time.Duration // before the answer
	After  int           // seconds of Retry-After; 0: none
	Replay int           // log entries before the cursor that are sent again; -1: all
	Lapse  lapse
	Begin  string // sent first: a byte order mark, a comment, a retry field
	Cut    int    // bytes in a write; 0: all there is
	Every  time.Duration
	Bytes  int           // after so many bytes of the body it comes to its end
	Linger time.Duration // and so much later
	End    ending
}

// answer is how a request is answered.
type answer string

const (
	serves      answer = ""            // 200, an event stream
	busy        answer = "503"         //
	limited     answer = "429"         //
	failed      answer = "500"         //
	badGateway  answer = "502"         //
	gatewayTime answer = "504"         //
	unlicensed  answer = "401"         //
	missing     answer = "404"         //
	noMethod    answer = "405"         //
	conflict    answer = "409"         //
	gone        answer = "410"         //
	redirected  answer = "302"         //
	noContent   answer = "204"         // there is no more
	wrongType   answer = "json"        // 200, but no event stream
	encoded     answer = "gzip"        // an event stream that cannot be read
	resetEarly  answer = "reset"       // the request's stream is reset
	killed      answer = "kill"        // the connection goes, with all that is on it
	hangs       answer = "hang"        // there is no answer
	unreachable answer = "unreachable" // no connection can be made for a second
)

// passing says whether it may be different in a moment.
func (a answer) passing() bool {
	switch a {
	case busy, limited, failed, badGateway, gatewayTime, resetEarly, killed, hangs, unreachable:
		return true
	default:
		return false
	}
}

// over says whether it tells that there is nothing more to be had.
func (a answer) over() bool {
	switch a {
	case noContent, missing, noMethod, gone:
		return true
	default:
		return false
	}
}

// lapse is an untruth of an origin's continuation.
type lapse string

const (
	honest  lapse = ""
	skips   lapse = "skips"   // events after the cursor are left out
	another lapse = "another" // it has begun anew: other events under the same ids
)

// ending is how a response comes to its end before the log is over.
type ending string

const (
	natural ending = ""      // it does not
	reset   ending = "reset" // the stream is reset
	early   ending = "early" // a clean end
	dies    ending = "dies"  // the connection goes
	stalls  ending = "mute"  // it stays open, and nothing comes any more
	hums    ending = "hums"  // it stays open, and comments come
)

// storeFaults are what is wrong with the store.
type storeFaults struct {
	From, To int           // calls that go wrong, counted from 0
	Slow     time.Duration // how long they take
	Fail     bool          // and what comes of them
}

// drain is the end of the processor.
type drain struct {
	At, Deadline, Spread time.Duration // At 0: never
}

// crash is the sudden death of the processor, and how long it is until another one
// runs, with the same store.
type crash struct {
	At, Away time.Duration // At 0: never
}

// askable says whether the policy allows to ask again.
func (v *visiting) askable() bool {
	p := v.policy
	return v.repeats() && p.Resume != "none" && p.Mode != "observe" && p.Mode != "off" &&
		p.Backoff.Retries > 0 && p.HoldFor > 0
}

// resumable says whether everything about a feed allows a resume.
func (v *visiting) resumable() bool { return v.askable() && v.feed.Log.Kind.trusty() }

// String writes a schedule down, without what is as always.
func (s *schedule) String() string {
	var b strings.Builder
	for i := range s.Feeds {
		s.Feeds[i].write(&b, i)
	}
	for i, h := range s.Tries {
		fmt.Fprintf(&b, "try %d %s\n", i, changes(h, hostTry{}))
	}
	fmt.Fprintf(&b, "limits %s\nstore %+v\ndrain %+v\ncrash %+v\nreload %v\nrandom %d\n",
		changes(s.Limits, config.Default().Limits), s.Store, s.Drain, s.Crash, s.Reload, s.Random)
	return b.String()
}

func (f *feed) write(b *strings.Builder, i int) {
	fmt.Fprintf(b, "feed %d: %s %s, %s %s%s %s\n", i, f.Policy.Mode, f.Policy.Via, f.Method, f.Protocol, f.Revision, changes(f.Policy, config.Default().Policies[0]))
	fmt.Fprintf(b, "  after a reload: %s\n", changes(f.Later, f.Policy))
	fmt.Fprintf(b, "  session %q, access log %v\n", f.Session, f.Logged)
	fmt.Fprintf(b, "  log of %s ids, ends %v, forgets %v, trailer %q\n", f.Log.Kind, f.Log.Ends, f.Log.Forgets, f.Log.Trailer)
	for _, e := range f.Log.Entries {
		fmt.Fprintf(b, "    %v %.100q\n", e.At, e.Text)
	}
	for n, visits := range [][]visit{f.Visits, f.Twin} {
		for k, v := range visits {
			plans := v.Attempts
			v.Attempts = nil
			fmt.Fprintf(b, "  visit %d.%d.%d %s\n", i, n, k, changes(v, visit{}))
			for a, p := range plans {
				fmt.Fprintf(b, "    request %d %s\n", a, changes(p, plan{}))
			}
		}
	}
}

// changes lists the fields of v that differ from those of usual.
func changes[T any](v, usual T) string {
	var out []string
	a, b := reflect.ValueOf(v), reflect.ValueOf(usual)
	for i := range a.NumField() {
		if x, y := fmt.Sprintf("%+v", a.Field(i)), fmt.Sprintf("%+v", b.Field(i)); x != y {
			if a.Field(i).Kind() == reflect.String {
				x = fmt.Sprintf("%q", x)
			}
			out = append(out, a.Type().Field(i).Name+" "+x)
		}
	}
	return strings.Join(out, ", ")
}

func ms(t *rapid.T, most int, label string) time.Duration {
	return time.Duration(rapid.IntRange(0, most).Draw(t, label)) * time.Millisecond
}

// one draws true once in n times.
func one(t *rapid.T, n int, label string) bool {
	return rapid.IntRange(0, n-1).Draw(t, label) == n-1
}

func schedules() *rapid.Generator[*schedule] { return rapid.Custom(drawSchedule) }

func drawSchedule(t *rapid.T) *schedule {
	s := &schedule{Random: rapid.Uint64().Draw(t, "random"), Limits: config.Default().Limits}
	drawKnobs(t, &s.Limits)
	// rapid takes elements out of lists only where it has drawn the list.
	kept := one(t, 4, "kept")
	if kept {
		s.Limits.EventBytes = config.Default().Limits.EventBytes // what is larger is not sealed, and not kept
	}
	s.Feeds = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) feed {
		switch {
		case kept:
			return drawKept(t)
		case one(t, 4, "protocol"):
			return drawProtocol(t)
		}
		return drawFeed(t)
	}), 1, 3).Draw(t, "feeds")
	for i := range s.Feeds {
		s.Feeds[i].number(i)
	}
	if one(t, 5, "store faults") {
		s.Store = storeFaults{
			From: rapid.IntRange(0, 10).Draw(t, "first fault"),
			Slow: ms(t, 300, "slow"), Fail: rapid.Bool().Draw(t, "fail"),
		}
		s.Store.To = s.Store.From + rapid.IntRange(1, 20).Draw(t, "faults")
	}
	if one(t, 6, "drains") {
		s.Drain = drain{
			At:       time.Second + ms(t, 120_000, "drain at"),
			Deadline: ms(t, 30_000, "deadline"), Spread: ms(t, 10_000, "spread"),
		}
	}
	for i := range s.Feeds {
		s.Feeds[i].Later = s.Feeds[i].Policy
	}
	if one(t, 5, "crashes") && s.Drain.At == 0 {
		s.Crash = crash{At: time.Second + ms(t, 60_000, "crash at") + 313*time.Microsecond, Away: ms(t, 3000, "away")}
	}
	if one(t, 5, "reloads") {
		s.Reload = time.Second + ms(t, 60_000, "reload at") + 433*time.Microsecond
		for i := range s.Feeds {
			s.Feeds[i].drawLater(t)
		}
	}
	if s.Crash.At == 0 && one(t, 4, "tries") {
		s.Tries = rapid.SliceOfN(rapid.Custom(drawTry), 1, 6).Draw(t, "tries on hosts")
	}
	return s
}

// drawLater draws what a reload makes of the policy. What the log is like stays.
func (f *feed) drawLater(t *rapid.T) {
	later := drawPolicy(t)
	if f.Kept {
		kept := f.Policy
		kept.Heartbeat, kept.HoldFor = later.Heartbeat, later.HoldFor
		later = kept
	}
	later.Name, later.Match, later.CompleteWhen = f.Policy.Name, f.Policy.Match, f.Policy.CompleteWhen
	if f.Protocol != eventSource {
		later.Resume = f.Policy.Resume
	}
	f.Later = later
}

func drawFeed(t *rapid.T) feed {
	f := feed{Policy: drawPolicy(t), Method: http.MethodGet, Logged: !one(t, 4, "no access log")}
	if one(t, 12, "post") {
		f.Method = http.MethodPost
	}
	f.Log = drawJournal(t, &f.Policy, dense, dense, sparse, sparse, unordered, unordered, constant, restarting, topics, absent)
	if one(t, 3, "session") {
		f.Session = "s" + place
	}
	bad := one(t, 4, "bad origin")
	visits := rapid.Custom(func(t *rapid.T) visit { return drawVisit(t, bad) })
	f.Visits = rapid.SliceOfN(visits, 1, 3).Draw(t, "visits")
	if one(t, 8, "twin") {
		f.Twin = []visit{visits.Draw(t, "twin")}
	}
	return f
}

// place stands for a feed's number until that is known.
const place = "§"

// number makes a feed the i-th.
func (f *feed) number(i int) {
	n := strconv.Itoa(i)
	f.Policy.Name, f.Policy.Match.PathPrefix = "p"+n, "/"+n+"/"
	f.Session = strings.ReplaceAll(f.Session, place, n)
	for k := range f.Log.Entries {
		f.Log.Entries[k].Text = strings.ReplaceAll(f.Log.Entries[k].Text, place, n)
	}
}

func drawPolicy(t *rapid.T) config.PolicyConfig {
	p := config.Default().Policies[0]
	how := rapid.SampledFrom([]string{
		"hold relay", "hold relay", "hold relay", "hold relay", "hold immediate", "hold immediate", "inline auto", "inline auto", "observe auto",
	}).Draw(t, "mode")
	p.Mode, p.Via, _ = strings.Cut(how, " ")
	drawKnobs(t, &p)
	if one(t, 3, "peeks") {
		p.RetryWhen = []config.CompletionConfig{{Event: new("error")}}
	}
	if one(t, 4, "marker") {
		p.CompleteWhen = []config.CompletionConfig{{Data: new(marker)}}
	}
	return p
}

// marker is the data of the last event of a log that says where it ends.
const marker = "[DONE]"

// piece is what an entry is made of.
type piece struct {
	pause           time.Duration
	eol, data       string
	more            int // bytes of data
	idle            string
	nameless, typed bool
	shape, step     int
	topic           string
}

func drawPiece(t *rapid.T) (p piece) {
	if one(t, 2, "pause") {
		p.pause = ms(t, rapid.SampledFrom([]int{100, 3000, 20_000, 90_000}).Draw(t, "pause of"), "by")
	}
	p.eol = rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\r"}).Draw(t, "eol")
	p.data = rapid.SampledFrom([]string{"a", "b", "ping"}).Draw(t, "data")
	if one(t, 4, "is large") {
		p.more = rapid.SampledFrom([]int{100, 1100, 5000}).Draw(t, "by")
	}
	if one(t, 4, "is idle") {
		p.idle = rapid.SampledFrom([]string{": hello" + p.eol, ":" + p.eol, p.eol, ": x" + p.eol + p.eol}).Draw(t, "idle")
	}
	p.nameless, p.typed = one(t, 3, "is nameless"), one(t, 4, "is typed")
	p.shape, p.step = rapid.IntRange(0, 9).Draw(t, "shape"), rapid.IntRange(1, 50).Draw(t, "step")
	p.topic = rapid.SampledFrom([]string{"news", "sport", "weather"}).Draw(t, "topic")
	return p
}

func drawJournal(t *rapid.T, p *config.PolicyConfig, kinds ...idKind) journal {
	j := journal{
		Kind: rapid.SampledFrom(kinds).Draw(t, "ids"),
		Ends: !one(t, 4, "stays open"),
	}
	nameless, idle, large := one(t, 2, "nameless"), one(t, 2, "idle pieces"), one(t, 5, "large")
	j.Forgets = nameless && one(t, 3, "forgets")
	at := time.Duration(0)
	next := rapid.IntRange(1, 12).Draw(t, "first id")
	for i, p := range rapid.SliceOfN(rapid.Custom(drawPiece), 0, 16).Draw(t, "log") {
		at += p.pause
		// Contents come from a small alphabet, so that events without an id repeat
		// each other; but not those of another feed.
		data := place + " " + p.data
		if large {
			data += strings.Repeat("x", p.more)
		}
		e := entry{At: at}
		switch {
		case idle && p.idle != "":
			e.Idle, e.Text = true, p.idle
		case j.Kind == absent, nameless && p.nameless:
			e.Text = "data: " + data + p.eol + p.eol
			if p.typed {
				e.Text = "event: note" + p.eol + e.Text
			}
		default:
			e.ID = p.id(j.Kind, i, &next)
			e.Text = p.named(e.ID, data)
		}
		j.Entries = append(j.Entries, e)
	}
	if len(p.CompleteWhen) > 0 {
		j.Marked = true
		last := piece{step: 1, topic: "news"}
		e := entry{At: at, ID: last.id(j.Kind, len(j.Entries), &next), Text: "data: " + marker + "\n\n"}
		if e.ID != "" {
			e.Text = "id: " + e.ID + "\n" + e.Text
		}
		j.Entries = append(j.Entries, e)
	}
	if one(t, 6, "trailer") {
		j.Trailer = "x-sum"
	}
	return j
}

// named is an event with an id, in one of its shapes.
func (p *piece) named(id, data string) string {
	eol := p.eol
	switch p.shape {
	case 7:
		return "id: " + id + eol + eol // gives a cursor, and no event
	case 8:
		return "event: note" + eol + "data: " + data + eol + "data:" + eol + "id:" + id + eol + eol
	case 9:
		return "foo: bar" + eol + ": in between" + eol + "id: " + id + eol + "data: \xff\x00" + data + eol + eol
	}
	return "id: " + id + eol + "data: " + data + eol + eol
}

// id is the id of the i-th entry.
func (p *piece) id(kind idKind, i int, next *int) string {
	id := strconv.Itoa(*next)
	switch kind {
	case dense:
		*next++
	case sparse:
		*next += p.step
	case unordered:
		return fmt.Sprintf("%x-%c", uint32(i+1)*2654435761, 'a'+i%26)
	case constant:
		return "session-1"
	case restarting:
		return strconv.Itoa(i + 1)
	case topics:
		return p.topic
	case absent:
		return ""
	}
	return id
}

func drawVisit(t *rapid.T, bad bool) visit {
	v := visit{Pause: time.Millisecond + ms(t, 5000, "pause"), Forgets: one(t, 5, "reload")}
	switch rapid.IntRange(0, 9).Draw(t, "reads") {
	case 7:
		v.Read, v.Every = rapid.IntRange(1, 100).Draw(t, "bytes"), 50*time.Millisecond+ms(t, 2000, "every")+11*time.Microsecond
	case 8, 9:
		v.StopAt = rapid.IntRange(0, 400).Draw(t, "stops at")
		v.StopFor = ms(t, 240_000, "stops for") + 239*time.Microsecond
	}
	switch rapid.IntRange(0, 9).Draw(t, "leaves") {
	case 8:
		v.LeaveAt = rapid.IntRange(1, 400).Draw(t, "leaves at")
	case 9:
		v.LeaveIn = ms(t, 120_000, "leaves in") + 517*time.Microsecond // never in the instant of anything else
	}
	v.Attempts = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) plan { return drawPlan(t, bad) }), 0, 6).Draw(t, "attempts")
	if len(v.Attempts) > 0 && one(t, 2, "begins well") {
		v.Attempts[0].Answer = serves
	}
	return v
}

func drawPlan(t *rapid.T, bad bool) plan {
	p := plan{
		Delay: ms(t, rapid.SampledFrom([]int{0, 0, 0, 500, 5000}).Draw(t, "delay up to"), "delay"),
		Begin: rapid.SampledFrom([]string{"", "", "", "\ufeff", ": hello\n\n", "retry: 10\n\n"}).Draw(t, "begin"),
		Cut:   rapid.SampledFrom([]int{0, 0, 1, 3, 17, 64}).Draw(t, "cut"),
		End:   rapid.SampledFrom([]ending{natural, reset, reset, early, early, dies, stalls, hums}).Draw(t, "end"),
	}
	if p.Cut > 3 && one(t, 3, "trickles") {
		p.Every = ms(t, 300, "trickle")
	}
	if p.End != natural {
		p.Bytes = rapid.IntRange(0, 600).Draw(t, "bytes")
		p.Linger = ms(t, rapid.SampledFrom([]int{0, 0, 100, 60_000}).Draw(t, "linger up to"), "linger") + 91*time.Microsecond
	}
	switch rapid.IntRange(0, 3).Draw(t, "exactness") {
	case 2:
		p.Replay = rapid.IntRange(1, 8).Draw(t, "over-replay")
	case 3:
		p.Replay = -1
	}
	if one(t, 4, "refuses") {
		p.Answer = rapid.SampledFrom([]answer{
			busy, limited, failed, badGateway, gatewayTime, resetEarly, killed, hangs, unreachable,
		}).Draw(t, "answer")
		if one(t, 2, "wishes") {
			p.After = rapid.IntRange(1, 20).Draw(t, "retry after")
		}
	}
	if bad && one(t, 4, "is bad") {
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0, 1:
			p.Answer = rapid.SampledFrom([]answer{
				unlicensed, missing, noMethod, conflict, gone, redirected, noContent, wrongType, encoded,
			}).Draw(t, "answer")
		case 2:
			p.Lapse = skips
		case 3:
			p.Lapse = another
		}
	}
	return p
}
