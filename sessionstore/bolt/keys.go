package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
)

// A stream's keys in bucketStreams begin with its session and its number, and go
// on with one of these. What every flush writes is side by side, the end of the
// window, the state and the newest records, so that few pages change.
const (
	kindBirth   = 1 // StreamBirth
	kindWindow  = 2 // and a rising number of 8 bytes: a chunk of the window
	kindState   = 3 // StreamState
	kindRecords = 4 // and the complement of the last record's Seq, 8 bytes: RecordBatch
)

const (
	idSize     = len(sessionstore.SessionID{})
	streamSize = idSize + 8
	windowStep = 64 // entries in a chunk
)

func number(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func bytes8(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func streamKey(id sessionstore.SessionID, n uint64, kind byte, sub ...uint64) []byte {
	k := make([]byte, 0, streamSize+1+8)
	k = append(k, id[:]...)
	k = binary.BigEndian.AppendUint64(k, n)
	k = append(k, kind)
	for _, s := range sub {
		k = binary.BigEndian.AppendUint64(k, s)
	}
	return k
}

// kindOf says whether a key is one of this kind, of the same stream as prefix is.
func kindOf(key, prefix []byte) bool { return bytes.HasPrefix(key, prefix[:streamSize+1]) }

// timeKey is a time, for the order, with what it is the time of. A time before 1970
// would be out of order, and is taken for that year.
func timeKey(unixNano int64, rest ...[]byte) []byte {
	k := bytes8(uint64(max(unixNano, 0)))
	return append(k, bytes.Join(rest, nil)...)
}

// sessionValue is a Session with what the file's own order needs: how many live
// streams there are, 4 bytes, and the number of the newest, 8 bytes, come before it.
type sessionValue struct {
	live   uint32
	newest uint64
	record *holdfastv1.Session
}

const sessionHeader = 4 + 8

func (v *sessionValue) marshal() ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, v.live)
	b = binary.BigEndian.AppendUint64(b, v.newest)
	return proto.MarshalOptions{}.MarshalAppend(b, v.record)
}

func unmarshalSession(b []byte) (*sessionValue, error) {
	if len(b) < sessionHeader {
		return nil, fmt.Errorf("%w: a session of %d bytes", errDamaged, len(b))
	}
	v := &sessionValue{
		live: binary.BigEndian.Uint32(b), newest: binary.BigEndian.Uint64(b[4:]),
		record: new(holdfastv1.Session),
	}
	return v, unmarshal(b[sessionHeader:], v.record)
}

func (v *sessionValue) idleKey(id sessionstore.SessionID) []byte {
	return timeKey(v.record.GetUsedUnixNano(), bytes8(v.newest), id[:])
}

func (v *sessionValue) expired(now time.Time, ttl time.Duration) bool {
	return v.live == 0 && now.Sub(time.Unix(0, v.record.GetUsedUnixNano())) >= ttl
}

// unmarshal reads a record. It copies what it keeps: b is the file's own memory.
func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}
