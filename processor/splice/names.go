package splice

import "strconv"

// The names below are the ones of metrics, logs, metadata and the admin API:
// public, and therefore never changed.

func (o Outcome) String() string {
	return name(uint8(o), "complete", "resumed", "gap", "cut", "client_gone", "drained", "passed")
}

func (p Phase) String() string {
	return name(uint8(p), "opening", "live", "resuming", "draining", "closed")
}

func (c Cause) String() string { return name(uint8(c), "clean_end", "reset", "refused", "unresumable") }

func (d Dedup) String() string { return name(uint8(d), "overlap", "always", "off") }

func (t Trust) String() string {
	return name(uint8(t), "absent", "unique", "monotonic", "constant", "restarting")
}

func (k NoteKind) String() string {
	return name(uint8(k), "oversize", "overlap", "overlap_end", "trust", "heartbeat", "stalled", "resume")
}

func (v Verdict) String() string {
	return name(uint8(v), "continue", "stop", "wait", "retry", "never", "lost")
}

func (r Result) String() string {
	return name(uint8(r), "resumed", "confirmed", "needless", "refused", "unavailable", "denied", "unresumable",
		"broken", "unproven", "abandoned")
}

// name never fails, because stored values may come from a newer version.
func name(v uint8, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown_" + strconv.Itoa(int(v))
}
