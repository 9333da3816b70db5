package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"holdfast/sessionstore"
	"holdfast/sessionstore/internal/behind"
)

var _ behind.Sharing = (*remote)(nil)

// What expires here does so by Redis's clock, so that processes need not agree on the
// time to know who lives.

func (k keys) writer(n uint64) string { return k.prefix + ":writer:" + strconv.FormatUint(n, 16) }

func (k keys) read(id sessionstore.SessionID, n uint64) string {
	return k.tag(id) + "read:" + decimal(n)
}

// Beat says that a writer lives; see behind.Sharing.
func (r *remote) Beat(ctx context.Context, writer uint64, d time.Duration) error {
	if d <= 0 {
		_, err := r.do(ctx, func(c rueidis.Client) rueidis.Completed { return c.B().Del().Key(r.keys.writer(writer)).Build() })
		return err
	}
	return r.mark(ctx, r.keys.writer(writer), d)
}

// Lives says whether a writer has said so; see behind.Sharing.
func (r *remote) Lives(ctx context.Context, writer uint64) (bool, error) {
	return r.marked(ctx, r.keys.writer(writer))
}

// Attend says that a stream is read; see behind.Sharing.
func (r *remote) Attend(ctx context.Context, id sessionstore.SessionID, number uint64, d time.Duration) error {
	return r.mark(ctx, r.keys.read(id, number), d)
}

// Attended says whether a stream is read; see behind.Sharing.
func (r *remote) Attended(ctx context.Context, id sessionstore.SessionID, number uint64) (bool, error) {
	return r.marked(ctx, r.keys.read(id, number))
}

// mark makes a key that is there for a while.
func (r *remote) mark(ctx context.Context, key string, d time.Duration) error {
	_, err := r.do(ctx, func(c rueidis.Client) rueidis.Completed {
		return c.B().Set().Key(key).Value("1").PxMilliseconds(d.Milliseconds()).Build()
	})
	return err
}

func (r *remote) marked(ctx context.Context, key string) (bool, error) {
	result, err := r.do(ctx, func(c rueidis.Client) rueidis.Completed { return c.B().Exists().Key(key).Build() })
	if err != nil {
		return false, err
	}
	n, err := result.AsInt64()
	if err != nil {
		return false, r.explain(err)
	}
	return n > 0, nil
}

func (r *remote) do(ctx context.Context, command func(rueidis.Client) rueidis.Completed) (rueidis.RedisResult, error) {
	client, err := r.conn.get()
	if err != nil {
		return rueidis.RedisResult{}, err
	}
	result := client.Do(ctx, command(client))
	if err := result.Error(); err != nil {
		return result, r.explain(err)
	}
	return result, nil
}
