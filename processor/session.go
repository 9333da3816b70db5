package processor

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"strings"

	"holdfast/processor/config"
	"holdfast/processor/seal"
	"holdfast/sessionstore"
)

// mcpSession is the header that names a session of the Model Context Protocol:
// https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
const mcpSession = "mcp-session-id"

// identity is whose request it is, as far as a policy looks. Credentials are
// hashed on the way in; nothing else of them is kept.
type identity struct {
	policy    *config.Policy
	principal digest // zero: the client sent no credential
	key       digest // zero: no session key
	source    config.KeySource
	place     digest // host and path
	line      sessionstore.LineID
	requestID uint64 // hash of x-request-id; zero: none
}

type digest [16]byte

// identify reads what tells the request's session from others.
func identify(p *config.Policy, r *request) identity {
	id := identity{policy: p}
	if src, v, ok := firstOf(p.Session.Principal, r); ok {
		id.principal = hash("principal", src.In.String(), src.Name, v)
	}
	if src, v, ok := firstOf(p.Session.Key, r); ok {
		id.named(src, v)
	}
	id.place = hash("place", hostOf(r.host), r.path)
	id.line = id.lineOf(r.method)
	if v := r.get("x-request-id"); v != "" {
		id.requestID = hash("request", v).number()
	}
	return id
}

// hostOf is an authority without its port, which says by what door a client came: a
// replica may have another one, and is the same place.
func hostOf(authority string) string {
	host := authority
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return strings.ToLower(host)
}

// lineOf is the line of a request with another method to the same place.
func (id *identity) lineOf(method string) sessionstore.LineID {
	return sessionstore.LineID(hash("line", method, string(id.place[:])))
}

// scope is what a sealed id is bound to. The method is not in it, for a stream that
// began with POST is taken up by GET.
func (id *identity) scope() seal.Scope {
	session := id.session()
	return seal.Scope(hash("seal", string(session[:]), string(id.place[:])))
}

// assigned completes an identity by the response: the first request of an MCP
// session has no key yet, its answer brings it.
func (id *identity) assigned(response headers) {
	if id.key != (digest{}) {
		return
	}
	for _, src := range id.policy.Session.Key {
		if src.In != config.InHeader || src.Name != mcpSession {
			continue
		}
		if v, ok := response.Header(src.Name); ok && v != "" {
			id.named(src, v)
			return
		}
	}
}

// named takes a session key. Its hash leaves the source's kind and name out of
// account only where an operator sees it.
func (id *identity) named(src config.KeySource, value string) {
	id.source, id.key = src, hash("key", src.In.String(), src.Name, value)
}

// session is a hash over policy, principal and session key, so no request can
// reach another principal's state. Requests with neither key nor principal share
// one session of their policy: they cannot be told apart, and what they share is
// only ever used where it matches by id, content and order.
func (id *identity) session() sessionstore.SessionID {
	return sessionstore.SessionID(hash("session", id.policy.Name, string(id.principal[:]), string(id.key[:])))
}

// closedBy says whether this response to a request of that method tells that the
// session is over.
//
//	"Clients that no longer need a particular session [...] SHOULD send an HTTP DELETE
//	to the MCP endpoint with the MCP-Session-Id header, to explicitly terminate the
//	session."
//	https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
func (id *identity) closedBy(method string, status int) bool {
	return method == http.MethodDelete && id.source.Name == mcpSession && status >= 200 && status < 300
}

// inRollout says whether the policy's mode is for this session. A session with a
// key or a principal stays on its side of the line. Requests that cannot be told
// apart are each decided by their x-request-id, so that a percentage is still
// one; without even that, by fallback.
func (id *identity) inRollout(fallback uint64) bool {
	switch percent := uint64(max(id.policy.Rollout, 0)); {
	case percent >= 100:
		return true
	case percent == 0:
		return false
	case !id.anonymous():
		s := id.session()
		return digest(s).number()%100 < percent
	case id.requestID != 0:
		return id.requestID%100 < percent
	default:
		return fallback%100 < percent
	}
}

// anonymous says that nothing in the request tells its client from any other. All such
// clients share a session, so none may get from a log what was sent to another one: an
// origin's ids can be guessed, and it may know its clients by something that we do not
// look at.
func (id *identity) anonymous() bool { return id.key == digest{} && id.principal == digest{} }

// storeKey is where the stream's state belongs.
func (id *identity) storeKey(window int, fresh bool) sessionstore.Key {
	k := sessionstore.Key{
		Session: id.session(),
		Line:    id.line,
		Info:    sessionstore.Info{Policy: id.policy.Name},
		Window:  window,
		Fresh:   fresh,
	}
	if id.principal != (digest{}) {
		k.Info.Principal = id.principal.short()
	}
	if id.key != (digest{}) {
		k.Info.Session = id.source.In.String() + ":" + id.source.Name + " " + id.key.short()
	}
	return k
}

// firstOf returns the first value there is.
func firstOf(sources []config.KeySource, r *request) (config.KeySource, string, bool) {
	for _, src := range sources {
		v, ok := "", false
		switch src.In {
		case config.InHeader:
			v, ok = r.Header(src.Name)
		case config.InCookie:
			v, ok = r.cookie(src.Name)
		case config.InQuery:
			v, ok = r.query(src.Name)
		}
		if ok && v != "" {
			return src, v, true
		}
	}
	return config.KeySource{}, "", false
}

// hash is a truncated SHA-256 over a list of strings. Each goes in with its
// length, so that no two lists look alike; the first says what the hash is for.
func hash(parts ...string) digest {
	h := make([]byte, 0, 256)
	for _, p := range parts {
		h = binary.AppendUvarint(h, uint64(len(p)))
		h = append(h, p...)
	}
	sum := sha256.Sum256(h)
	return digest(sum[:16])
}

func (d digest) number() uint64 { return binary.BigEndian.Uint64(d[:8]) }

// short is enough to tell the few that an operator looks at apart.
func (d digest) short() string { return hex.EncodeToString(d[:4]) }
