package top

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"holdfast/processor/live"
)

// Summary is what is true of all streams at once, as the admin API says it.
type Summary struct {
	Time     time.Time      `json:"time"`
	Version  string         `json:"version"`
	Ready    bool           `json:"ready"`
	Reason   string         `json:"reason"`
	Live     int            `json:"live"`
	Hidden   int            `json:"hidden"`
	Modes    map[string]int `json:"modes"`
	States   map[string]int `json:"states"`
	Outcomes map[string]int `json:"outcomes"`
	Targets  []live.Target  `json:"targets"`
}

// Point is what happened in one step of the history.
type Point struct {
	Active     float64 `json:"active"`
	Events     float64 `json:"events"`
	Duplicates float64 `json:"duplicates"`
	Resumed    float64 `json:"resumed"`
	Unresumed  float64 `json:"unresumed"`
	Bad        float64 `json:"bad"`
}

// Picture is all that the watch stream has told.
type Picture struct {
	At      time.Time // of the latest message, by the server's clock
	Total   int       // streams that run
	Matched int       // streams of the view, of which Streams are some
	Streams []live.Stream
	Summary *Summary // nil: not yet told
	Points  []Point  // oldest first
	Step    float64  // seconds between points
}

// Apply takes in a message. One that cannot be understood is an error, one of a
// kind that is not known is not: a newer server may tell more.
func (p *Picture) Apply(event string, data []byte) error {
	switch event {
	case "snapshot", "changes":
		return p.streams(data)
	case "summary":
		s := new(Summary)
		if err := json.Unmarshal(data, s); err != nil {
			return unknown(event, err)
		}
		p.Summary, p.At = s, s.Time
	case "history":
		var m struct {
			Step   float64
			Length int
			Points []Point
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return unknown(event, err)
		}
		p.Step = m.Step
		p.Points = append(p.Points, m.Points...)
		p.Points = slices.Delete(p.Points, 0, max(0, len(p.Points)-max(m.Length, 1)))
	}
	return nil
}

func (p *Picture) streams(data []byte) error {
	var m struct {
		Time             time.Time
		Total            int
		Matched          *int
		Streams, Changed []live.Stream
		Gone, Order      []string
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return unknown("streams", err)
	}
	p.At, p.Total, p.Matched = m.Time, m.Total, m.Total
	if m.Matched != nil {
		p.Matched = *m.Matched
	}
	if m.Streams != nil {
		p.Streams = m.Streams
		return nil
	}
	byID := make(map[string]live.Stream, len(p.Streams))
	var order []string
	for _, s := range append(p.Streams, m.Changed...) {
		if _, known := byID[s.ID]; !known {
			order = append(order, s.ID)
		}
		byID[s.ID] = s
	}
	for _, id := range m.Gone {
		delete(byID, id)
	}
	if len(m.Order) > 0 {
		order = m.Order
	}
	p.Streams = nil
	for _, id := range order {
		if s, ok := byID[id]; ok {
			p.Streams = append(p.Streams, s)
		}
	}
	return nil
}

func unknown(what string, err error) error {
	return fmt.Errorf("the server's %s message is not as this version of holdfast has it: %w", what, err)
}
