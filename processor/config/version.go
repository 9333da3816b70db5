package config

// later is something the file format names and this version does not do.
type later struct {
	path  string // as in the table of keys
	value string // one value of the key; "" for every value but the default
}

// notInThisVersion is the one place that knows. What is listed is refused
// rather than ignored, because a setting that is silently without effect is
// found out in an outage; its default is accepted, so that a complete file
// written for a later version loads where it asks for nothing new.
//
// To bring a key to life: delete its line, and use the key.
func notInThisVersion() []later {
	return nil // all of it is alive
}

// withheld tells what of a key this version does not do: every value but the
// default, or the listed ones.
func withheld(path string) (all bool, values []string) {
	for _, l := range notInThisVersion() {
		switch {
		case l.path != path:
		case l.value == "":
			all = true
		default:
			values = append(values, l.value)
		}
	}
	return all, values
}
