package upstream

import (
	"net/http"
	"slices"
	"strings"

	"holdfast/processor/pass"
)

// StripHopByHop removes from h the fields that are about one connection.
//
//	"Intermediaries MUST parse a received Connection header field before a
//	message is forwarded and, for each connection-option in this field, remove
//	any header or trailer field(s) from the message with the same name as the
//	connection-option, and then remove the Connection header field itself [...].
//	Furthermore, intermediaries SHOULD remove or replace fields that are known to
//	require removal before forwarding, [...] Proxy-Connection [...] Keep-Alive
//	[...] TE [...] Transfer-Encoding [...] Upgrade"
//	https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
//
// Proxy-Authorization and Proxy-Authenticate are left: who they are for is
// Envoy's business. The names of h have to be in canonical form.
func StripHopByHop(h http.Header) {
	for _, options := range h["Connection"] {
		for name := range strings.SplitSeq(options, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// ours is how the names of our own headers begin. What a client sends under such
// a name goes nowhere.
const ours = "X-Holdfast-"

// outgoing returns the header to send on for a received one, which it leaves as
// it is (the values are shared).
func outgoing(in http.Header) http.Header {
	out := make(http.Header, len(in)+4)
	for name, values := range in {
		name = http.CanonicalHeaderKey(name)
		switch {
		case strings.HasPrefix(name, ":"), strings.HasPrefix(name, ours):
		case name == "Host", name == "Content-Length":
			// The authority and the body say it.
		case name == "Trailer":
			// Made anew from the trailers that will be sent.
		case name == "Expect":
			// The body is sent at once. A 100 (Continue) has been given by
			// Envoy, before the client sent it.
		case out[name] != nil:
			out[name] = append(slices.Clip(out[name]), values...)
		default:
			out[name] = values
		}
	}
	trailers := acceptsTrailers(out)
	StripHopByHop(out)
	if trailers {
		// The one option that is still of use, for we pass trailers on.
		out["Te"] = []string{"trailers"}
	}
	// What comes encoded cannot be read event by event.
	out["Accept-Encoding"] = []string{"identity"}
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = nil // or the transport would name itself
	}
	return out
}

func acceptsTrailers(h http.Header) bool {
	for _, options := range h["Te"] {
		for option := range strings.SplitSeq(options, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "trailers") {
				return true
			}
		}
	}
	return false
}

// HopsHeader lists the processes that have fetched a request, oldest first, by a
// random name that each has chosen. So one that comes back is recognised, as RFC
// 9110 does it with Via and HTTP's CDNs with CDN-Loop
// (https://www.rfc-editor.org/rfc/rfc8586).
const HopsHeader = "x-holdfast-hops"

// PeekHeader marks a request of which the filter before each host is to see every
// try; its value is the policy's name. It goes no further than there.
const PeekHeader = "x-holdfast-peek"

// maxHops bounds the chain where each round meets another replica. A chain of
// gateways that each hold the stream is shorter.
const maxHops = 8

// Looped reports whether a request with this value of [HopsHeader] has been
// fetched by this Dialer, or by too many others. Such a request is best left
// alone.
func (d *Dialer) Looped(hops string) bool {
	if hops == "" {
		return false
	}
	n := 0
	for name := range strings.SplitSeq(hops, ",") {
		if n++; n >= maxHops || strings.TrimSpace(name) == d.name {
			return true
		}
	}
	return false
}

// sign adds to out what tells us our own request when it meets us again.
func (d *Dialer) sign(out http.Header, r *Request) error {
	hops := strings.Join(r.Header.Values(HopsHeader), ",")
	if d.Looped(hops) {
		return &LocalError{Looped, ErrLoop}
	}
	if hops != "" {
		hops += ","
	}
	out.Set(HopsHeader, hops+d.name)
	if r.Peek {
		out.Set(PeekHeader, r.Policy)
	}
	if d.pass == nil {
		return nil
	}
	token, err := d.pass.Sign(d.now(), pass.Pass, pass.Claims{
		Policy: r.Policy, Method: r.Method, Authority: r.Authority, Path: r.Path,
	})
	if err != nil {
		return &LocalError{Malformed, err}
	}
	out.Set(pass.PassHeader, token)
	return nil
}
