package splice

import "strconv"

// The names below are the ones of metrics, logs, metadata and the admin API:
// public, and therefore never changed.

func (o Outcome) String() string {
	return name(uint8(o), "complete", "resumed", "gap", "cut", "client_gone", "drained", "passed")
}

func (p Phase) String() string { return name(uint8(p), "opening", "live", "draining", "closed") }

func (c Cause) String() string { return name(uint8(c), "clean_end", "reset") }

func (d Dedup) String() string { return name(uint8(d), "overlap", "always", "off") }

func (t Trust) String() string {
	return name(uint8(t), "absent", "unique", "monotonic", "constant", "restarting")
}

func (k NoteKind) String() string {
	return name(uint8(k), "oversize", "overlap", "overlap_end", "trust", "heartbeat")
}

// name never fails, because stored values may come from a newer version.
func name(v uint8, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown_" + strconv.Itoa(int(v))
}
