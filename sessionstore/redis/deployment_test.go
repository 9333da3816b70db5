package redis_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"holdfast/sessionstore/redis"
	"holdfast/test/redistest"
	"holdfast/test/storetest"
)

// contract runs the suite against a Redis at some URL.
func contract(t *testing.T, at string) {
	t.Helper()
	storetest.Run(t, func(t testing.TB, o storetest.Options) storetest.Fixture {
		var clock storetest.Clock
		s := open(t, redis.Options{
			URL: at, Prefix: fmt.Sprint("test", prefixes.Add(1)), Flush: time.Millisecond,
			Sessions: o.Sessions, TTL: o.TTL, Memory: o.Memory, Now: clock.Now,
		})
		return storetest.Fixture{Store: s, Log: s, Directory: s, Wait: clock.Wait}
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	contract(t, fmt.Sprintf("redis://%s?addr=%s", nodes[0].Address(), nodes[1].Address()))
}

func TestTLSAndUser(t *testing.T) {
	t.Parallel()
	// A user who may do what the store does, and nothing else.
	server := redistest.StartSecured(t, "--user", "holdfast", "on", ">s3cret", "~test*", "+@all", "-@dangerous")
	files := url.Values{"ca": {server.CA}, "cert": {server.Cert}, "key": {server.Key}}
	contract(t, "rediss://holdfast:s3cret@"+server.SecureAddress+"/0?"+files.Encode())
}

// TestSentinel: when the master is gone, the one that takes its place is found, and
// what was replicated is there.
func TestSentinel(t *testing.T) {
	t.Parallel()
	g := redistest.StartGuarded(t)
	at := fmt.Sprintf("redis://%s/0?master_set=%s", g.Sentinel.Address(), redistest.MasterSet)
	s := open(t, redis.Options{URL: at, Flush: 5 * time.Millisecond})
	lease := claim(t, s)
	write(t, s, lease, 1, 500, "event")
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := g.Master.Command(t, "WAIT", "1", "5000"); got != ":1" {
		t.Fatalf("%s replicas have it", got)
	}
	g.Master.Kill()
	write(t, s, lease, 501, 1000, "event")
	redistest.Eventually(t, "the store says that the master is away", func() bool { return s.Failure() != nil })
	redistest.Eventually(t, "the store has found the new master", func() bool { return s.Failure() == nil })
	write(t, s, lease, 1001, 1500, "event")
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, open(t, redis.Options{URL: g.Replica.URL()}), lease, always("event"), 1500)
}
