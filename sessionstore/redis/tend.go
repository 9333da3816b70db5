package redis

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"holdfast/sessionstore"
)

// indexUpdate is what changes in the sets over all sessions.
type indexUpdate struct {
	ids     []sessionstore.SessionID
	idle    []scored
	live    []scored
	notIdle []sessionstore.SessionID
	notLive []sessionstore.SessionID
	gone    []sessionstore.SessionID
}

type scored struct {
	id    sessionstore.SessionID
	score float64
}

// session puts a session where it belongs, if it is not there already.
func (u *indexUpdate) session(id sessionstore.SessionID, isNew, wasLive, isLive, stale bool, used int64, newest uint64) {
	if isNew {
		u.ids = append(u.ids, id)
	}
	switch {
	case !isLive:
		u.idle = append(u.idle, scored{id, idleScore(used, newest)})
		if wasLive {
			u.notLive = append(u.notLive, id)
		}
	case !wasLive || stale:
		u.live = append(u.live, scored{id, float64(used)})
		u.notIdle = append(u.notIdle, id)
	}
}

// index writes it.
func (r *remote) index(ctx context.Context, u *indexUpdate) error {
	client, err := r.conn.get()
	if err != nil {
		return err
	}
	var commands rueidis.Commands
	add := func(key string, entries []scored) {
		if len(entries) == 0 {
			return
		}
		c := client.B().Zadd().Key(key).ScoreMember()
		for _, e := range entries {
			c = c.ScoreMember(e.score, member(e.id))
		}
		commands = append(commands, c.Build())
	}
	remove := func(key string, ids []sessionstore.SessionID) {
		if len(ids) == 0 {
			return
		}
		members := make([]string, 0, len(ids))
		for _, id := range ids {
			members = append(members, member(id))
		}
		commands = append(commands, client.B().Zrem().Key(key).Member(members...).Build())
	}
	var ids []scored
	for _, id := range u.ids {
		ids = append(ids, scored{id: id})
	}
	remove(r.keys.idle(), u.notIdle)
	remove(r.keys.live(), u.notLive)
	for _, key := range []string{r.keys.ids(), r.keys.idle(), r.keys.live()} {
		remove(key, u.gone)
	}
	add(r.keys.ids(), ids)
	add(r.keys.idle(), u.idle)
	add(r.keys.live(), u.live)
	if len(commands) == 0 {
		return nil
	}
	for _, result := range client.DoMulti(ctx, commands...) {
		if err := result.Error(); err != nil {
			return r.explain(err)
		}
	}
	return nil
}

// tendAtOnce bounds what is forgotten in one go.
const tendAtOnce = 500

// Tend forgets sessions that are too old or too many; see behind.Backend. Other
// processes may do the same at the same time, and then the one who comes late finds
// them gone.
func (r *remote) Tend(ctx context.Context, now time.Time, upTo uint64) (left int, live []sessionstore.SessionID, err error) {
	deadline := millis(now) - r.ttl.Milliseconds()
	// Whoever died without a word still counts as live; its sign of life is old.
	for _, expired := range []struct {
		key     string
		highest float64
	}{{r.keys.idle(), idleScore(deadline, 4095)}, {r.keys.live(), float64(deadline)}} {
		for more := true; more; {
			ids, err := r.first(ctx, expired.key, expired.highest, tendAtOnce)
			if err != nil {
				return 0, nil, err
			}
			dropped, err := r.drop(ctx, now, ids, "expired", upTo)
			if err != nil {
				return 0, nil, err
			}
			live = append(live, dropped...)
			more = len(ids) == tendAtOnce
		}
	}
	for {
		if left, err = r.count(ctx); err != nil || left <= r.sessions {
			return left, live, err
		}
		dropped, err := r.evict(ctx, now, min(left-r.sessions, tendAtOnce), upTo)
		if err != nil {
			return 0, nil, err
		}
		live = append(live, dropped...)
	}
}

// evict forgets n sessions, or some, or what the sets say wrongly.
func (r *remote) evict(ctx context.Context, now time.Time, n int, upTo uint64) ([]sessionstore.SessionID, error) {
	ids, err := r.first(ctx, r.keys.idle(), maxScore, n)
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		return r.drop(ctx, now, ids, "idle", upTo)
	}
	// The order among the live is told seldom. Of those that seem to be the oldest, the
	// oldest are.
	if ids, err = r.first(ctx, r.keys.live(), maxScore, tendAtOnce); err != nil {
		return nil, err
	}
	if len(ids) == 0 { // so ids has some that are nowhere else
		return nil, r.forgetLost(ctx, now, n)
	}
	looks, err := r.look(ctx, now, ids)
	if err != nil {
		return nil, err
	}
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(looks[a].used, looks[b].used), cmp.Compare(looks[a].newest, looks[b].newest))
	})
	var oldest []sessionstore.SessionID
	for _, i := range order[:min(n, len(order))] {
		oldest = append(oldest, ids[i])
	}
	return r.drop(ctx, now, oldest, "always", upTo)
}

// forgetLost finds entries of ids that no other set has, which a process can leave
// that died at the wrong moment.
func (r *remote) forgetLost(ctx context.Context, now time.Time, n int) error {
	client, err := r.conn.get()
	if err != nil {
		return err
	}
	ids, err := sessionIDs(client.Do(ctx, client.B().Zrange().Key(r.keys.ids()).Min("0").Max(decimal(n-1)).Build()))
	if err != nil {
		return r.explain(err)
	}
	looks, err := r.look(ctx, now, ids)
	if err != nil {
		return err
	}
	var index indexUpdate
	for i, id := range ids {
		index.found(id, looks[i])
	}
	return r.index(ctx, &index)
}

const maxScore = 1 << 62

func (r *remote) count(ctx context.Context) (int, error) {
	client, err := r.conn.get()
	if err != nil {
		return 0, err
	}
	n, err := client.Do(ctx, client.B().Zcard().Key(r.keys.ids()).Build()).AsInt64()
	if err != nil {
		return 0, r.explain(err)
	}
	return int(n), nil
}

// first lists the sessions of a set with the lowest scores.
func (r *remote) first(ctx context.Context, key string, highest float64, limit int) ([]sessionstore.SessionID, error) {
	client, err := r.conn.get()
	if err != nil {
		return nil, err
	}
	ids, err := sessionIDs(client.Do(ctx, client.B().Zrange().Key(key).Min("-inf").Max(score(highest)).
		Byscore().Limit(0, int64(limit)).Build()))
	if err != nil {
		return nil, r.explain(err)
	}
	return ids, nil
}

func sessionIDs(result rueidis.RedisResult) ([]sessionstore.SessionID, error) {
	members, err := result.AsStrSlice()
	if err != nil {
		return nil, err
	}
	ids := make([]sessionstore.SessionID, len(members))
	for i, m := range members {
		copy(ids[i][:], m)
	}
	return ids, nil
}

// look asks what sessions are like.
func (r *remote) look(ctx context.Context, now time.Time, ids []sessionstore.SessionID) ([]dropResult, error) {
	return r.dropScript(ctx, now, ids, "never", 0)
}

func (r *remote) dropScript(ctx context.Context, now time.Time, ids []sessionstore.SessionID, when string, upTo uint64) ([]dropResult, error) {
	calls := make([]call, 0, len(ids))
	for _, id := range ids {
		calls = append(calls, dropCall(id, when, upTo))
	}
	if len(calls) == 0 {
		return nil, nil
	}
	results, err := r.run(ctx, &r.scripts.drop, now, calls...)
	if err != nil {
		return nil, err
	}
	answers := make([]dropResult, len(ids))
	for i, result := range results {
		if answers[i], err = dropAnswer(result); err != nil {
			return nil, r.explain(err)
		}
	}
	return answers, nil
}

// drop forgets sessions as far as they are what the sets say. Those that are not
// go where they belong. It returns those with live streams.
func (r *remote) drop(ctx context.Context, now time.Time, ids []sessionstore.SessionID, when string, upTo uint64) (live []sessionstore.SessionID, err error) {
	answers, err := r.dropScript(ctx, now, ids, when, upTo)
	if err != nil {
		return nil, err
	}
	var index indexUpdate
	for i, id := range ids {
		index.found(id, answers[i])
		if answers[i].kind == dropLive {
			live = append(live, id)
		}
	}
	return live, r.index(ctx, &index)
}

// found puts a session where it belongs.
func (u *indexUpdate) found(id sessionstore.SessionID, a dropResult) {
	switch {
	case a.kind != dropKept:
		u.gone = append(u.gone, id)
	case a.live > 0:
		u.live = append(u.live, scored{id, float64(max(a.used, a.seen))})
		u.notIdle = append(u.notIdle, id)
	default:
		u.idle = append(u.idle, scored{id, idleScore(a.used, a.newest)})
		u.notLive = append(u.notLive, id)
	}
}
