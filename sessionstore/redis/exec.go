package redis

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is how Redis names scripts
	_ "embed"     // for the scripts
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"holdfast/sessionstore"
)

// The scripts decide inside Redis what has to be decided at once.
var (
	//go:embed scripts/common.lua
	commonLua string
	//go:embed scripts/apply.lua
	applyLua string
	//go:embed scripts/load.lua
	loadLua string
	//go:embed scripts/takeover.lua
	takeoverLua string
	//go:embed scripts/drop.lua
	dropLua string
)

type scripts struct{ apply, load, takeover, drop script }

func newScripts() scripts {
	return scripts{
		apply: newScript(applyLua), load: newScript(loadLua),
		takeover: newScript(takeoverLua), drop: newScript(dropLua),
	}
}

// script is one of them, as Redis knows it.
type script struct{ text, sha string }

func newScript(text string) script {
	s := script{text: commonLua + text}
	sum := sha1.Sum([]byte(s.text)) //nolint:gosec // it is how Redis names scripts
	s.sha = hex.EncodeToString(sum[:])
	return s
}

// connection is a client that is made when it is needed: rueidis fails where it
// cannot connect, and connects again by itself only afterwards.
type connection struct {
	option rueidis.ClientOption

	mu     sync.Mutex
	client rueidis.Client
	closed bool
	failed time.Time
	err    error
}

// dialPause keeps those who ask from dialling one after the other.
const dialPause = 100 * time.Millisecond

var errClosed = errors.New("closed")

func (c *connection) get() (rueidis.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, errClosed
	case c.client != nil:
		return c.client, nil
	case c.err != nil && time.Since(c.failed) < dialPause:
		return nil, c.err
	}
	client, err := rueidis.NewClient(c.option)
	if err != nil {
		c.failed, c.err = time.Now(), fmt.Errorf("connecting to Redis at %s: %w%s", c.option.InitAddress[0], err, c.hint(err))
		return nil, c.err
	}
	c.client, c.err = client, nil
	return client, nil
}

// hint is what may be wrong with the URL: of TLS where there is none, and of none where
// there is, one learns no more than that the connection came to nothing.
func (c *connection) hint(err error) string {
	switch secure := c.option.TLSConfig != nil; {
	case secure && errors.Is(err, context.DeadlineExceeded):
		return " (if it does not speak TLS, write redis://)"
	case !secure && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)):
		return " (if it wants TLS, write rediss://)"
	}
	return ""
}

func (c *connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.client != nil {
		c.client.Close()
	}
}

// call is one use of a script, on one session.
type call struct {
	id   sessionstore.SessionID
	args []string
}

// run runs a script on several sessions at once.
func (r *remote) run(ctx context.Context, s *script, now time.Time, calls ...call) ([]rueidis.RedisResult, error) {
	client, err := r.conn.get()
	if err != nil {
		return nil, err
	}
	build := func(c call, text bool) rueidis.Completed {
		keys := []string{r.keys.session(c.id), r.keys.gone(c.id)}
		args := append([]string{r.keys.logs(c.id), decimal(millis(now)), decimal(r.ttl.Milliseconds())}, c.args...)
		if text {
			return client.B().Eval().Script(s.text).Numkeys(2).Key(keys...).Arg(args...).Build()
		}
		return client.B().Evalsha().Sha1(s.sha).Numkeys(2).Key(keys...).Arg(args...).Build()
	}
	commands := make(rueidis.Commands, 0, len(calls))
	for _, c := range calls {
		commands = append(commands, build(c, false))
	}
	results := client.DoMulti(ctx, commands...)
	// A server that has just started does not know the script.
	for i, c := range calls {
		if known, is := rueidis.IsRedisErr(results[i].Error()); is && known.IsNoScript() {
			results[i] = client.Do(ctx, build(c, true))
		}
	}
	for _, result := range results {
		if err := result.Error(); err != nil {
			return nil, r.explain(err)
		}
	}
	return results, nil
}

// explain says of an error of Redis's what it is about.
func (r *remote) explain(err error) error {
	return fmt.Errorf("redis at %s: %w", r.conn.option.InitAddress[0], err)
}
