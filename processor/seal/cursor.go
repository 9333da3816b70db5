package seal

import (
	"bytes"
	"encoding/binary"
	"net/http"
)

// Scope is what an id is bound to beside its content: a hash over policy,
// principal, session and whatever else a request has to agree in for its id to be
// good. Opened with another Scope an id is no id.
type Scope [16]byte

// Mark tells a stream's log from one of another life of the store, whose numbers
// are the same.
type Mark [8]byte

// Cursor is what an id says.
type Cursor struct {
	Method string // of the request that began the stream; "" if that was not to be spelled
	Mark   Mark

	// The place in the stream's log, as in sessionstore.Position.
	Number, Token, Seq uint64

	Epoch  uint32 // restarts of the origin's ids before this one
	Origin []byte // what the origin calls this place; nil: it has no name for it, or Referred
	// Referred says that the origin's name is too long for an id. Its place in the
	// log has it.
	Referred bool
}

// The first byte of a Cursor.
const (
	methodSpelled  = 0 // its length and itself follow
	methodGET      = 1
	methodPOST     = 2
	methodOther    = 3 // too long to be spelled
	methodBits     = 0x0f
	originReferred = 0x10

	// maxMethod is the longest method that is spelled out.
	// https://www.iana.org/assignments/http-methods has none longer.
	maxMethod = 20
)

// appendTo appends the cursor in clear, of at most size bytes. The rest always
// fits; if the origin's name does not it is left out, and referred to.
func (c *Cursor) appendTo(b []byte, size int) []byte {
	start := len(b)
	switch {
	case c.Method == http.MethodGet:
		b = append(b, methodGET)
	case c.Method == http.MethodPost:
		b = append(b, methodPOST)
	case len(c.Method) > maxMethod || c.Method == "":
		b = append(b, methodOther)
	default:
		b = append(b, methodSpelled, byte(len(c.Method)))
		b = append(b, c.Method...)
	}
	b = append(b, c.Mark[:]...)
	b = binary.AppendUvarint(b, c.Number)
	b = binary.AppendUvarint(b, c.Token)
	b = binary.AppendUvarint(b, c.Seq)
	b = binary.AppendUvarint(b, uint64(c.Epoch))
	if c.Referred || len(b)-start+len(c.Origin) > size {
		b[start] |= originReferred
		return b
	}
	return append(b, c.Origin...)
}

// read takes apart what appendTo has made. It is given nothing else but by a
// version of ours that means something different by it.
func (c *Cursor) read(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	first := b[0]
	b = b[1:]
	switch first & methodBits {
	case methodGET:
		c.Method = http.MethodGet
	case methodPOST:
		c.Method = http.MethodPost
	case methodOther:
	case methodSpelled:
		if len(b) == 0 || int(b[0]) > maxMethod || len(b) <= int(b[0]) {
			return false
		}
		c.Method = string(b[1 : 1+b[0]])
		b = b[1+b[0]:]
	default:
		return false
	}
	if len(b) < len(c.Mark) {
		return false
	}
	b = b[copy(c.Mark[:], b):]
	epoch := uint64(0)
	for _, v := range [...]*uint64{&c.Number, &c.Token, &c.Seq, &epoch} {
		var n int
		if *v, n = binary.Uvarint(b); n <= 0 {
			return false
		}
		b = b[n:]
	}
	c.Epoch = uint32(epoch)
	c.Referred = first&originReferred != 0
	if len(b) > 0 {
		c.Origin = bytes.Clone(b)
	}
	return first&^(methodBits|originReferred) == 0 && uint64(c.Epoch) == epoch
}
