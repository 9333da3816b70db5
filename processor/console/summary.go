package console

import (
	"slices"
	"time"

	"holdfast/processor/live"
)

// summary is what is true of all streams at once.
type summary struct {
	Time     time.Time      `json:"time"`
	Version  string         `json:"version"`
	Ready    bool           `json:"ready"`
	Reason   string         `json:"reason,omitempty"` // why not
	Live     int            `json:"live"`             // streams that run
	Hidden   int            `json:"hidden"`           // of these, beyond what views look at
	Modes    map[string]int `json:"modes"`
	States   map[string]int `json:"states"`
	Outcomes map[string]int `json:"outcomes"` // of streams that ended lately
	Policies []string       `json:"policies"` // of streams that run or ended lately
	Targets  []live.Target  `json:"targets"`
}

func (c *console) summary(p *picture) summary {
	s := summary{
		Time: p.at, Version: c.Version, Ready: true,
		Live: len(p.live) + p.hidden, Hidden: p.hidden,
		Modes: map[string]int{}, States: map[string]int{}, Outcomes: map[string]int{}, Policies: []string{},
		Targets: c.allTargets(),
	}
	if err := c.Ready(); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
	policies := map[string]bool{}
	for i := range p.live {
		s.Modes[p.live[i].Mode]++
		s.States[p.live[i].State]++
		policies[p.live[i].Policy] = true
	}
	for i := range p.ended {
		s.Outcomes[p.ended[i].Outcome]++
		policies[p.ended[i].Policy] = true
	}
	for name := range policies {
		s.Policies = append(s.Policies, name)
	}
	slices.Sort(s.Policies)
	return s
}
