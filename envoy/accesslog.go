package envoy

import (
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdata "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	fileaccess "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpcaccess "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// receiptField is the dynamic metadata of a stream that wants to know, as long
	// as it is true, what its client has been sent.
	receiptField = "receipts"
	// receiptInterval is in seconds. The processor lets a stream be ahead of its
	// client by what its limits allow in twice that time.
	receiptInterval = 2
)

// accessLogs are the user's, and what the processor is told.
func accessLogs(o *Options) ([]*accesslog.AccessLog, error) {
	logs, err := accessLog(o.AccessLog)
	if err != nil {
		return nil, err
	}
	ended, err := processorLog(&matcher.MetadataMatcher{
		Path:  key(streamField),
		Value: &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_PresentMatch{PresentMatch: true}},
	})
	if err != nil {
		return nil, err
	}
	logs = append(logs, ended)
	if !o.Immediate {
		return logs, nil
	}
	for _, l := range logs {
		l.Filter = both(logged(accesslogdata.AccessLogType_DownstreamEnd), l.GetFilter())
	}
	receipts, err := processorLog(&matcher.MetadataMatcher{
		Path:  key(receiptField),
		Value: &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_BoolMatch{BoolMatch: true}},
	})
	if err != nil {
		return nil, err
	}
	receipts.Filter = both(logged(accesslogdata.AccessLogType_DownstreamPeriodic), receipts.GetFilter())
	return append(logs, receipts), nil
}

func key(name string) []*matcher.MetadataMatcher_PathSegment {
	return []*matcher.MetadataMatcher_PathSegment{{Segment: &matcher.MetadataMatcher_PathSegment_Key{Key: name}}}
}

func logged(when accesslogdata.AccessLogType) *accesslog.AccessLogFilter {
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_LogTypeFilter{
		LogTypeFilter: &accesslog.LogTypeFilter{Types: []accesslogdata.AccessLogType{when}},
	}}
}

// both takes a second filter that may be nil.
func both(a, b *accesslog.AccessLogFilter) *accesslog.AccessLogFilter {
	if b == nil {
		return a
	}
	return &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_AndFilter{
		AndFilter: &accesslog.AndFilter{Filters: []*accesslog.AccessLogFilter{a, b}},
	}}
}

// accessLog is one JSON object per request, written when the request ends: for an
// event stream that may be hours after it began. The path goes in without its
// query, which may hold secrets.
func accessLog(path string) ([]*accesslog.AccessLog, error) {
	if path == "" {
		return nil, nil
	}
	fields := map[string]any{
		"start":      "%START_TIME%",
		"request_id": "%REQ(X-REQUEST-ID)%",
		"client":     "%DOWNSTREAM_REMOTE_ADDRESS%",
		"protocol":   "%PROTOCOL%",
		"method":     "%REQ(:METHOD)%",
		"host":       "%REQ(:AUTHORITY)%",
		"path":       "%PATH(NQ)%",
		"status":     "%RESPONSE_CODE%",
		"details":    "%RESPONSE_CODE_DETAILS%",
		"flags":      "%RESPONSE_FLAGS%",
		"received":   "%BYTES_RECEIVED%",
		"sent":       "%BYTES_SENT%",
		"ms":         "%DURATION%",
		"upstream":   "%UPSTREAM_HOST%",
		"attempts":   "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
		"holdfast":   "%DYNAMIC_METADATA(" + MetadataNamespace + ")%",
	}
	format, err := structpb.NewStruct(fields)
	if err != nil {
		return nil, err
	}
	a, err := anyOf(&fileaccess.FileAccessLog{
		Path: path,
		AccessLogFormat: &fileaccess.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format},
		}},
	})
	if err != nil {
		return nil, err
	}
	return []*accesslog.AccessLog{{
		Name:       "envoy.access_loggers.file",
		ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: a},
	}}, nil
}

// processorLog tells the processor about requests that it has given a mark. At the
// end of one, how it ended: to the filter a client that left and an upstream that
// broke off are the same. While one lasts, what its client has been sent: a
// response that is injected knows no back pressure.
func processorLog(mark *matcher.MetadataMatcher) (*accesslog.AccessLog, error) {
	mark.Filter = MetadataNamespace
	a, err := anyOf(&grpcaccess.HttpGrpcAccessLogConfig{CommonConfig: &grpcaccess.CommonGrpcAccessLogConfig{
		LogName:             "holdfast",
		GrpcService:         &corev3.GrpcService{TargetSpecifier: processorService()},
		TransportApiVersion: corev3.ApiVersion_V3,
		// Zero: an entry is sent when it is written. The stream waits for it.
		BufferSizeBytes: u32(0),
	}})
	if err != nil {
		return nil, err
	}
	return &accesslog.AccessLog{
		Name:       "envoy.access_loggers.http_grpc",
		ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: a},
		Filter: &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_MetadataFilter{
			MetadataFilter: &accesslog.MetadataFilter{Matcher: mark, MatchIfKeyNotFound: no()},
		}},
	}, nil
}
