package splice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"holdfast/processor/sse"
)

// Completion recognises the event that an origin sends last. An event matches
// when every part that is set matches.
type Completion struct {
	Data  *string        // the event's data, exactly
	Event *string        // the event's type, exactly; "message" is also that of an event without a type
	JSON  map[string]any // the data is a JSON object in which each (dotted) path has this scalar value

	// Response says that the data is a JSON-RPC response. An event that is too large
	// to be looked into counts as one: results are what is large.
	Response bool
}

// Validate reports what is wrong with c: nothing set, an empty path, or a value
// that is not a string, number, bool or nil.
func (c *Completion) Validate() error {
	_, err := c.compile()
	return err
}

// marker is a Completion made ready for matching. Nearly every event of a stream
// does not match, so each part has a quick look at the raw bytes that refuses
// most of them before any data is put together or decoded.
type marker struct {
	data  *string
	line  []byte // first line of data: it is in the raw bytes as it is
	typ   *string
	paths []jsonPath
	rpc   bool
}

type jsonPath struct {
	steps  []string
	value  any    // string, float64, bool or nil
	needle []byte // bytes that raw JSON with this value contains, unless it has escapes
}

func (c *Completion) compile() (marker, error) {
	if c.Data == nil && c.Event == nil && len(c.JSON) == 0 && !c.Response {
		return marker{}, errors.New("nothing to match: set data, event or json")
	}
	k := marker{data: c.Data, typ: c.Event, rpc: c.Response}
	if c.Data != nil {
		first, _, _ := strings.Cut(*c.Data, "\n")
		k.line = []byte(first)
	}
	for path, value := range c.JSON {
		p, err := compilePath(path, value)
		if err != nil {
			return marker{}, err
		}
		k.paths = append(k.paths, p)
	}
	// A map has no order; a Machine's work has.
	slices.SortFunc(k.paths, func(a, b jsonPath) int { return slices.Compare(a.steps, b.steps) })
	return k, nil
}

func compilePath(path string, value any) (jsonPath, error) {
	p := jsonPath{steps: strings.Split(path, ".")}
	if slices.Contains(p.steps, "") {
		return p, fmt.Errorf("json path %q: a name is empty; write names joined by single dots, such as response.status", path)
	}
	name := p.steps[len(p.steps)-1]
	switch v := value.(type) {
	case string:
		p.value = v
		if plain(v) {
			p.needle = []byte(v)
		}
	case bool, nil:
		p.value = v
	case float64:
		p.value = v
	case float32:
		p.value = float64(v)
	case int:
		p.value = float64(v)
	case int64:
		p.value = float64(v)
	case uint64:
		p.value = float64(v)
	case uint:
		p.value = float64(v)
	default:
		return p, fmt.Errorf("json path %q: a %T cannot be compared; use a string, number, true, false or null", path, value)
	}
	if f, ok := p.value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return p, fmt.Errorf("json path %q: %v is no number that JSON can write", path, f)
	}
	if p.needle == nil && plain(name) {
		p.needle = []byte(name)
	}
	return p, nil
}

// plain reports whether s is written in JSON in one way only, but for \u00XX.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '/' {
			return false
		}
	}
	return s != ""
}

// completionState knows whether the origin has said everything it had to say.
type completionState struct {
	markers []marker
	reached bool
	data    []byte // of the event looked at, used again
}

// keepData is the largest data buffer, in bytes, that is used again.
const keepData = 4 << 10

// blockDispatched takes in a block. A repeat counts too: the client has it.
func (c *completionState) blockDispatched(ev *sse.Event) {
	if !c.reached && c.wouldReach(ev) {
		c.reached, c.data = true, nil
	}
}

// wouldReach reports whether a block is one that marks the end.
func (c *completionState) wouldReach(ev *sse.Event) bool {
	for i := range c.markers {
		if c.matches(&c.markers[i], ev) {
			return true
		}
	}
	return false
}

func (c *completionState) matches(k *marker, ev *sse.Event) bool {
	if !ev.HasData || !k.mayMatch(ev) {
		return false
	}
	switch {
	case k.data == nil && k.paths == nil && !k.rpc:
		return true
	case ev.Part != sse.Whole: // too large to be held, and so to be looked into
		return k.data == nil && k.paths == nil
	}
	data := sse.AppendData(c.data[:0], *ev)
	if cap(data) <= keepData {
		c.data = data
	}
	if k.data != nil && *k.data != string(data) {
		return false
	}
	return (k.paths == nil || matchesJSON(k.paths, data)) && (!k.rpc || isResponse(data))
}

// mayMatch is the quick look: false is certain.
func (k *marker) mayMatch(ev *sse.Event) bool {
	if k.typ != nil {
		typ := ev.Type
		if len(typ) == 0 {
			typ = []byte("message")
		}
		if string(typ) != *k.typ {
			return false
		}
	}
	if k.data != nil && (len(ev.Raw) < len(*k.data) || !bytes.Contains(ev.Raw, k.line)) {
		return false
	}
	if k.rpc && ev.Part == sse.Whole && !bytes.Contains(ev.Raw, []byte(`id"`)) {
		return false // a notification
	}
	for i := range k.paths {
		// The needle is ASCII; JSON can hide that only behind \u00XX.
		if n := k.paths[i].needle; n != nil && !bytes.Contains(ev.Raw, n) && !bytes.Contains(ev.Raw, []byte(`\u00`)) {
			return false
		}
	}
	return true
}

func matchesJSON(paths []jsonPath, data []byte) bool {
	var object map[string]any
	if json.Unmarshal(data, &object) != nil {
		return false
	}
	for i := range paths {
		if v, ok := lookUp(object, paths[i].steps); !ok || v != paths[i].value {
			return false
		}
	}
	return true
}

func lookUp(object map[string]any, steps []string) (scalar any, ok bool) {
	for _, name := range steps[:len(steps)-1] {
		if object, ok = object[name].(map[string]any); !ok {
			return nil, false
		}
	}
	scalar, ok = object[steps[len(steps)-1]]
	switch scalar.(type) {
	case map[string]any, []any:
		return nil, false // not comparable
	}
	return scalar, ok
}
