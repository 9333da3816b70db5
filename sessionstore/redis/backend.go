package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"google.golang.org/protobuf/proto"

	holdfastv1 "holdfast/proto/holdfast/v1"
	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/behind"
)

// remote is the Backend.
type remote struct {
	conn     connection
	keys     keys
	scripts  scripts
	sessions int
	ttl      time.Duration
}

var _ behind.Backend = (*remote)(nil)

// Close ends the connections; see behind.Backend.
func (r *remote) Close() error {
	r.conn.close()
	return nil
}

// Apply makes changes, all in one go; see behind.Backend.
func (r *remote) Apply(ctx context.Context, now time.Time, changes []*behind.Change) error {
	if len(changes) == 0 {
		return nil
	}
	calls := make([]call, 0, len(changes))
	for _, c := range changes {
		args, err := applyArgs(c)
		if err != nil {
			return err
		}
		calls = append(calls, call{id: c.ID, args: args})
	}
	results, err := r.run(ctx, &r.scripts.apply, now, calls...)
	if err != nil {
		return err
	}
	var index indexUpdate
	for i, c := range changes {
		answer, err := results[i].AsIntSlice()
		if err != nil || len(answer) != 5+len(c.Streams) {
			return r.explain(fmt.Errorf("unexpected answer of a script: %w", err))
		}
		before, after, isNew, stale, newest := answer[0], answer[1], answer[2] == 1, answer[3] == 1, uint64(answer[4])
		for j, sc := range c.Streams {
			sc.Result = behind.Result(answer[5+j])
		}
		used := millis(time.Unix(0, c.Record.GetUsedUnixNano()))
		index.session(c.ID, isNew, before > 0, after > 0, stale, used, newest)
	}
	return r.index(ctx, &index)
}

// applyArgs is a Change as apply.lua reads it.
func applyArgs(c *behind.Change) ([]string, error) {
	used := millis(time.Unix(0, c.Record.GetUsedUnixNano()))
	record, err := proto.Marshal(c.Record)
	if err != nil {
		return nil, err
	}
	args := []string{
		rueidis.BinaryString(record), decimal(used), flag(c.Claimed), flag(c.Live),
		decimal(sessionstore.StreamsPerLine), decimal(sessionstore.StreamsPerSession),
	}
	for _, sc := range c.Streams {
		state, err := proto.Marshal(sc.State)
		if err != nil {
			return nil, err
		}
		var birth, batch []byte
		if sc.Birth != nil {
			if birth, err = proto.Marshal(sc.Birth); err != nil {
				return nil, err
			}
		}
		last := uint64(0)
		if b := sc.Records; b != nil {
			if batch, err = proto.Marshal(b); err != nil {
				return nil, err
			}
			last = b.GetFirst() + uint64(len(b.GetWire())) - 1
		}
		seen := make([]byte, 0, 8*len(sc.Seen))
		for _, e := range sc.Seen {
			seen = binary.LittleEndian.AppendUint64(seen, e)
		}
		fixed, l := sc.Fixed, sc.State.GetLog()
		expiry, ttl, oldest := int64(0), int64(0), uint64(0)
		if fixed.GetLog() != nil {
			ttl = max(time.Duration(fixed.GetLog().GetTtlNanos()).Milliseconds(), 1)
			if l.GetOldest() <= l.GetNewest() {
				expiry = millis(time.Unix(0, l.GetNewestUnixNano())) + ttl
			}
			if l.GetOldest() > 1 {
				oldest = l.GetOldest()
			}
		}
		args = append(args,
			decimal(sc.Number), decimal(sc.State.GetToken()), decimal(sc.State.GetRevision()), flag(sc.State.GetLive()),
			decimal(expiry), rueidis.BinaryString(fixed.GetLine()), rueidis.BinaryString(birth), rueidis.BinaryString(state),
			decimal(sc.Forget), rueidis.BinaryString(seen), flag(sc.Over), decimal(8*fixed.GetWindow()),
			rueidis.BinaryString(batch), decimal(last), flag(sc.Hole), decimal(oldest), decimal(ttl))
	}
	return args, nil
}

// Load returns a session; see behind.Backend.
func (r *remote) Load(ctx context.Context, now time.Time, id sessionstore.SessionID, windows sessionstore.LineID) (*behind.Session, error) {
	line := ""
	if windows != (sessionstore.LineID{}) {
		line = rueidis.BinaryString(windows[:])
	}
	results, err := r.run(ctx, &r.scripts.load, now, call{id: id, args: []string{line}})
	if err != nil {
		return nil, err
	}
	return r.session(id, results[0], windows)
}

// session reads the answer of load.lua.
func (r *remote) session(id sessionstore.SessionID, result rueidis.RedisResult, windows sessionstore.LineID) (*behind.Session, error) {
	answer, err := result.AsStrSlice()
	if err != nil {
		return nil, r.explain(err)
	}
	if len(answer) < 2 {
		return nil, sessionstore.ErrNotFound
	}
	ses := &behind.Session{ID: id, Record: new(holdfastv1.Session)}
	if err := unmarshal(answer[0], ses.Record); err != nil {
		return nil, err
	}
	used, err := strconv.ParseInt(answer[1], 10, 64)
	if err != nil {
		return nil, damaged("time of use", err)
	}
	ses.Record.UsedUnixNano = max(used*int64(time.Millisecond), ses.Record.GetCreatedUnixNano())
	for parts := answer[2:]; len(parts) >= 5; parts = parts[5:] {
		st, err := stream(parts)
		if err != nil {
			return nil, err
		}
		if windows == (sessionstore.LineID{}) || st.Line() != windows {
			st.Window = nil
		}
		ses.Streams = append([]*behind.Stream{st}, ses.Streams...)
	}
	return ses, nil
}

// stream reads five values of a stream: number, control, birth, state, window. The
// control knows better than the state what only scripts change.
func stream(parts []string) (*behind.Stream, error) {
	st := &behind.Stream{Birth: new(holdfastv1.StreamBirth), State: new(holdfastv1.StreamState)}
	var err error
	if st.Number, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return nil, damaged("number of a stream", err)
	}
	if err := unmarshal(parts[2], st.Birth); err != nil {
		return nil, err
	}
	if err := unmarshal(parts[3], st.State); err != nil {
		return nil, err
	}
	control := strings.SplitN(parts[1], ":", 5)
	if len(control) != 5 {
		return nil, damaged("control of a stream", errors.New("it has too few parts"))
	}
	if st.State.Token, err = strconv.ParseUint(control[0], 10, 64); err != nil {
		return nil, damaged("token", err)
	}
	st.State.Live = control[2] == "1"
	window := []byte(parts[4])
	st.Window = make([]uint64, 0, len(window)/8)
	for ; len(window) >= 8; window = window[8:] {
		st.Window = append(st.Window, binary.LittleEndian.Uint64(window))
	}
	return st, nil
}

func unmarshal(s string, m proto.Message) error {
	if err := proto.Unmarshal([]byte(s), m); err != nil {
		return damaged(string(m.ProtoReflect().Descriptor().Name()), err)
	}
	return nil
}

func damaged(what string, err error) error {
	return fmt.Errorf("what is in Redis is damaged, or another program's: %s: %w", what, err)
}

// recordsAtOnce is how many batches of a log are asked for at a time.
const recordsAtOnce = 64

// Records reads a log; see behind.Backend.
func (r *remote) Records(ctx context.Context, id sessionstore.SessionID, n, from uint64, size int) ([]*holdfastv1.RecordBatch, error) {
	client, err := r.conn.get()
	if err != nil {
		return nil, err
	}
	var batches []*holdfastv1.RecordBatch
	for read := 0; len(batches) == 0 || read < size; {
		// A batch is found by its last record.
		entries, err := client.Do(ctx, client.B().Xrange().Key(r.keys.log(id, n)).
			Start(decimal(from)+"-0").End("+").Count(recordsAtOnce).Build()).AsXRange()
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil, r.explain(err)
		}
		for _, e := range entries {
			b := new(holdfastv1.RecordBatch)
			if err := unmarshal(e.FieldValues["b"], b); err != nil {
				return nil, err
			}
			batches = append(batches, b)
			read += len(e.FieldValues["b"])
			from = max(from, b.GetFirst()+uint64(len(b.GetWire())))
		}
		if len(entries) < recordsAtOnce {
			break
		}
	}
	return batches, nil
}

// Takeover raises a stream's token; see behind.Backend.
func (r *remote) Takeover(ctx context.Context, now time.Time, id sessionstore.SessionID, n uint64) (*behind.Stream, error) {
	results, err := r.run(ctx, &r.scripts.takeover, now, call{id: id, args: []string{decimal(n)}})
	if err != nil {
		return nil, err
	}
	answer, err := results[0].ToArray()
	if err != nil {
		return nil, r.explain(err)
	}
	if len(answer) < 6 {
		return nil, sessionstore.ErrNotFound
	}
	parts := make([]string, 5)
	for i := range parts {
		if parts[i], err = answer[i].ToString(); err != nil {
			return nil, r.explain(err)
		}
	}
	before, err := answer[5].AsInt64()
	if err != nil {
		return nil, r.explain(err)
	}
	st, err := stream(parts)
	if err != nil {
		return nil, err
	}
	var index indexUpdate
	index.session(id, false, before > 0, true, true, millis(now), 0)
	return st, r.index(ctx, &index)
}

// Drop forgets a session; see behind.Backend.
func (r *remote) Drop(ctx context.Context, now time.Time, id sessionstore.SessionID, upTo uint64) error {
	results, err := r.run(ctx, &r.scripts.drop, now, dropCall(id, "always", upTo))
	if err != nil {
		return err
	}
	answer, err := dropAnswer(results[0])
	if err != nil {
		return r.explain(err)
	}
	if err := r.index(ctx, &indexUpdate{gone: []sessionstore.SessionID{id}}); err != nil {
		return err
	}
	if answer.kind == dropNone || answer.kind == dropExpired {
		return sessionstore.ErrNotFound
	}
	return nil
}

func dropCall(id sessionstore.SessionID, when string, upTo uint64) call {
	return call{id: id, args: []string{when, decimal(upTo)}}
}

// What drop.lua found.
const (
	dropNone = iota
	dropKept
	dropIdle
	dropExpired
	dropLive
)

type dropResult struct {
	kind       int64
	used, seen int64
	live       int64
	newest     uint64
}

func dropAnswer(result rueidis.RedisResult) (dropResult, error) {
	a, err := result.AsIntSlice()
	if err == nil && len(a) != 5 {
		err = errors.New("unexpected answer of a script")
	}
	if err != nil {
		return dropResult{}, err
	}
	return dropResult{kind: a[0], used: a[1], seen: a[2], live: a[3], newest: uint64(a[4])}, nil
}

// List returns a page of sessions; see behind.Backend.
func (r *remote) List(ctx context.Context, now time.Time, after sessionstore.SessionID, limit int) ([]*behind.Session, error) {
	client, err := r.conn.get()
	if err != nil {
		return nil, err
	}
	var list []*behind.Session
	for len(list) < limit {
		members, err := client.Do(ctx, client.B().Zrange().Key(r.keys.ids()).Min("("+member(after)).Max("+").
			Bylex().Limit(0, int64(limit-len(list))).Build()).AsStrSlice()
		if err != nil {
			return nil, r.explain(err)
		}
		if len(members) == 0 {
			break
		}
		var calls []call
		for _, m := range members {
			if len(m) == len(after) {
				calls = append(calls, call{id: sessionstore.SessionID([]byte(m)), args: []string{""}})
			}
		}
		copy(after[:], members[len(members)-1])
		results, err := r.run(ctx, &r.scripts.load, now, calls...)
		if err != nil {
			return nil, err
		}
		var stale indexUpdate
		for i, result := range results {
			ses, err := r.session(calls[i].id, result, sessionstore.LineID{})
			switch {
			case errors.Is(err, sessionstore.ErrNotFound):
				stale.gone = append(stale.gone, calls[i].id)
			case err != nil:
				return nil, err
			default:
				list = append(list, ses)
			}
		}
		if err := r.index(ctx, &stale); err != nil {
			return nil, err
		}
	}
	return list, nil
}
