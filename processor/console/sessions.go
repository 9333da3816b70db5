package console

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"holdfast/sessionstore"
)

// storeTimeout is how long the store may take to answer an operator.
const storeTimeout = 5 * time.Second

// sessionsPage is the answer of GET /api/v1/sessions.
type sessionsPage struct {
	Sessions []sessionView `json:"sessions"` // in the order of their keys
	Total    int           `json:"total"`
	Next     string        `json:"next"` // for ?after=; "": this is the end
}

// sessionView is a session as an operator sees it.
type sessionView struct {
	Key       string       `json:"key"` // 32 hex digits: a hash
	Policy    string       `json:"policy"`
	Principal string       `json:"principal"` // shortened hash; "": the client sent no credential
	Session   string       `json:"session"`   // where the key came from, and its shortened value
	Created   time.Time    `json:"created"`
	Used      time.Time    `json:"used"`
	Live      int          `json:"live"`              // streams that run now
	Kept      int          `json:"kept"`              // streams that are remembered, those that run included
	Streams   []streamView `json:"streams,omitempty"` // newest first; only of a single session
}

// The views are written out, field by field, rather than letting the store's
// types be marshalled: a field added there must not become public by itself.

// streamView is one remembered stream of a session.
type streamView struct {
	Number     uint64    `json:"number"`
	Line       string    `json:"line"` // 32 hex digits: a hash of method, host and path
	Live       bool      `json:"live"`
	Saved      time.Time `json:"saved,omitzero"`
	Acked      string    `json:"acked"`     // the client's Last-Event-ID, shortened
	LastSent   string    `json:"last_sent"` // shortened
	Tracked    int       `json:"tracked"`   // events that a repeat would be recognised of
	Epoch      uint32    `json:"epoch"`
	Trust      string    `json:"trust"`
	Events     uint64    `json:"events"`
	Duplicates uint64    `json:"duplicates"`
}

func (c *console) sessions(w http.ResponseWriter, r *http.Request) {
	q, ok := parameters(w, r, "limit", "after")
	if !ok {
		return
	}
	limit, ok := limitOf(w, q, defaultLimit, maxLimit)
	if !ok {
		return
	}
	var after sessionstore.SessionID
	if text := q.Get("after"); text != "" {
		if after, ok = parseKey(text); !ok {
			fail(w, http.StatusBadRequest, "after is %q: write the 32 hex digits that next said", shorten(text))
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	// One more than asked for tells whether there is a next page.
	found, err := c.Sessions.Sessions(ctx, after, limit+1)
	if err != nil {
		c.storeFailed(w, err)
		return
	}
	page := sessionsPage{Sessions: []sessionView{}, Total: c.Sessions.Len()}
	for i := range found {
		if i == limit {
			page.Next = page.Sessions[limit-1].Key
			break
		}
		page.Sessions = append(page.Sessions, viewSession(&found[i]))
	}
	answer(w, http.StatusOK, page)
}

func (c *console) session(w http.ResponseWriter, r *http.Request) {
	id, ok := keyOf(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	s, err := c.Sessions.Session(ctx, id)
	if err != nil {
		c.storeFailed(w, err)
		return
	}
	view := viewSession(&s)
	for i := range s.Streams {
		view.Streams = append(view.Streams, c.viewStream(&s.Streams[i]))
	}
	answer(w, http.StatusOK, view)
}

// dropSession is the one thing here that changes anything, so it is logged. The
// session's live streams go on; only their state is no longer kept.
func (c *console) dropSession(w http.ResponseWriter, r *http.Request) {
	id, ok := keyOf(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
	defer cancel()
	if err := c.Sessions.Drop(ctx, id); err != nil {
		c.storeFailed(w, err)
		return
	}
	c.Log.Info("session dropped by an operator", zap.String("session", hex.EncodeToString(id[:])), zap.String("from", r.RemoteAddr))
	w.WriteHeader(http.StatusNoContent)
}

// storeFailed answers for the store. What failed inside it may name its address,
// so it goes to the log and not to the client.
func (c *console) storeFailed(w http.ResponseWriter, err error) {
	if errors.Is(err, sessionstore.ErrNotFound) {
		fail(w, http.StatusNotFound, "no such session: it may have expired; /api/v1/sessions lists those there are")
		return
	}
	c.Log.Warn("the session store failed the admin API", zap.Error(err))
	fail(w, http.StatusServiceUnavailable, "the session store does not answer; the log has the details")
}

// keyOf reads the session's key from the path.
func keyOf(w http.ResponseWriter, r *http.Request) (sessionstore.SessionID, bool) {
	if !noParameters(w, r) {
		return sessionstore.SessionID{}, false
	}
	text := r.PathValue("key")
	id, ok := parseKey(text)
	if !ok {
		fail(w, http.StatusBadRequest, "%q is not a session's key: it has 32 hex digits, as /api/v1/sessions shows it", shorten(text))
	}
	return id, ok
}

func parseKey(text string) (id sessionstore.SessionID, ok bool) {
	if len(text) != hex.EncodedLen(len(id)) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(text))
	return id, err == nil
}

func viewSession(s *sessionstore.Session) sessionView {
	return sessionView{
		Key:       hex.EncodeToString(s.ID[:]),
		Policy:    s.Info.Policy,
		Principal: s.Info.Principal,
		Session:   s.Info.Session,
		Created:   s.Created,
		Used:      s.Used,
		Live:      s.Live,
		Kept:      len(s.Streams),
	}
}

func (c *console) viewStream(s *sessionstore.Stream) streamView {
	return streamView{
		Number:     s.Lease.Number,
		Line:       hex.EncodeToString(s.Lease.Line[:]),
		Live:       s.Live,
		Saved:      s.Saved,
		Acked:      shortenID(s.State.Acked),
		LastSent:   shortenID(s.State.LastSent),
		Tracked:    s.Tracked,
		Epoch:      s.State.Epoch,
		Trust:      c.Trust(s.State.Trust),
		Events:     s.State.Events,
		Duplicates: s.State.Duplicates,
	}
}

// shortenID shows enough of an event ID to recognise it in a trace, and of a
// long one, which may carry a secret of its origin, too little to use it.
func shortenID(id string) string {
	const whole, head = 16, 8
	if utf8.RuneCountInString(id) <= whole {
		return id
	}
	return string([]rune(id)[:head]) + "…"
}

func trustNumber(verdict uint8) string { return strconv.Itoa(int(verdict)) }
