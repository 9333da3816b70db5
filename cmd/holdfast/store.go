package main

import (
	"context"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/sessionstore"
	"holdfast/sessionstore/bolt"
	"holdfast/sessionstore/memory"
	"holdfast/sessionstore/redis"
)

// sessions is any of the stores.
type sessions interface {
	sessionstore.Store
	sessionstore.Log
	sessionstore.Directory
}

// newStore opens the store that is configured. A file has to be usable now; a Redis
// may come later.
func newStore(cfg *config.Config) (sessions, error) {
	s, ttl, logs := cfg.Store, cfg.Store.TTL.Std(), int64(cfg.Limits.Memory)
	switch s.Kind {
	case "bolt":
		return bolt.Open(bolt.Options{
			Path: s.Path, Flush: s.Flush.Std(), TTL: ttl, Sessions: cfg.Limits.Sessions, Memory: logs,
		})
	case "redis":
		return redis.Open(redis.Options{
			URL: s.URL, Flush: s.Flush.Std(), TTL: ttl, Sessions: cfg.Limits.Sessions, Memory: logs,
		})
	}
	return memory.New(memory.Options{Sessions: cfg.Limits.Sessions, TTL: ttl, Memory: logs}), nil
}

// storePatience is how long the first request may wait for a store that has to be
// connected to. One that is there takes milliseconds; without it, streams begin that
// remember nothing.
const storePatience = 3 * time.Second

// awaitStore has a store connect. One that fails is told of by the processor, and tried
// again; requests do not wait for it.
func awaitStore(s sessions) {
	if b, ok := s.(sessionstore.Behind); ok {
		ctx, cancel := context.WithTimeout(context.Background(), storePatience)
		defer cancel()
		_ = b.Flush(ctx)
	}
}

// closeStore writes what is not written yet.
func closeStore(s sessions, log *zap.Logger) {
	if b, ok := s.(sessionstore.Behind); ok {
		if err := b.Close(); err != nil {
			log.Warn("the session store was not closed in order; the last changes may be lost", zap.Error(err))
		}
	}
}
