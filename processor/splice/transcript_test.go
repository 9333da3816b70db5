package splice

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts plays testdata/*.txt, one incident each. After a change of
// behaviour, run with -rewrite and read the diff.
//
//	stream [cursor=ID] [post] [forget] [hold] [fetch] [retry-binds]
//	       [observe] [dedup=always|off] [window=N] [limit=N] [heartbeat=D] [hold-for=D]
//	       [done-data=S] [done-event=S] [done-json=PATH=VALUE]
//	    begins a stream. It continues the line of the stream before it, unless
//	    forget is given; the policy (the words of the last lines) stays until
//	    policy words are given. hold owns the response, which fetch does not.
//	opened, chunk, end, reset, refused, unresumable [attempt=N]
//	gone, drain in=D, wait D
//	    one Step each. A chunk is given as Go string literals, one per line, that
//	    are joined; last says that a clean end follows it. wait lets time pass and Ticks.
//	state, held
//	    show what is kept, and what is held back.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "rapid") {
			return // where rapid leaves its failures
		}
		s := &script{now: epoch0()}
		datadriven.RunTest(t, path, s.command)
	})
}

type script struct {
	now     time.Time
	policy  Policy
	m       *Machine
	streams uint64
}

func (s *script) command(t *testing.T, td *datadriven.TestData) string {
	switch td.Cmd {
	case "stream":
		return s.stream(t, td)
	case "chunk":
		var b []byte
		for line := range strings.Lines(td.Input) {
			text, err := strconv.Unquote(strings.TrimSpace(line))
			if err != nil {
				td.Fatalf(t, "chunk is not made of Go string literals: %s", line)
			}
			b = append(b, text...)
		}
		return s.step(Chunk{Attempt: s.attempt(td), Bytes: b, Last: td.HasArg("last")})
	case "end":
		return s.step(Ended{Attempt: s.attempt(td), Cause: CleanEnd})
	case "reset":
		return s.step(Ended{Attempt: s.attempt(td), Cause: Reset})
	case "refused":
		return s.step(Ended{Attempt: s.attempt(td), Cause: Refused})
	case "unresumable":
		return s.step(Ended{Attempt: s.attempt(td), Cause: Unresumable})
	case "opened":
		return s.step(opened(t, td, s.attempt(td)))
	case "gone":
		return s.step(Gone{})
	case "drain":
		return s.step(Drain{By: s.now.Add(duration(t, td, "in"))})
	case "wait":
		d, err := time.ParseDuration(td.CmdArgs[0].Key)
		if err != nil {
			td.Fatalf(t, "%v", err)
		}
		s.now = s.now.Add(d)
		return s.step(Tick{})
	case "state":
		st := s.m.State()
		return fmt.Sprintf("phase %v\nacked %q\nlast sent %q\nwindow %d\nepoch %d\ntrust %v\nevents %d\nduplicates %d\n",
			s.m.Phase(), st.Acked, st.LastSent, len(st.Window), st.Epoch, st.Trust, st.Events, st.Duplicates)
	case "held":
		return fmt.Sprintf("%q\n", s.m.Held())
	default:
		td.Fatalf(t, "unknown command %q", td.Cmd)
		return ""
	}
}

// opened is the answer of a server, judged as the plainest of strategies would.
func opened(t *testing.T, td *datadriven.TestData, a Attempt) Opened {
	in := Opened{Attempt: a, Status: 200, EventType: !td.HasArg("other-type")}
	td.MaybeScanArgs(t, "status", &in.Status)
	switch {
	case td.HasArg("gap"):
		in.Verdict = Lost
	case in.Status == 204:
		in.Verdict = Stop
	case in.Status == 429, in.Status == 503:
		in.Verdict = Wait
	case in.Status >= 500:
		in.Verdict = Retry
	case in.Status >= 300:
		in.Verdict = Never
	}
	if td.HasArg("after") {
		in.RetryAfter = duration(t, td, "after")
	}
	return in
}

func (s *script) attempt(td *datadriven.TestData) Attempt {
	for _, a := range td.CmdArgs {
		if a.Key == "attempt" {
			n, _ := strconv.Atoi(a.Vals[0])
			return Attempt(n)
		}
	}
	return 0
}

func duration(t *testing.T, td *datadriven.TestData, key string) time.Duration {
	var v string
	td.ScanArgs(t, key, &v)
	d, err := time.ParseDuration(v)
	if err != nil {
		td.Fatalf(t, "%v", err)
	}
	return d
}

func (s *script) stream(t *testing.T, td *datadriven.TestData) string {
	s.streams++
	start := Start{Seed: s.streams, Repeatable: true}
	if s.m != nil {
		start.Earlier = s.m.State()
	}
	policyGiven := false
	set := func() *Policy {
		if !policyGiven {
			policyGiven, s.policy = true, Policy{}
		}
		return &s.policy
	}
	for _, a := range td.CmdArgs {
		v := strings.Join(a.Vals, ",")
		number := func() int {
			n, err := strconv.Atoi(v)
			if err != nil {
				td.Fatalf(t, "%s: %v", a.Key, err)
			}
			return n
		}
		switch a.Key {
		case "cursor":
			start.HasCursor, start.LastEventID = true, v
		case "post":
			start.Repeatable = false
		case "forget":
			start.Earlier = State{}
		case "hold":
			start.Owned, start.Dialable = true, true
		case "fetch":
			start.Dialable = true
		case "retry-binds":
			start.RetryBinds = true
		case "observe":
			set().Observe = true
		case "dedup":
			set().Dedup = map[string]Dedup{"overlap": DedupOverlap, "always": DedupAlways, "off": DedupOff}[v]
		case "window":
			set().Window = number()
		case "limit":
			set().EventBytes = number()
		case "heartbeat":
			set().Heartbeat = duration(t, td, "heartbeat")
		case "hold-for":
			set().HoldFor = duration(t, td, "hold-for")
		case "done-data":
			set().Complete = append(s.policy.Complete, Completion{Data: &v})
		case "done-event":
			set().Complete = append(s.policy.Complete, Completion{Event: &v})
		case "done-json":
			path, value, _ := strings.Cut(v, "=")
			set().Complete = append(s.policy.Complete, Completion{JSON: map[string]any{path: value}})
		default:
			td.Fatalf(t, "unknown argument %q", a.Key)
		}
	}
	if err := s.policy.Validate(); err != nil {
		td.Fatalf(t, "%v", err)
	}
	s.m = New(s.now, &s.policy, start)
	return "ok\n"
}

// step shows a Ready, in the order in which it is carried out.
func (s *script) step(in Input) string {
	rd := s.m.Step(s.now, in)
	var b strings.Builder
	if len(rd.ToClient) > 0 {
		for _, line := range strings.SplitAfter(strconv.Quote(string(rd.ToClient)), `\n\n`) {
			line = `"` + strings.Trim(line, `"`) + `"`
			if line != `""` {
				fmt.Fprintf(&b, "client %s\n", line)
			}
		}
	}
	if rd.Save {
		b.WriteString("save\n")
	}
	for _, c := range rd.Commands {
		switch c := c.(type) {
		case Dial:
			fmt.Fprintf(&b, "dial %d after %q", c.Attempt, c.Cursor)
		case Cancel:
			fmt.Fprintf(&b, "cancel %d", c.Attempt)
		case Close:
			fmt.Fprintf(&b, "close %v", c.Outcome)
			if c.Abort {
				b.WriteString(", aborted")
			}
		}
		b.WriteString("\n")
	}
	for _, n := range rd.Notes {
		b.WriteString(strings.TrimSpace("note " + n.Kind.String() + " " + n.Text))
		b.WriteString("\n")
	}
	if !rd.Deadline.IsZero() {
		fmt.Fprintf(&b, "wake in %v\n", rd.Deadline.Sub(s.now))
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}
