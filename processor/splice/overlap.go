package splice

// overlapState drops what a returning client already has.
//
// A client that comes back says with Last-Event-ID what it got last. Origins
// answer in every way: exactly after it, at it, some events or the whole stream
// earlier. What they repeat is an overlap: a run of events at the start of the
// new stream that we forwarded before, up to the client's cursor. Within it,
// and only there, an event is dropped if its id and content are those of the
// next entries of the window, in order. The first event with an id for which
// this is not so ends the overlap for good.
//
// The window ends at the client's cursor: what we believe to have sent after it
// is not in there, because the client says that it does not have it. What has no id
// and is forwarded meanwhile comes behind that, for it has to be known if another
// attempt repeats it; but if a repeat follows it, it was none of what is to come.
type overlapState struct {
	active bool
	placed bool   // an event with an id has matched: next is certain
	next   uint32 // entries at positions below this one are passed
	end    uint32 // position of what follows the cursor
}

// begin expects an overlap with the window that was just loaded.
func (o *overlapState) begin(w *tracker) { *o = overlapState{active: true, end: uint32(w.len())} }

func (o *overlapState) stop() { o.active = false }

// eventIdentified takes in the entry of an event with an id. If the window holds
// it at or after the place reached so far, the event is a repeat. The cursor's
// own entry, the last one, ends the overlap: what follows is new.
func (o *overlapState) eventIdentified(w *tracker, e uint64) (repeat bool) {
	// Every entry is passed at most once in the life of an overlap, and the
	// first event that is not found ends it: the whole costs one walk.
	for i := o.first(w); i < o.most(w); i++ {
		if w.at(i) == e {
			o.placed, o.next = true, uint32(w.gone)+uint32(i)+1
			o.active = o.next < o.end
			w.dropNewest(w.len() - o.most(w))
			return true
		}
	}
	o.stop()
	return false
}

// eventNameless takes in the entry of an event without an id. Equal events
// without ids are legal and common (pings, tokens), so it is a repeat only if
// it is exactly what comes next; otherwise nothing is said about the overlap.
func (o *overlapState) eventNameless(w *tracker, e uint64) (repeat bool) {
	if i := o.first(w); !o.placed || i >= o.most(w) || w.at(i) != e {
		w.append(e)
		return false
	}
	o.next++
	return true
}

// first is the place in the window of the next entry, and most that of the first
// one behind the overlap.
func (o *overlapState) first(w *tracker) int { return max(int(o.next)-int(w.gone), 0) }
func (o *overlapState) most(w *tracker) int  { return max(int(o.end)-int(w.gone), 0) }
