package redis

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"holdfast/sessionstore"
)

// keys names what is in Redis. The scripts say what a session consists of; beside
// sessions there are three sorted sets over all of them, each in a slot of its own:
// ids, in the order of their IDs, idle and live, in the order of their use. These
// follow the sessions and do not lead: an entry may be wrong until somebody finds
// out.
type keys struct{ prefix string }

func (k keys) tag(id sessionstore.SessionID) string {
	return k.prefix + ":{" + hex.EncodeToString(id[:]) + "}:"
}

func (k keys) session(id sessionstore.SessionID) string { return k.tag(id) + "session" }
func (k keys) gone(id sessionstore.SessionID) string    { return k.tag(id) + "gone" }
func (k keys) logs(id sessionstore.SessionID) string    { return k.tag(id) + "log:" }

func (k keys) log(id sessionstore.SessionID, n uint64) string { return k.logs(id) + decimal(n) }

func (k keys) ids() string  { return k.prefix + ":ids" }
func (k keys) idle() string { return k.prefix + ":idle" }
func (k keys) live() string { return k.prefix + ":live" }

func decimal[T int | int64 | uint64 | uint32](n T) string {
	if n < 0 {
		return "0"
	}
	return strconv.FormatUint(uint64(n), 10)
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func member(id sessionstore.SessionID) string { return rueidis.BinaryString(id[:]) }

// scoreBegin is 2026, in milliseconds: a score has 53 bits, twelve of which are for
// what sorts sessions of the same millisecond.
const scoreBegin = 1_767_225_600_000

func score(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// idleScore sorts by the last use, and then by the number of the newest stream.
func idleScore(used int64, newest uint64) float64 {
	return float64(max(used-scoreBegin, 0))*4096 + float64(newest%4096)
}
