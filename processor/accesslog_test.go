package processor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// logsEntry sends one entry of Envoy's access log.
func (w *world) logsEntry(stream string, flags *accesslogdata.ResponseFlags, kind accesslogdata.AccessLogType) {
	w.Helper()
	g, err := accesslog.NewAccessLogServiceClient(w.conn).StreamAccessLogs(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	meta, _ := structpb.NewStruct(map[string]any{streamField: stream})
	err = g.Send(&accesslog.StreamAccessLogsMessage{LogEntries: &accesslog.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslog.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*accesslogdata.HTTPAccessLogEntry{{
			CommonProperties: &accesslogdata.AccessLogCommon{
				Metadata:      &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{namespace: meta}},
				ResponseFlags: flags,
				AccessLogType: kind,
			},
		}}},
	}})
	if err != nil {
		w.Fatal(err)
	}
	synctest.Wait()
	_, _ = g.CloseAndRecv()
}

// Envoy drops our stream alike whether the upstream failed or the client left;
// only its access log tells.
func TestAccessLogTellsCutFromGone(t *testing.T) {
	const end = accesslogdata.AccessLogType_DownstreamEnd
	upstream := &accesslogdata.ResponseFlags{UpstreamProtocolError: true}
	client := &accesslogdata.ResponseFlags{DownstreamConnectionTermination: true, UpstreamRemoteReset: true}
	for name, c := range map[string]struct {
		flags   *accesslogdata.ResponseFlags
		first   bool // the entry is there before the stream is dropped
		outcome string
	}{
		"upstream":          {upstream, false, "cut"},
		"upstream, early":   {upstream, true, "cut"},
		"client":            {client, false, "client_gone"},
		"client, early":     {client, true, "client_gone"},
		"nothing flagged":   {nil, true, "client_gone"},
		"Envoy's own limit": {&accesslogdata.ResponseFlags{StreamIdleTimeout: true}, false, "cut"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, inline, func(w *world) {
				e := w.dial(reportedKey, "1").open("GET", "/")
				id := w.srv.live.Snapshot(0, 1)[0].ID
				e.chunk("data: 1\n\n")
				e.wantBody("data: 1\n\n")
				w.logsEntry("no id", upstream, end)
				w.logsEntry("0123456789abcdef", upstream, end)
				w.logsEntry(id, upstream, accesslogdata.AccessLogType_DownstreamPeriodic)
				if c.first {
					w.logsEntry(id, c.flags, end)
					w.logsEntry(id, upstream, end)
				}
				e.leave()
				synctest.Wait()
				if !c.first {
					if n := w.logs.FilterMessage("stream ended").Len(); n != 0 {
						t.Fatal("the outcome was settled before Envoy told")
					}
					w.logsEntry(id, c.flags, end)
				}
				w.wantOutcome(c.outcome)
			})
		})
	}
}

func TestAccessLogThatNeverComes(t *testing.T) {
	inWorld(t, inline, func(w *world) {
		e := w.dial(reportedKey, "1").open("GET", "/")
		e.chunk("id: 1\ndata: 1\n\n")
		e.wantBody("id: 1\ndata: 1\n\n")
		began := time.Now()
		e.leave()
		synctest.Wait()
		// The client may be back by now, and its state is there.
		back := w.stream("GET", "/", "last-event-id: 1")
		back.chunk("id: 1\ndata: 1\n\n")
		back.nothing()
		elapse(verdictPatience)
		w.wantOutcome("client_gone")
		if d := time.Since(began); d != verdictPatience {
			t.Errorf("waited %v", d)
		}
		back.leave()
	})
}
