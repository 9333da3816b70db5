package processor

import (
	"encoding/hex"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/splice"
)

// record says how the stream ended, in metrics and in the log.
func (st *stream) record(now time.Time, o splice.Outcome) {
	st.srv.metrics.active[st.mode].Dec()
	st.policy.metrics.outcomes[st.mode][o].Inc()
	entry := st.srv.log.Check(zapcore.InfoLevel, "stream ended")
	if entry == nil {
		return
	}
	entry.Write(
		zap.Stringer("stream", st.id),
		zap.String("policy", st.policy.Name),
		zap.Stringer("mode", st.mode),
		zap.Stringer("outcome", o),
		zap.String("method", st.method),
		zap.String("path", st.path),
		zap.String("upstream", st.upstream),
		zap.String("session", hex.EncodeToString(st.lease.Session[:shownSession])),
		zap.Uint64("events", st.counts.Events),
		zap.Uint64("duplicates", st.counts.Duplicates),
		zap.Uint64("heartbeats", st.counts.Heartbeats),
		zap.Uint64("resumes", st.counts.Resumes),
		zap.Uint64("bytes", st.counts.BytesOut),
		zap.Duration("duration", now.Sub(st.started)),
		zap.Bool("stored", st.stored()),
	)
}

// stored says whether the store has what the stream knows, for a client that comes
// back: it took the stream on, did not take it away, and works.
func (st *stream) stored() bool { return !st.unstored.Load() && st.srv.store.failure() == nil }

// shownSession is how many bytes of a session's ID a log line has: enough to find
// it with `holdfast sessions list`.
const shownSession = 6

// metadata is what Envoy's access log can show of the stream.
func (st *stream) metadata(o splice.Outcome) *structpb.Struct {
	return metadata(st.endFields(o))
}

func (st *stream) endFields(o splice.Outcome) map[string]*structpb.Value {
	number := func(n uint64) *structpb.Value { return structpb.NewNumberValue(float64(n)) }
	return map[string]*structpb.Value{
		"policy":     structpb.NewStringValue(shorten(st.policy.Name)),
		"mode":       structpb.NewStringValue(st.mode.String()),
		"outcome":    structpb.NewStringValue(o.String()),
		"events":     number(st.counts.Events),
		"duplicates": number(st.counts.Duplicates),
		"resumes":    number(st.counts.Resumes),
		"cursor":     structpb.NewStringValue(shorten(st.cursor())),
		"stored":     structpb.NewBoolValue(st.stored()),
		streamField:  structpb.NewStringValue(st.id.String()),
	}
}

// endFields are those of a response that was served from the log.
func (rd *reader) endFields(o splice.Outcome) map[string]*structpb.Value {
	return map[string]*structpb.Value{
		"policy":    structpb.NewStringValue(shorten(rd.policy.Name)),
		"mode":      structpb.NewStringValue(rd.mode().String()),
		"outcome":   structpb.NewStringValue(o.String()),
		"events":    structpb.NewNumberValue(float64(rd.events)),
		streamField: structpb.NewStringValue(rd.id.String()),
	}
}

// epoch is how often the origin's ids have started over.
func (st *stream) epoch() (n uint32) {
	st.inspect(func(m machine) {
		if m, ok := m.(interface{ Epoch() uint32 }); ok {
			n = m.Epoch()
		}
	})
	return n
}

// shorten makes an event ID fit to be shown: origins put anything into them, and
// protobuf takes only UTF-8.
func shorten(id string) string {
	const most = 64
	if len(id) > most {
		id = id[:most] + "…"
	}
	return strings.ToValidUTF8(id, "\uFFFD")
}
