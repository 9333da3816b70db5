package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errTimeout is the cause of the context's end when time is up.
var errTimeout = errors.New("time is up; raise -timeout, or lower -kills")

// In the first part each response brings something before it breaks off, and the
// origin is there again at once: it shows how long a resume takes. In the second,
// responses break anywhere, which is followed by pauses, and origins die.
const firstPart = 0.6

// run plays with one gateway for each protocol of upstreams and way of holding.
func run(o *options) (bool, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), o.timeout, errTimeout)
	defer cancel()
	begin := time.Now()
	t := newTally(o.kills)
	var origins []*origin
	var gateways []*gateway
	defer func() {
		for _, gw := range gateways {
			gw.stop()
		}
		for _, origin := range origins {
			origin.stop()
		}
	}()
	var players sync.WaitGroup
	var games []func()
	for i, scheme := range []string{"http", "h2c"} {
		origin, err := startOrigin(ctx, o, uint64(i), t)
		if err != nil {
			return false, err
		}
		origins = append(origins, origin)
		for _, via := range o.vias {
			gw, err := startGateway(ctx, o, via, scheme+"://"+origin.address)
			if err != nil {
				return false, err
			}
			gateways = append(gateways, gw)
			for _, h2 := range []bool{false, true} {
				client := newClient(h2)
				for n := range o.streams {
					games = append(games, func() {
						for round := 0; t.more() && ctx.Err() == nil; round++ {
							name := fmt.Sprintf("%s-%s-%t-%d-%d", via, scheme, h2, n, round)
							readStream(ctx, client, gw.url, via, name, o, t)
						}
					})
				}
			}
		}
	}
	for _, game := range games {
		players.Go(game)
	}

	select {
	case <-t.reached(int(firstPart * float64(o.kills))):
	case <-ctx.Done():
		players.Wait()
		t.print(time.Since(begin))
		return false, context.Cause(ctx)
	}
	calm, err := resumeTimes(ctx, gateways)
	if err != nil {
		return false, err
	}
	t.untime()
	for _, origin := range origins {
		origin.mayDie()
	}
	players.Wait()
	t.print(time.Since(begin))
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	all, err := resumeTimes(ctx, gateways)
	if err != nil {
		return false, err
	}
	fmt.Printf("failure seen to next event forwarded, by holdfast_resume_seconds:\n"+
		"  origin there at once: %s\n  pauses and deaths included: %s\n", calm, all)
	return t.clean(), nil
}
