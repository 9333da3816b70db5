package console

import (
	"net/http"
	"net/url"

	"holdfast/processor/live"
)

// streamsPage is the answer of GET /api/v1/streams.
type streamsPage struct {
	Streams []live.Stream `json:"streams"` // in the order of their IDs
	Total   int           `json:"total"`   // of all streams, whatever the filter
	Next    string        `json:"next"`    // for ?after=; "": this is the end
}

// streams pages by ID and not by position: streams come and go between two
// requests, and nobody should be shown one twice or miss one because of that.
func (c *console) streams(w http.ResponseWriter, r *http.Request) {
	q, ok := parameters(w, r, "limit", "after", "policy", "mode")
	if !ok {
		return
	}
	limit, ok := limitOf(w, q, defaultLimit, maxLimit)
	if !ok {
		return
	}
	var after live.ID
	if text := q.Get("after"); text != "" {
		id, err := live.ParseID(text)
		if err != nil || len(text) != len(id.String()) {
			fail(w, http.StatusBadRequest, "after is %q: write the 16 hex digits that next said", shorten(text))
			return
		}
		after = id
	}
	// One more than asked for tells whether there is a next page.
	found := c.matching(r, filterOf(q), after, limit+1)
	page := streamsPage{Streams: found, Total: c.Streams.Len()}
	if len(found) > limit {
		page.Streams = found[:limit]
		page.Next = page.Streams[limit-1].ID
	}
	answer(w, http.StatusOK, page)
}

// filter chooses streams; an empty part lets everything through.
type filter struct{ policy, mode string }

func filterOf(q url.Values) filter { return filter{q.Get("policy"), q.Get("mode")} }

func (f filter) takes(s *live.Stream) bool {
	return (f.policy == "" || s.Policy == f.policy) && (f.mode == "" || s.Mode == f.mode)
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
