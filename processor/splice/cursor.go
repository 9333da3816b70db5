package splice

import "bytes"

// cursorState is the last event ID string of the stream, as a client would know
// it: the id in force after the last block that was dispatched.
//
// "If the field name is "id": If the field value does not contain U+0000 NULL,
// then set the last event ID buffer to the field value. Otherwise, ignore the
// field." The buffer becomes the string only at the blank line: "Set the last
// event ID string of the event source to the value of the last event ID buffer."
// (https://html.spec.whatwg.org/multipage/server-sent-events.html#dispatchMessage)
//
// So an id in a block that was cut off never counts, a block with an id and no
// data does, an empty id resets, and no id leaves it alone.
type cursorState struct {
	id     []byte
	before []byte // the one in force before id
}

// maxCursor bounds the ids that are remembered. A longer one does not fit into
// a Last-Event-ID header that any server accepts, so it is no place to resume
// from, just as no id is.
const maxCursor = 8 << 10

// blockDispatched takes in the value of a block's id field.
func (c *cursorState) blockDispatched(id []byte) {
	if bytes.Equal(c.id, id) {
		return
	}
	c.id, c.before = c.before[:0], c.id
	if len(id) <= maxCursor {
		c.id = append(c.id, id...)
	}
}

// restart goes back to what the client itself asked for.
func (c *cursorState) restart(acked string) {
	c.id, c.before = append(c.id[:0], acked...), c.before[:0]
}
