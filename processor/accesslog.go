package processor

import (
	"errors"
	"io"
	"time"

	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	grpcmetadata "google.golang.org/grpc/metadata"

	"holdfast/processor/live"
)

// When an upstream fails in the middle of a body, Envoy resets its client and
// drops our stream; when a client leaves, it drops our stream. The two look the
// same from here: half-close, then RST_STREAM with INTERNAL_ERROR (Envoy 1.40).
// Calling every one of them client_gone would hide the very failures this
// program exists for.
//
// Envoy's access log knows better. Where the filter's initial_metadata says that
// it is delivered to this server too (envoy.access_loggers.http_grpc), the end
// of a dropped stream waits for the entry with that stream's ID.

// reportedKey is in the initial_metadata of a filter whose requests' access log
// comes here.
const reportedKey = "holdfast-access-log"

// verdictPatience bounds the wait. An unbuffered logger takes a millisecond.
const verdictPatience = 2 * time.Second

// verdict is whose fault a stream's end was.
type verdict uint8

const (
	verdictNone     verdict = iota // Envoy has not said
	verdictClient                  // the client left
	verdictUpstream                // the response was cut on its way to us, or by one of Envoy's own limits
)

// accessLog is the receiving end of Envoy's access logger.
type accessLog struct {
	accesslog.UnimplementedAccessLogServiceServer
	live     *live.Registry
	versions *versions
}

// StreamAccessLogs takes entries for as long as Envoy sends them. There is no
// answer until the end.
func (a *accessLog) StreamAccessLogs(g accesslog.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := g.Recv()
		if errors.Is(err, io.EOF) || err != nil && gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if id := m.GetIdentifier(); id != nil { // with the first message only
			a.versions.learn(g.Context(), id.GetNode())
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			a.entry(e.GetCommonProperties())
		}
	}
}

func (a *accessLog) entry(p *accesslogdata.AccessLogCommon) {
	fields := p.GetMetadata().GetFilterMetadata()[namespace].GetFields()
	id, err := live.ParseID(fields[streamField].GetStringValue())
	if err != nil {
		return // not one of our streams, or the log's filter lets everything through
	}
	switch p.GetAccessLogType() {
	case accesslogdata.AccessLogType_DownstreamPeriodic:
		if st, ok := a.live.Get(id).(interface{ sent(bytes uint64) }); ok {
			st.sent(p.GetDownstreamWireBytesSent())
		}
		return
	case accesslogdata.AccessLogType_DownstreamStart, accesslogdata.AccessLogType_DownstreamTunnelSuccessfullyEstablished:
		return // the request is not over
	}
	if st, ok := a.live.Get(id).(*inlined); ok {
		st.judged(judgeFlags(p.GetResponseFlags()))
	}
}

// judgeFlags reads Envoy's account of how a request ended. It may flag several
// things; a client that was there is not one that left, so the client comes
// first.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/data/accesslog/v3/accesslog.proto
func judgeFlags(f *accesslogdata.ResponseFlags) verdict {
	switch {
	case f.GetDownstreamConnectionTermination(), f.GetDownstreamRemoteReset(), f.GetDownstreamProtocolError():
		return verdictClient
	case f.GetUpstreamConnectionTermination(), f.GetUpstreamRemoteReset(), f.GetUpstreamProtocolError(),
		f.GetUpstreamConnectionFailure(), f.GetLocalReset(), f.GetUpstreamRequestTimeout(),
		f.GetStreamIdleTimeout(), f.GetUpstreamMaxStreamDurationReached(), f.GetDurationTimeout(),
		f.GetOverloadManager():
		return verdictUpstream
	}
	return verdictClient
}

// reported says whether the access log of the stream's request comes here.
func (st *inlined) reported() bool {
	return len(grpcmetadata.ValueFromIncomingContext(st.g.Context(), reportedKey)) > 0
}

// judged tells the stream what Envoy logged, maybe before the stream knows that
// it is over.
func (st *inlined) judged(v verdict) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.verdict != verdictNone {
		return
	}
	st.verdict = v
	if st.waiting != nil {
		close(st.waiting)
	}
}

// awaitVerdict returns what Envoy's access log says of the stream's end, or
// verdictNone if it says nothing in time.
func (st *inlined) awaitVerdict() verdict {
	st.mu.Lock()
	if st.verdict == verdictNone {
		st.waiting = make(chan struct{})
	}
	waiting := st.waiting
	st.mu.Unlock()
	if waiting != nil {
		patience := time.NewTimer(verdictPatience)
		defer patience.Stop()
		select {
		case <-waiting:
		case <-patience.C:
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.verdict
}
