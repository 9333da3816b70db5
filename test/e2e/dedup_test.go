package e2e

import (
	"fmt"
	"testing"

	"holdfast/test/harness"
)

// conversation is a client and its origin at one path, connection by connection.
type conversation struct {
	t      *testing.T
	gw     *harness.Gateway
	origin *harness.Origin
	path   string
	header []string
}

// connect opens the next connection; cursor is the client's Last-Event-ID,
// "" for none.
func (c conversation) connect(cursor string) (*harness.Exchange, *harness.Stream) {
	c.t.Helper()
	header := c.header
	if cursor != "" {
		header = append([]string{"last-event-id", cursor}, header...)
	}
	s := c.gw.Get(c.t, c.path, header...)
	x := c.origin.Accept(c.t, c.path)
	x.Stream()
	return x, s
}

// turn is one connection in which the origin sends some bytes and ends.
func (c conversation) turn(cursor, sends, clientGets string) {
	c.t.Helper()
	x, s := c.connect(cursor)
	x.Send(sends)
	x.Finish(s)
	s.WantBody(c.t, clientGets)
}

const dedupConfig = `
policies:
- {name: always, match: {path_prefix: /always/}, dedup: always}
- {name: "off", match: {path_prefix: /off/}, dedup: "off"}
- {name: small, match: {path_prefix: /small/}, replay: {events: 3}}
- {name: inline, match: {path_prefix: /inline/}, mode: inline}
- {name: overlap}
`

func TestOverlapIsRemoved(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, dedupConfig)
	begin := func(t *testing.T, prefix string, header ...string) conversation {
		t.Parallel()
		if header == nil {
			header = []string{"mcp-session-id", t.Name()}
		}
		return conversation{t: t, gw: gw, origin: origin, path: origin.Path(prefix), header: header}
	}

	t.Run("exactly the repeats are dropped", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		c.turn("3", events(1, 5), events(4, 5))
		c.turn("5", events(4, 7), events(6, 7))
	})
	t.Run("an origin that resumes exactly loses nothing", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		c.turn("3", events(4, 5), events(4, 5))
	})
	t.Run("without Last-Event-ID nothing is dropped", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		c.turn("", events(1, 5), events(1, 5))
	})
	t.Run("an older cursor overrules what we delivered", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 5), events(1, 5))
		c.turn("2", events(3, 6), events(3, 6))
	})
	t.Run("an older cursor and an origin that replays more", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 5), events(1, 5))
		c.turn("2", events(1, 6), events(3, 6))
	})
	t.Run("nothing is dropped after the first new event", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		c.turn("3", events(2, 4)+events(2, 3)+events(5, 5), events(4, 4)+events(2, 3)+events(5, 5))
	})
	t.Run("a cut in the middle of an event", func(t *testing.T) {
		c := begin(t, "/inline")
		x, s := c.connect("")
		x.Send(events(1, 2) + "id: 3\ndata: eve")
		s.Want(t, events(1, 2))
		x.Abort()
		s.WantAbort(t)
		c.turn("2", events(1, 4), events(3, 4))
	})
	t.Run("a client that leaves and is back at once", func(t *testing.T) {
		c := begin(t, "")
		cursor := ""
		for n := range 20 {
			x, s := c.connect(cursor)
			x.Send(events(1, n+1))
			s.Want(t, events(n+1, n+1))
			s.Close() // and the next connection comes before anybody noticed
			cursor = fmt.Sprint(n + 1)
		}
	})
	t.Run("constant ids are new events", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", event("s", "a")+event("s", "b"), event("s", "a")+event("s", "b"))
		c.turn("s", event("s", "c")+event("s", "d"), event("s", "c")+event("s", "d"))
	})
	t.Run("restarting ids are new events", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", event("1", "a")+event("2", "b"), event("1", "a")+event("2", "b"))
		c.turn("2", event("1", "c")+event("2", "d"), event("1", "c")+event("2", "d"))
	})
	t.Run("a cursor we never saw", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		c.turn("77", events(1, 4), events(1, 4))
	})
	t.Run("a cursor that fell out of the window", func(t *testing.T) {
		c := begin(t, "/small")
		c.turn("", events(1, 10), events(1, 10))
		c.turn("2", events(1, 10), events(1, 10))
	})
	t.Run("comments of the overlap", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 2), events(1, 2))
		c.turn("2", ": hello\n\n"+events(1, 2)+": new\n\n"+events(3, 3), ": hello\n\n: new\n\n"+events(3, 3))
	})
	t.Run("another path is another line", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		other := c
		other.path = origin.Path("")
		other.turn("3", events(1, 4), events(1, 4))
	})
	t.Run("another query is another line", func(t *testing.T) {
		c := begin(t, "")
		c.turn("", events(1, 3), events(1, 3))
		other := c
		other.path += "?topic=2"
		other.turn("3", events(1, 4), events(1, 4))
	})
	t.Run("two principals do not share", func(t *testing.T) {
		alice := begin(t, "", "authorization", "Bearer alice", "mcp-session-id", "shared")
		bob := alice
		bob.header = []string{"authorization", "Bearer bob", "mcp-session-id", "shared"}
		alice.turn("", events(1, 3), events(1, 3))
		bob.turn("3", events(1, 4), events(1, 4))
		alice.turn("3", events(1, 4), events(4, 4))
	})
	t.Run("two sessions do not share", func(t *testing.T) {
		one := begin(t, "", "mcp-session-id", "one")
		two := one
		two.header = []string{"mcp-session-id", "two"}
		one.turn("", events(1, 3), events(1, 3))
		two.turn("3", events(1, 4), events(1, 4))
	})
	t.Run("a session by cookie", func(t *testing.T) {
		one := begin(t, "", "cookie", "a=b; session=one")
		other := one
		other.header = []string{"cookie", "session=other; a=b"}
		one.turn("", events(1, 3), events(1, 3))
		other.turn("3", events(1, 4), events(1, 4))
		one.turn("3", events(1, 4), events(4, 4))
	})
	t.Run("a session by query", func(t *testing.T) {
		one := begin(t, "", "x-none", "")
		path := one.path
		one.path = path + "?session=one"
		one.turn("", events(1, 3), events(1, 3))
		one.turn("3", events(1, 4), events(4, 4))
		one.path = path + "?session=other"
		one.turn("3", events(1, 4), events(1, 4))
	})
	t.Run("a client without any session key", func(t *testing.T) {
		c := begin(t, "", "x-none", "")
		c.turn("", events(1, 3), events(1, 3))
		c.turn("3", events(1, 4), events(4, 4))
	})
	t.Run("two streams of one session", func(t *testing.T) {
		c := begin(t, "")
		// Two tabs on one stream of events, of which one is behind.
		x1, s1 := c.connect("")
		x2, s2 := c.connect("")
		x1.Send(events(1, 5))
		s1.Want(t, events(1, 5))
		x2.Send(events(1, 2))
		s2.Want(t, events(1, 2))
		x1.Finish(s1)
		x2.Finish(s2)
		s1.WantEnd(t)
		s2.WantEnd(t)
		c.turn("2", events(1, 6), events(3, 6))
		c.turn("5", events(1, 6), events(6, 6))
	})
	t.Run("always drops every repeat of an id", func(t *testing.T) {
		c := begin(t, "/always")
		c.turn("", events(1, 3)+event("2", "other")+events(4, 4)+event("", "no id")+event("", "no id"),
			events(1, 4)+event("", "no id")+event("", "no id"))
	})
	t.Run("off drops nothing", func(t *testing.T) {
		c := begin(t, "/off")
		c.turn("", events(1, 3)+events(1, 3), events(1, 3)+events(1, 3))
		c.turn("3", events(1, 4), events(1, 4))
	})
}

func TestDroppedEventsAreCounted(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	c := conversation{t: t, gw: gw, origin: origin, path: origin.Path(""), header: []string{"mcp-session-id", "m"}}
	c.turn("", events(1, 3), events(1, 3))
	c.turn("3", events(1, 5), events(4, 5))
	gw.WantMetric(t, 3, "holdfast_duplicates_dropped_total", "policy=default")
	gw.WantMetric(t, 8, "holdfast_events_total", "policy=default")
	gw.WantMetric(t, 2, "holdfast_streams_total", "policy=default", "mode=hold", "outcome=complete")
}

// TestStoredCursorIsNeverInjected: a client that comes back without
// Last-Event-ID means "from the start", and some servers answer 400 to a header
// they did not expect. (Ours is in the question whether that was all.)
func TestStoredCursorIsNeverInjected(t *testing.T) {
	t.Parallel()
	origin := harness.NewOrigin(t)
	gw := harness.Run(t, origin.URL, "")
	c := conversation{t: t, gw: gw, origin: origin, path: origin.Path(""), header: []string{"mcp-session-id", "m"}}
	var got []string
	for i, cursor := range []string{"", "3", "", "tÿ=?", ""} {
		before := len(origin.Requests(c.path))
		c.turn(cursor, events(10*i+1, 10*i+3), events(10*i+1, 10*i+3))
		got = append(got, fmt.Sprintf("%q", origin.Requests(c.path)[before].Header.Values("last-event-id")))
	}
	if want := `[[] ["3"] [] ["tÿ=?"] []]`; fmt.Sprint(got) != want {
		t.Errorf("the origin saw Last-Event-ID %v, want %s", got, want)
	}
}
