package processor

import (
	"net/http"
	"net/textproto"
	"strings"

	"holdfast/processor/wire"
)

const eventStream = "text/event-stream"

// headers are a request's or a response's, as Envoy sends them: names in lower
// case, pseudo-headers among them.
type headers []wire.Field

// Header returns the value of a header; several values are joined with commas.
//
//	"A recipient MAY combine multiple field lines within a field section that
//	have the same field name into one field line […] by appending each
//	subsequent field line value to the initial field line value in order,
//	separated by a comma"
//	https://www.rfc-editor.org/rfc/rfc9110#section-5.3
func (h headers) Header(name string) (string, bool) {
	return h.join(name, ", ")
}

func (h headers) join(name, separator string) (value string, ok bool) {
	for i := range h {
		if string(h[i].Name) != name {
			continue
		}
		v := string(h[i].Value)
		if ok {
			v = value + separator + v
		}
		value, ok = v, true
	}
	return value, ok
}

// has says whether the header is there, whatever its value.
func (h headers) has(name string) bool {
	for i := range h {
		if string(h[i].Name) == name {
			return true
		}
	}
	return false
}

// clone returns a copy that outlives the message it came in.
func (h headers) clone() headers {
	size := 0
	for i := range h {
		size += len(h[i].Name) + len(h[i].Value)
	}
	out, text := make(headers, len(h)), make([]byte, 0, size)
	keep := func(b []byte) []byte {
		text = append(text, b...)
		return text[len(text)-len(b) : len(text) : len(text)]
	}
	for i := range h {
		out[i] = wire.Field{Name: keep(h[i].Name), Value: keep(h[i].Value)}
	}
	return out
}

// fields are the headers as net/http has them, without the pseudo-headers.
func (h headers) fields() http.Header {
	out := make(http.Header, len(h))
	for i := range h {
		if name := string(h[i].Name); !strings.HasPrefix(name, ":") {
			name = textproto.CanonicalMIMEHeaderKey(name)
			out[name] = append(out[name], string(h[i].Value))
		}
	}
	return out
}

// headersOf is the reverse of fields.
func headersOf(h http.Header) headers {
	out := make(headers, 0, len(h)+3)
	for name, values := range h {
		name := []byte(strings.ToLower(name))
		for _, v := range values {
			out = append(out, wire.Field{Name: name, Value: []byte(v)})
		}
	}
	return out
}

// requestOf is the view of a relayed request.
func requestOf(r *http.Request) request {
	return request{headers: headersOf(r.Header), method: r.Method, host: r.Host, path: r.RequestURI}
}

func (h headers) get(name string) string {
	v, _ := h.Header(name)
	return v
}

// request is the view of a request that policies are matched against. It reads
// the pseudo-headers once, as every policy asks for them.
type request struct {
	headers
	method, host, path string
}

func newRequest(h headers) request {
	return request{headers: h, method: h.get(":method"), host: h.get(":authority"), path: h.get(":path")}
}

func (r *request) Method() string { return r.method }
func (r *request) Host() string   { return r.host }
func (r *request) Path() string   { return r.path }

// wantsEvents says whether the client asks for an event stream by name. Browsers
// and MCP clients do; those that ask by the request's body do not.
func (r *request) wantsEvents() bool {
	for v := range strings.SplitSeq(r.get("accept"), ",") {
		if isMedia(v, eventStream) {
			return true
		}
	}
	return false
}

// cookie returns a cookie's value.
func (r *request) cookie(name string) (string, bool) {
	// "Cookie" is the one field whose values are joined with semicolons, HTTP/2
	// having split them: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3
	all, _ := r.join("cookie", ";")
	for pair := range strings.SplitSeq(all, ";") {
		k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if ok && k == name {
			return strings.Trim(v, `"`), true
		}
	}
	return "", false
}

// query returns a parameter of the query as it stands there, still escaped: it
// is only ever compared with itself.
func (r *request) query(name string) (string, bool) {
	_, q, _ := strings.Cut(r.path, "?")
	for pair := range strings.SplitSeq(q, "&") {
		if k, v, ok := strings.Cut(pair, "="); ok && k == name {
			return v, true
		}
	}
	return "", false
}

// isMedia compares a media type, parameters and case aside.
func isMedia(value, media string) bool {
	value, _, _ = strings.Cut(value, ";")
	return strings.EqualFold(strings.TrimSpace(value), media)
}

// isIdentity says whether a content-encoding is none.
func isIdentity(encoding string) bool {
	for v := range strings.SplitSeq(encoding, ",") {
		if v = strings.TrimSpace(v); v != "" && !strings.EqualFold(v, "identity") {
			return false
		}
	}
	return true
}

// withoutQuery is a path that may be shown: queries hold secrets.
func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return strings.Clone(path) // do not pin the rest
}
