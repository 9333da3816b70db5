package splice

import "time"

// drainState knows when a stream has to end because its process goes away.
type drainState struct {
	by         time.Time // zero: no drain was asked for
	repeatable bool
}

func (d *drainState) asked(by time.Time) {
	if d.by.IsZero() || by.Before(d.by) {
		d.by = by
	}
}

func (d *drainState) due() time.Time { return d.by }

// atBoundary reports whether to end as soon as the client has whole events. A
// request that cannot be repeated has its time until the deadline instead: its
// client would have to ask again for, and pay again for, a different answer.
func (d *drainState) atBoundary() bool { return !d.by.IsZero() && d.repeatable }

func (d *drainState) expired(now time.Time) bool { return !d.by.IsZero() && !now.Before(d.by) }
