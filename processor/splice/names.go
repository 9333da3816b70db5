package splice

import "strconv"

// The names below are the ones of metrics, logs, metadata and the admin API:
// public, and therefore never changed.

var (
	outcomeNames = [...]string{"complete", "resumed", "gap", "cut", "client_gone", "drained", "passed"}
	phaseNames   = [...]string{"opening", "live", "draining", "closed"}
	causeNames   = [...]string{"clean_end", "reset"}
	dedupNames   = [...]string{"overlap", "always", "off"}
	trustNames   = [...]string{"absent", "unique", "monotonic", "constant", "restarting"}
	noteNames    = [...]string{"oversize", "overlap", "overlap_end", "trust", "heartbeat"}
)

func (o Outcome) String() string  { return name(outcomeNames[:], uint8(o)) }
func (p Phase) String() string    { return name(phaseNames[:], uint8(p)) }
func (c Cause) String() string    { return name(causeNames[:], uint8(c)) }
func (d Dedup) String() string    { return name(dedupNames[:], uint8(d)) }
func (t Trust) String() string    { return name(trustNames[:], uint8(t)) }
func (k NoteKind) String() string { return name(noteNames[:], uint8(k)) }

// name never fails, because stored values may come from a newer version.
func name(names []string, v uint8) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown_" + strconv.Itoa(int(v))
}
