package wire

import (
	"math"
	"strconv"
	"sync"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of what a headers message consists of.
const (
	requestAttributes     = 9
	requestObservability  = 10
	requestProtocolConfig = 11

	configRequestBodyMode  = 1
	configResponseBodyMode = 2

	headersMap         = 1
	headersEndOfStream = 3
	mapHeaders         = 1
	headerKey          = 1
	headerValue        = 2
	headerRawValue     = 3

	// map<string, Struct> and Struct's map<string, Value> are both lists of
	// entries with a key and a value.
	// https://protobuf.dev/programming-guides/encoding/#maps
	entryKey    = 1
	entryValue  = 2
	structField = 1
	valueNumber = 2
	valueString = 3
)

// Field is one header, pseudo-headers included, its name in lower case.
type Field struct{ Name, Value []byte }

// Headers is a request_headers or response_headers message, and what the first
// message of a stream says beside it. Its slices lie in the Request's buffer.
type Headers struct {
	Response      bool // else of the request
	EndOfStream   bool
	Observability bool // "the server should not respond to this message"

	// The filter's static configuration; in the first message only.
	RequestBodyMode, ResponseBodyMode extprocfilterv3.ProcessingMode_BodySendMode

	Fields []Field

	message []byte     // all of it
	home    *sync.Pool // where it goes when it is done with; nil: nowhere
}

// reset makes h that of another message.
func (h *Headers) reset(response bool, message []byte) {
	clear(h.Fields)
	*h = Headers{Response: response, Fields: h.Fields[:0], message: message, home: h.home}
}

// Attribute returns one of the attributes that the filter was told to send, if
// it is a string or a number; "" if it is not there.
func (h *Headers) Attribute(name string) string {
	value := ""
	each(h.message, requestAttributes, func(set []byte) {
		each(set, entryValue, func(s []byte) {
			each(s, structField, func(field []byte) {
				key := ""
				each(field, entryKey, func(k []byte) { key = string(k) })
				if key != name {
					return
				}
				each(field, entryValue, func(v []byte) {
					_ = walk(v, func(num protowire.Number, typ protowire.Type, s []byte, x uint64) {
						switch {
						case num == valueString && typ == protowire.BytesType:
							value = string(s)
						case num == valueNumber && typ == protowire.Fixed64Type:
							value = strconv.FormatFloat(math.Float64frombits(x), 'f', -1, 64)
						}
					})
				})
			})
		})
	})
	return value
}

// each calls f for every length-delimited field of that number, as far as b is
// well-formed.
func each(b []byte, want protowire.Number, f func([]byte)) {
	_ = walk(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) {
		if num == want && typ == protowire.BytesType {
			f(v)
		}
	})
}

// walk goes through the fields of a message: bytes has the content of a
// length-delimited field, number that of a varint or of 64 fixed bits; other types
// have neither.
func walk(b []byte, f func(num protowire.Number, typ protowire.Type, bytes []byte, number uint64)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
		var v []byte
		var x uint64
		switch typ {
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			x, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			x, n = protowire.ConsumeFixed64(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return malformed(n)
		}
		f(num, typ, v, x)
		b = b[n:]
	}
	return nil
}

// parse reads the headers message in b.
func (h *Headers) parse(b []byte) error {
	var bad error
	note := func(err error) {
		if bad == nil {
			bad = err
		}
	}
	note(walk(b, func(num protowire.Number, typ protowire.Type, v []byte, x uint64) {
		switch {
		case num == headersMap && typ == protowire.BytesType:
			note(walk(v, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) {
				if num == mapHeaders && typ == protowire.BytesType {
					note(h.parseField(v))
				}
			}))
		case num == headersEndOfStream && typ == protowire.VarintType:
			h.EndOfStream = protowire.DecodeBool(x)
		}
	}))
	return bad
}

// parseField reads a header. Envoy fills raw_value; value is what it used before
// and what other data planes may use.
func (h *Headers) parseField(b []byte) error {
	var f Field
	var plain []byte
	err := walk(b, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) {
		if typ != protowire.BytesType {
			return
		}
		switch num {
		case headerKey:
			f.Name = v
		case headerValue:
			plain = v
		case headerRawValue:
			f.Value = v
		}
	})
	if len(f.Value) == 0 {
		f.Value = plain
	}
	h.Fields = append(h.Fields, f)
	return err
}

// parseBeside reads what stands beside the headers.
func (h *Headers) parseBeside() error {
	var bad error
	err := walk(h.message, func(num protowire.Number, typ protowire.Type, v []byte, x uint64) {
		switch {
		case num == requestObservability && typ == protowire.VarintType:
			h.Observability = protowire.DecodeBool(x)
		case num == requestProtocolConfig && typ == protowire.BytesType:
			if err := h.parseConfig(v); err != nil {
				bad = err
			}
		}
	})
	if err != nil {
		return err
	}
	return bad
}

func (h *Headers) parseConfig(b []byte) error {
	return walk(b, func(num protowire.Number, typ protowire.Type, _ []byte, x uint64) {
		// An enum is an int32 on the wire; protobuf cuts larger varints off likewise.
		mode := extprocfilterv3.ProcessingMode_BodySendMode(int32(x))
		switch {
		case typ != protowire.VarintType:
		case num == configRequestBodyMode:
			h.RequestBodyMode = mode
		case num == configResponseBodyMode:
			h.ResponseBodyMode = mode
		}
	})
}

// fromMessage is the same from a message that protobuf has read.
func (h *Headers) fromMessage(m *extproc.ProcessingRequest, list *extproc.HttpHeaders) {
	h.Observability = m.GetObservabilityMode()
	h.RequestBodyMode = m.GetProtocolConfig().GetRequestBodyMode()
	h.ResponseBodyMode = m.GetProtocolConfig().GetResponseBodyMode()
	h.EndOfStream = list.GetEndOfStream()
	for _, hv := range list.GetHeaders().GetHeaders() {
		f := Field{Name: []byte(hv.GetKey()), Value: hv.GetRawValue()}
		if len(f.Value) == 0 {
			f.Value = []byte(hv.GetValue())
		}
		h.Fields = append(h.Fields, f)
	}
}
