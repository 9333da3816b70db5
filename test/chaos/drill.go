package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// drill is something that goes wrong around processors, again and again, while
// clients read. Unlike those of the first drill, its clients have to come back, as
// an EventSource does: with the id of the last event that they got whole.
type drill struct {
	about      string
	kills      int      // unless -kills says otherwise
	stores     []string // the first is taken unless -store says otherwise
	processors int
	clock      bool // the processors' clocks can be set
	unseen     bool // nobody may notice: a client that has to come back is a failure

	// once does one of the things, and returns when the processors serve again.
	once func(ctx context.Context, s *stage) error
}

// originKills is the first drill, which is not one of these: its clients never come
// back.
const originKills = "origin-kill"

func drills() map[string]drill {
	return map[string]drill{
		"processor-kill": {
			about: "SIGKILL of the only processor", kills: 500, processors: 1,
			stores: []string{"bolt", "redis", "memory"}, once: killOne,
		},
		"replica-kill": {
			about: "SIGKILL of one of two processors behind one Envoy cluster", kills: 100, processors: 2,
			stores: []string{"redis", "memory"}, once: killOne,
		},
		"drain": {
			about: "SIGTERM of the only processor, which ends its streams in order", kills: 200, processors: 1,
			stores: []string{"bolt", "redis", "memory"}, once: drainOne,
		},
		"replica-move": {
			about: "SIGTERM of one of two processors, whose clients move to the other", kills: 50, processors: 2,
			stores: []string{"redis", "memory"}, once: drainOne,
		},
		"redis-restart": {
			about: "SIGKILL of Redis, which is back within a second", kills: 100, processors: 1, unseen: true,
			stores: []string{"redis"}, once: restartRedis,
		},
		"redis-stall": {
			about: "SIGSTOP of Redis, which goes on within a second", kills: 100, processors: 1, unseen: true,
			stores: []string{"redis"}, once: stallRedis,
		},
		"disk-full": {
			about: "the store's file cannot be written for a second", kills: 100, processors: 1, unseen: true,
			stores: []string{"bolt"}, once: fillDisk,
		},
		"clock-jump": {
			about: "the processor's clock jumps by up to two hours, forth and back (linux/amd64)",
			kills: 200, processors: 1, clock: true, unseen: true,
			stores: []string{"bolt", "redis", "memory"}, once: jumpClock,
		},
	}
}

// names are the drills there are.
func names() []string {
	return append([]string{originKills}, slices.Sorted(maps.Keys(drills()))...)
}

// aboutDrills is for -help.
func aboutDrills() string {
	var b strings.Builder
	fmt.Fprintf(&b, "what is done: %s (default: an origin dies; clients may not have to come back)", originKills)
	for _, name := range names()[1:] {
		d := drills()[name]
		fmt.Fprintf(&b, "\n%s: %s, %d times; -store %s", name, d.about, d.kills, strings.Join(d.stores, " or "))
	}
	return b.String()
}

// checkDrill completes the options of a drill.
func (o *options) checkDrill() error {
	d, ok := drills()[o.drill]
	if !ok {
		return fmt.Errorf("-drill %q: want one of %s", o.drill, strings.Join(names(), ", "))
	}
	o.store = cmp.Or(o.store, d.stores[0])
	if !slices.Contains(d.stores, o.store) {
		return fmt.Errorf("-store %q: for %s want %s", o.store, o.drill, strings.Join(d.stores, " or "))
	}
	o.kills = cmp.Or(o.kills, d.kills)
	return nil
}

// repeatsCount says whether an event that an origin repeats, and that its client has,
// may never reach it. What is written behind the streams is lost with the process,
// and what is not known is not recognised.
func (o *options) repeatsCount() bool { return o.flush == 0 || drills()[o.drill].unseen }

// runDrill says whether every client got every event once.
func runDrill(o *options) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.timeout, errTimeout)
	defer cancel()
	begin := time.Now()
	d := drills()[o.drill]
	s, err := newStage(ctx, o, &d)
	if err != nil {
		return false, err
	}
	defer s.close()

	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var players sync.WaitGroup
	number := 0
	for _, group := range s.groups() {
		for _, h2 := range []bool{false, true} {
			client := newClient(h2)
			for range o.streams {
				number++
				player := number
				players.Go(func() {
					for round := 0; reading.Err() == nil && !s.enough(); round++ {
						s.play(reading, client, group, fmt.Sprintf("%d-%d", player, round))
					}
				})
			}
		}
	}
	err = s.goWrong(ctx)
	s.stop()
	if err != nil {
		stopReading()
	}
	players.Wait() // each stream is read to its end
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	s.tally.report(o, s.done, time.Since(begin))
	if err != nil {
		return false, errors.Join(err, s.tails())
	}
	clean := s.tally.clean()
	if !clean {
		fmt.Fprintln(os.Stderr, s.tails())
	}
	return clean, nil
}

// goWrong does what the drill does, often enough.
func (s *stage) goWrong(ctx context.Context) error {
	for s.done < s.o.kills {
		if err := s.pause(ctx); err != nil {
			return err
		}
		if err := s.drill.once(ctx, s); err != nil {
			return fmt.Errorf("%s %d: %w", s.o.drill, s.done+1, err)
		}
		s.done++
	}
	return nil
}
