package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// result is everything there is to compare at the end.
type result struct {
	events                  int // that there are
	direct, through         tally
	sentDirect, sentThrough originStats
	session                 session
}

// originStats are the origin's own count of what it sent to a client.
type originStats struct {
	Connections, Events, Repeats int
}

// session is what Holdfast's admin API says of the client's session.
type session struct {
	url     string
	Key     string
	Session string // where the session key came from
	Streams []struct {
		LastSent   string `json:"last_sent"`
		Duplicates int
		Trust      string
	}
}

// newest is the newest stream, whose counts include those it continues.
func (s *session) newest() (lastSent string, duplicates int, trust string) {
	if len(s.Streams) == 0 {
		return "", 0, ""
	}
	st := s.Streams[0]
	return st.LastSent, st.Duplicates, st.Trust
}

// verdict is nil if everything is as it should be; otherwise it says what is not.
func (r *result) verdict() error {
	var wrong []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	// That the direct client saw repeats proves that there was something to drop,
	// and that this comparison can fail.
	d, t := r.direct, r.through
	expect(d.events == r.events && d.lost == 0, "the direct client saw %d of %d events", d.events, r.events)
	expect(d.repeats > 0, "the direct client saw no repeats: the origin did not misbehave")
	expect(d.repeats == r.sentDirect.Repeats, "the direct client saw %d repeats, the origin sent it %d", d.repeats, r.sentDirect.Repeats)

	expect(t.events == r.events && t.lost == 0, "through Holdfast %d of %d events arrived", t.events, r.events)
	expect(t.repeats == 0, "through Holdfast %d repeats arrived", t.repeats)
	expect(!t.disorder, "through Holdfast events arrived out of order")
	expect(r.sentThrough.Repeats > 0, "the origin sent Holdfast no repeats")

	last, dropped, _ := r.session.newest()
	expect(last == strconv.Itoa(r.events), "Holdfast's session has %q as last event id, want %d", last, r.events)
	expect(dropped == r.sentThrough.Repeats, "Holdfast's session counts %d duplicates dropped, the origin sent %d", dropped, r.sentThrough.Repeats)
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("the figures are wrong:\n  " + strings.Join(wrong, "\n  "))
}

// sent asks the origin what it sent to a client.
func sent(ctx context.Context, origin, client string) (st originStats, err error) {
	err = getJSON(ctx, origin+"/stats?client="+url.QueryEscape(client), &st)
	return st, err
}

// lookUp finds the only session of a Holdfast that had one client.
func lookUp(ctx context.Context, admin string) (s session, err error) {
	base := admin + "/api/v1/sessions"
	var list struct{ Sessions []session }
	if err := getJSON(ctx, base, &list); err != nil {
		return s, err
	}
	if len(list.Sessions) != 1 {
		return s, fmt.Errorf("%s shows %d sessions, want the client's alone", base, len(list.Sessions))
	}
	at := base + "/" + list.Sessions[0].Key
	if err := getJSON(ctx, at, &s); err != nil {
		return s, err
	}
	s.url = at
	return s, nil
}

func getJSON(ctx context.Context, at string, v any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody) //nolint:gosec // G704: the URL is of a program the demo started
	if err != nil {
		return err
	}
	r.Close = true                        // asked once: no idle connection to leave behind
	resp, err := http.DefaultClient.Do(r) //nolint:gosec // G704: as above
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", at, resp.Status, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}
