package processor

import (
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"holdfast/processor/live"
	"holdfast/processor/splice"
)

// step applies a fact to the machine. If the machine panics, ok is false and
// tail is what it held back before the Step.
func (st *stream) step(now time.Time, in splice.Input) (rd splice.Ready, tail []byte, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	tail = st.m.Held()
	defer st.catch(&ok)
	rd = st.m.Step(now, in)
	st.counts = st.m.Counts()
	return rd, tail, true
}

// stepChunk is step for a chunk of the body. A Chunk that goes through an
// interface method has to be moved to the heap; called by its own type, the
// machine takes it from the stack.
func (st *stream) stepChunk(now time.Time, n splice.Attempt, b []byte, last bool) (rd splice.Ready, tail []byte, ok bool) {
	hot, ok := st.m.(*splice.Machine)
	if !ok {
		return st.step(now, splice.Chunk{Attempt: n, Bytes: b, Last: last})
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.lastByte = now.Sub(st.started)
	tail = hot.Held()
	defer st.catch(&ok)
	rd = hot.Step(now, splice.Chunk{Attempt: n, Bytes: b, Last: last})
	st.counts = hot.Counts()
	return rd, tail, true
}

// catch is deferred around a Step. A fault of the core is ours alone: the
// machine is not touched again, and the client's stream goes on as a copy of the
// origin's.
func (st *stream) catch(ok *bool) {
	r := recover()
	if r == nil {
		return
	}
	*ok, st.faulted = false, true
	st.srv.metrics.bypassed[bypassFault].Inc()
	st.srv.log.Error("internal fault; the stream is copied from here on",
		zap.Stringer("stream", st.id), zap.String("policy", st.policy.Name),
		zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
}

// passOn makes up for the Step that failed: what the machine held back goes to
// the client, and then the chunk it was given, if it was one.
func (st *stream) passOn(now time.Time, tail, chunk []byte) {
	st.alarm.stop()
	st.remember(now, live.Fault, "")
	if st.origin != nil && !st.origin.whole() {
		// What comes next is not what follows, or nothing comes at all: only the
		// machine knew how to join it to what the client has.
		st.finish(now, nil, splice.Close{Outcome: splice.Cut, Abort: true})
		return
	}
	if len(tail) > 0 {
		st.forward(now, tail)
	}
	if len(chunk) > 0 {
		st.copy(now, chunk)
	}
}

// copy sends bytes of the origin as they are.
func (st *stream) copy(now time.Time, b []byte) {
	st.mu.Lock()
	st.counts.BytesIn += uint64(len(b))
	st.mu.Unlock()
	st.forward(now, b)
}

func (st *stream) forward(now time.Time, b []byte) {
	st.stopRecording()
	st.mu.Lock()
	st.lastByte = now.Sub(st.started)
	st.counts.BytesOut += uint64(len(b))
	st.mu.Unlock()
	_ = st.out.write(b)
}

// performFaulted is perform without a machine: only ends matter.
func (st *stream) performFaulted(now time.Time, in splice.Input) {
	c := splice.Close{Outcome: splice.Passed}
	switch in := in.(type) {
	case splice.Ended:
		c.Abort = in.Cause != splice.CleanEnd
	case splice.Gone:
	default:
		return
	}
	if !st.ended {
		st.finish(now, nil, c)
	}
}

// broken says whether the machine is not to be asked any more.
func (st *stream) broken() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.faulted
}

// appendState is the machine's, with the machine to itself; false if there is
// nothing that could be kept.
func (st *stream) appendState(s *splice.State) bool {
	return st.inspect(func(m machine) { m.AppendState(s) })
}

// cursor is the machine's; "" if it cannot be told.
func (st *stream) cursor() (id string) {
	st.inspect(func(m machine) { id = m.Cursor() })
	return id
}

// inspect shows the machine to f, which only looks at it. A fault there costs what
// was to be seen: the machine goes on, and is judged by its Steps.
func (st *stream) inspect(f func(m machine)) (ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.faulted {
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			ok = false
			st.complainOfFault("a stream could not be looked at; what is kept or shown of it is not complete", r)
		}
	}()
	f(st.m)
	return true
}

// contain is deferred where a goroutine deals with one stream, and a panic that
// nobody caught would end the process with all the others (grpc-go recovers from
// none of its handlers'). Nobody can say what has become of the stream: its client is
// cut off.
func (st *stream) contain() {
	if r := recover(); r != nil {
		st.cutOff(r)
	}
}

// cutOff ends a stream of which a panic has left nobody knows what.
func (st *stream) cutOff(r any) {
	st.complainOfFault("internal fault; the stream is cut", r)
	defer func() {
		if r := recover(); r != nil {
			st.complainOfFault("internal fault; a stream cannot even be ended", r)
		}
	}()
	st.gate.lock()
	defer st.gate.unlock()
	if !st.ended {
		st.finish(st.srv.now(), nil, splice.Close{Outcome: splice.Cut, Abort: true})
	}
}

func (st *stream) complainOfFault(what string, r any) {
	if st.srv.complain.fault.allow(st.srv.now()) {
		st.srv.log.Error(what, zap.Stringer("stream", st.id), zap.String("policy", st.policy.Name),
			zap.Any("panic", r), zap.ByteString("stack", debug.Stack()))
	}
}
