package splice

// Completion recognises the event that an origin sends last. An event matches
// when every part that is set matches.
type Completion struct {
	Data  *string        // the event's data, exactly
	Event *string        // the event's type, exactly
	JSON  map[string]any // the data is a JSON object in which each (dotted) path has this scalar value
}
