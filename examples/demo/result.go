package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// result is everything there is to compare at the end.
type result struct {
	kills         int
	events        int // that both clients were to read
	plain, behind tally
	stream        stream
}

// stream is what Holdfast's admin API says of the client's stream.
type stream struct {
	Mode       string `json:"mode"`
	Resumes    int    `json:"resumes"`
	Duplicates int    `json:"duplicates"`
}

// verdict is nil if everything is as it should be; otherwise it says what is not.
func (r *result) verdict() error {
	var wrong []string
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	h := r.behind
	expect(h.connections == 1, "through Holdfast the client connected %d times", h.connections)
	expect(h.errors == 0, "through Holdfast the client saw %d errors", h.errors)
	expect(h.events == r.events && h.lost() == 0, "through Holdfast %d of %d events arrived", h.events, r.events)
	expect(h.repeated == 0, "through Holdfast %d events arrived again", h.repeated)
	expect(!h.disorder, "through Holdfast events arrived out of order")

	// What the other client saw proves that there was something to survive, and that
	// this comparison can fail.
	p := r.plain
	expect(p.errors >= r.kills, "the upstream was killed %d times, but through plain Envoy the client saw %d errors", r.kills, p.errors)
	expect(p.events == r.events, "through plain Envoy %d of %d events arrived, even after reconnects", p.events, r.events)
	expect(r.stream.Resumes >= r.kills, "Holdfast says that it resumed the stream %d times, want %d", r.stream.Resumes, r.kills)
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("the figures are wrong:\n  " + strings.Join(wrong, "\n  "))
}

// lookUp finds the only stream of a Holdfast that has one client.
func lookUp(ctx context.Context, admin string) (stream, error) {
	at := admin + "/api/v1/streams"
	text, err := fetch(ctx, http.DefaultClient, at)
	if err != nil {
		return stream{}, err
	}
	var list struct {
		Streams []stream `json:"streams"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return stream{}, fmt.Errorf("%s: %w", at, err)
	}
	if len(list.Streams) != 1 {
		return stream{}, fmt.Errorf("%s shows %d streams, want the client's alone", at, len(list.Streams))
	}
	return list.Streams[0], nil
}
