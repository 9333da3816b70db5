package processor

import (
	"context"
	"sync/atomic"
	"time"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"holdfast/processor/wire"
)

// What is injected into a response Envoy takes in, however slowly its client reads.
// On HTTP/1 it closes a client whose connection stands still
// (per_connection_buffer_high_watermark_timeout). On HTTP/2 the connection does not
// stand still when a client stops reading one of its streams: what waits for the
// stream's window waits in Envoy, without a bound and without a timeout.
//
// Its access log knows how much was sent: on HTTP/2 bytes count when their frame
// goes out, for which there has to be room in the client's window. The
// configuration of run and bootstrap reports that every two seconds, for streams
// whose dynamic metadata asks for it. A stream asks once it is so far ahead of what
// it knows that it matters, and no longer when it has been told, so that a slow
// stream costs a report or two for each MiB. Without such reports only the pace
// bounds what is injected. On HTTP/1 bytes count when they are injected.

// receiptField is the dynamic metadata that asks for reports.
const receiptField = "receipts"

// receiptSeconds is how much a client may be behind, in seconds at the stream's
// pace, beside the burst: a report's interval and the next one's, for a healthy
// client must not be held up by a report that is about to come.
const receiptSeconds = 4

// receipts bound what Envoy has taken in and its client has not. It is small for the
// sake of streams that never get that far ahead.
type receipts struct {
	sent   int64                   // gate holder's: payload so far
	latest atomic.Pointer[reports] // nil until one is asked for
}

// reports are what Envoy has said.
type reports struct {
	asking bool          // gate holder's: more of them are asked for
	onWire atomic.Int64  // by the latest; 0: there is none yet
	news   chan struct{} // has room for one word of another
}

// ahead is how far a stream of that pace may be ahead of its client; 0: there is no
// bound.
func (p *pace) ahead() int64 {
	if p.rate <= 0 {
		return 0
	}
	return int64(p.burst) + receiptSeconds*int64(p.rate)
}

// behind is how far the client is behind, for all that is known.
func (r *receipts) behind() int64 {
	if latest := r.latest.Load(); latest != nil {
		return r.sent - latest.onWire.Load()
	}
	return r.sent
}

// wait waits until the client is no more than limit behind, or returns ctx's
// error. Nobody waits for a first report, which may never come, nor for long where
// they have ceased to come: while a stream lasts there is one every two seconds, even
// if its client has read nothing since the last.
func (r *receipts) wait(ctx context.Context, limit int64) error {
	latest := r.latest.Load()
	if limit <= 0 || latest == nil || latest.onWire.Load() == 0 || r.behind() <= limit {
		return nil
	}
	ceased := time.NewTimer(receiptPatience)
	defer ceased.Stop()
	for latest.onWire.Load() > 0 && r.behind() > limit {
		select {
		case <-latest.news:
			ceased.Reset(receiptPatience)
		case <-ceased.C:
			latest.onWire.Store(0) // as before the first
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// receiptPatience is how long after a report there will be no other one. Envoy sends
// them over a connection of their own, which may break, and then lead to another
// replica.
const receiptPatience = 20 * time.Second

// ask says whether the next message has to change whether Envoy reports, and to
// what.
func (r *receipts) ask(limit int64) (reported, change bool) {
	latest, behind := r.latest.Load(), r.behind()
	switch asking := latest != nil && latest.asking; {
	case limit == 0:
		return false, false
	case !asking && behind > limit/4:
		if latest == nil {
			latest = &reports{news: make(chan struct{}, 1)}
			r.latest.Store(latest)
		}
		latest.asking = true
		return true, true
	case asking && behind < limit/8:
		latest.asking = false
		return false, true
	default:
		return asking, false
	}
}

// report takes note of what the client has been sent. It may be called from any
// goroutine.
func (r *receipts) report(bytes uint64) {
	latest := r.latest.Load()
	if latest == nil {
		return // nobody has asked
	}
	latest.onWire.Store(int64(bytes))
	select {
	case latest.news <- struct{}{}:
	default:
	}
}

// sent is report for who has the client's side only.
func (c *injector) sent(bytes uint64) { c.receipts.report(bytes) }

// inject sends a part of the body, and with it what Envoy is to report.
func (c *injector) inject(s *Server, b []byte) error {
	c.receipts.sent += int64(len(b))
	reported, change := c.receipts.ask(c.pace.ahead())
	if !change {
		return s.sendBody(c.g, wire.Response{Body: b, Immediate: true})
	}
	return c.g.SendMsg(&wire.Response{Message: &extproc.ProcessingResponse{
		Response: &extproc.ProcessingResponse_StreamedImmediateResponse{
			StreamedImmediateResponse: &extproc.StreamedImmediateResponse{
				Response: &extproc.StreamedImmediateResponse_BodyResponse{BodyResponse: &extproc.StreamedBodyResponse{Body: b}},
			},
		},
		DynamicMetadata: metadata(map[string]*structpb.Value{receiptField: structpb.NewBoolValue(reported)}),
	}})
}
