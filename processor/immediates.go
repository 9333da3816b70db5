package processor

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/wire"
)

// An Envoy that is too old for streamed immediate responses takes the first message
// of one for a mistake, drops the exchange at once and makes the request itself. A
// client that leaves in that very moment looks much the same. But then Envoy says that
// it has nothing more to send, and resets its stream after that. What it does not
// understand, it resets from within the reading of our connection, before anything
// that it has to say has gone out (seen with 1.36.4 on the one hand, and 1.37.0 and
// 1.40.0 on the other).

// immediates knows whether Envoy understands them, where its version is not known.
type immediates struct {
	proven atomic.Bool  // it does
	until  atomic.Int64 // none is begun before, in Unix nanoseconds
}

// tooShort is how long the refusal of an Envoy may take, be the machine ever so busy.
const tooShort = time.Second

// distrust is how long none is begun after a refusal.
const distrust = time.Minute

// injects says whether Envoy takes a response from us.
func (x *exchange) injects() bool {
	s := x.srv
	switch v := x.envoy(); {
	case v == version{}:
		return s.now().UnixNano() >= s.immediates.until.Load()
	case v.before(holdsSince):
		s.tell(&s.complain.tooOld, zap.ErrorLevel, tooOldToHold)
		return false
	}
	return true
}

// uploads says whether a request that Envoy is not to make can be had from it, or has
// nothing that would be missing. An Envoy that turned out to be too old for the
// response would make the request a second time.
func (x *exchange) uploads(r *request) bool {
	s := x.srv
	switch v := x.envoy(); {
	case x.bodiless:
		return v != version{} || mayRepeat(r.method, nil) || s.immediates.proven.Load()
	case v == version{}:
		if x.told(reportedKey) == "" { // else it will say what it is
			s.tell(&s.complain.unknown, zap.WarnLevel, whoAreYou)
		}
		return false
	case v.before(uploadsSince):
		s.tell(&s.complain.tooOldToUpload, zap.ErrorLevel, tooOldToUpload)
		return false
	}
	return true
}

const (
	tooOldToHold = "this Envoy is older than 1.37 and does not know streamed immediate responses, so that nothing can be held via: immediate: " +
		"use a newer one, or via: relay with relay.listen. Until then such requests run inline"
	tooOldToUpload = "this Envoy is older than 1.40 and cannot be asked for a request's body, so that requests with a body cannot be held via: immediate: " +
		"use a newer one, or via: relay with relay.listen. Until then they run inline"
	whoAreYou = "a request with a body runs inline, as it can only be held via: immediate with Envoy 1.40 or later, and this Envoy has not said what it is. " +
		"It does so in its access log, if the filter's configuration sends that here (envoy.access_loggers.http_grpc), as soon as a stream has ended; " +
		"or set " + VersionKey + " in the filter's initial_metadata to its version, as holdfast bootstrap --envoy-version does"
)

// leaving tells, when Envoy is gone, whether it said so. It is nil if nobody needs to
// know.
type leaving <-chan bool

// watch waits for what Envoy says when it goes, as long as it is not known whether it
// understands what is about to begin. Nobody else may receive from it then.
func (x *exchange) watch() leaving {
	if x.srv.immediates.proven.Load() || x.envoy() != (version{}) {
		return nil
	}
	g := x.g
	said := make(chan bool, 1)
	go func() {
		var m wire.Request
		defer m.Free()
		for {
			if err := g.RecvMsg(&m); err != nil {
				said <- errors.Is(err, io.EOF)
				return
			}
		}
	}()
	return said
}

// ended takes in how long Envoy has lived with a response. finished says that it is
// not Envoy that has ended the exchange.
func (i *immediates) ended(s *Server, l leaving, lasted time.Duration, finished bool) {
	switch {
	case l == nil:
	case lasted > tooShort:
		i.proven.Store(true)
	case finished: // before Envoy had a say
	case <-l:
		i.proven.Store(true)
	default:
		i.refused(s)
	}
}

func (i *immediates) refused(s *Server) {
	if i.proven.Load() {
		return // by this Envoy or by another; whatever it was, it was not that
	}
	i.until.Store(s.now().Add(distrust).UnixNano())
	s.tell(&s.complain.tooOld, zap.ErrorLevel, tooOldToHold)
}
