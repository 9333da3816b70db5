package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ids is what an origin writes into the id field of its events. Only the last
// two tell a position; the others are as common.
type ids string

const (
	none       ids = "none"       // no id field
	constant   ids = "constant"   // the same on every event, such as a session's or an answer's
	restarting ids = "restarting" // counted from 1 in every response
	monotonic  ids = "monotonic"  // the event's number
	uuid       ids = "uuid"       // unique, in no order a client could see
)

func parseIDs(name string) (ids, error) {
	switch s := ids(name); s {
	case none, constant, restarting, monotonic, uuid:
		return s, nil
	}
	return "", errors.New("want none, constant, restarting, monotonic or uuid")
}

// id of event n, which is the i-th of its response; "": none.
func (s ids) id(n, i int) string {
	switch s {
	case constant:
		return "a-session-and-not-an-event"
	case restarting:
		return strconv.Itoa(i)
	case monotonic:
		return strconv.Itoa(n)
	case uuid:
		sum := sha256.Sum256(fmt.Append(nil, "event ", n))
		// Version 8 is free for one's own making; the last part finds the event again.
		return fmt.Sprintf("%x-%x-8%03x-8%03x-%012x", sum[:4], sum[4:6], sum[6], sum[7], n)
	default:
		return ""
	}
}

// position is the number of the event with this ID; 0: there is none, or these
// IDs do not tell.
func (s ids) position(id string) int {
	var n int64
	switch s {
	case monotonic:
		n, _ = strconv.ParseInt(id, 10, 32)
	case uuid:
		n, _ = strconv.ParseInt(id[strings.LastIndexByte(id, '-')+1:], 16, 32)
	default:
		return 0
	}
	if n < 1 || s.id(int(n), 0) != id {
		return 0
	}
	return int(n)
}
