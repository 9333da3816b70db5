package console

import (
	"net/http"
	"slices"

	"holdfast/processor/live"
)

// streamsPage is the answer of GET /api/v1/streams.
type streamsPage struct {
	Streams []live.Stream `json:"streams"`           // in the order of their IDs, or as sort says
	Total   int           `json:"total"`             // of all that run, whatever the filter
	Matched *int          `json:"matched,omitempty"` // of those that the filter lets through; only with sort, offset or state
	Next    string        `json:"next"`              // for ?after=; "": this is the end, or paging is by offset
}

// streams pages by ID and not by position: streams come and go between two
// requests, and nobody should be shown one twice or miss one because of that.
// Who wants another order has to live with positions.
func (c *console) streams(w http.ResponseWriter, r *http.Request) {
	q, ok := parameters(w, r, slices.Insert(viewParameters(), 1, "after")...)
	if !ok {
		return
	}
	v, ok := viewOf(w, q, defaultLimit, maxLimit)
	if !ok {
		return
	}
	var after live.ID
	if text := q.Get("after"); text != "" {
		if after, ok = parseStream(text); !ok {
			fail(w, http.StatusBadRequest, "after is %q: write the 16 hex digits that next said", shorten(text))
			return
		}
	}
	if !v.simple() {
		if after != 0 {
			fail(w, http.StatusBadRequest, "after goes with the order of IDs only: with sort, offset or state, page by offset")
			return
		}
		page, matched := v.of(c.camera.picture())
		answer(w, http.StatusOK, streamsPage{Streams: page, Total: c.Streams.Len(), Matched: &matched})
		return
	}
	// One more than asked for tells whether there is a next page.
	found := c.matching(r, v.filter, after, v.limit+1)
	page := streamsPage{Streams: found, Total: c.Streams.Len()}
	if len(found) > v.limit {
		page.Streams = found[:v.limit]
		page.Next = page.Streams[v.limit-1].ID
	}
	answer(w, http.StatusOK, page)
}

// stream is one stream with its timeline, while it runs and for a while after.
func (c *console) stream(w http.ResponseWriter, r *http.Request) {
	if !noParameters(w, r) {
		return
	}
	text := r.PathValue("id")
	id, ok := parseStream(text)
	if !ok {
		fail(w, http.StatusBadRequest, "%q is not a stream's id: it has 16 hex digits, as the log and /api/v1/streams show it", shorten(text))
		return
	}
	h, ok := c.Streams.Find(now(), id)
	if !ok {
		fail(w, http.StatusNotFound, "no such stream: it ended more than %s ago, or in another process", live.EndedFor)
		return
	}
	if h.Timeline == nil {
		h.Timeline = []live.Moment{}
	}
	answer(w, http.StatusOK, h)
}

func (c *console) targets(w http.ResponseWriter, r *http.Request) {
	if !noParameters(w, r) {
		return
	}
	answer(w, http.StatusOK, struct {
		Targets []live.Target `json:"targets"` // by policy, cluster and address
	}{c.allTargets()})
}

func (c *console) allTargets() []live.Target {
	return append([]live.Target{}, c.Targets()...) // not nil: JSON should say [] and not null
}

func parseStream(text string) (live.ID, bool) {
	id, err := live.ParseID(text)
	return id, err == nil && len(text) == len(id.String())
}

// matching collects at most limit streams above after, a page of the registry
// at a time, so that a filter which nothing passes costs time and not memory. It
// gives up early if the client does.
func (c *console) matching(r *http.Request, f filter, after live.ID, limit int) []live.Stream {
	out := []live.Stream{} // not nil: JSON should say [] and not null
	for r.Context().Err() == nil {
		page := c.Streams.Snapshot(after, maxLimit)
		for i := range page {
			if !f.takes(&page[i]) {
				continue
			}
			out = append(out, page[i])
			if len(out) == limit {
				return out
			}
		}
		if len(page) < maxLimit {
			break
		}
		last, err := live.ParseID(page[len(page)-1].ID)
		if err != nil || last <= after {
			break // not a registry's page: rather end than go round for ever
		}
		after = last
	}
	return out
}
