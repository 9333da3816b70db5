package config

import (
	"testing"
)

type request struct {
	method, host, path string
	headers            map[string]string
}

func (r *request) Method() string { return r.method }
func (r *request) Host() string   { return r.host }
func (r *request) Path() string   { return r.path }
func (r *request) Header(name string) (string, bool) {
	v, ok := r.headers[name]
	return v, ok
}

// compile makes the policies of a file.
func compile(t testing.TB, file string) *Policies {
	t.Helper()
	cfg, err := Parse("test.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	p, err := cfg.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMatch(t *testing.T) {
	const get, url = "GET", "/events?id=1"
	tests := []struct {
		match string
		r     request
		want  bool
	}{
		{`{}`, request{method: get, host: "x", path: url}, true},
		{`{}`, request{method: "OPTIONS", host: "x", path: "*"}, false},

		{`{hosts: [Api.Example.com]}`, request{host: "aPI.example.COM", path: "/"}, true},
		{`{hosts: [api.example.com]}`, request{host: "api.example.com:8080", path: "/"}, true},
		{`{hosts: [api.example.com]}`, request{host: "xapi.example.com", path: "/"}, false},
		{`{hosts: [api.example.com]}`, request{host: "api.example.com.evil", path: "/"}, false},
		{`{hosts: [api.example.com]}`, request{host: "", path: "/"}, false},
		{`{hosts: ["api.example.com:443"]}`, request{host: "api.example.com:443", path: "/"}, true},
		{`{hosts: ["api.example.com:443"]}`, request{host: "api.example.com", path: "/"}, false},
		{`{hosts: ["api.example.com:443"]}`, request{host: "api.example.com:8443", path: "/"}, false},
		{`{hosts: ["*.example.com"]}`, request{host: "a.b.Example.com:1", path: "/"}, true},
		{`{hosts: ["*.example.com"]}`, request{host: "example.com", path: "/"}, false},
		{`{hosts: ["*.example.com"]}`, request{host: ".example.com", path: "/"}, false},
		{`{hosts: ["*.example.com"]}`, request{host: "badexample.com", path: "/"}, false},
		{`{hosts: ["*.example.com:8443"]}`, request{host: "a.example.com:8443", path: "/"}, true},
		{`{hosts: ["*.example.com:8443"]}`, request{host: "a.example.com:8444", path: "/"}, false},
		{`{hosts: ["[::1]"]}`, request{host: "[::1]:80", path: "/"}, true},
		{`{hosts: ["[::1]:80"]}`, request{host: "[::1]", path: "/"}, false},
		{`{hosts: [kelvin]}`, request{host: "\u212aelvin", path: "/"}, false},
		{`{hosts: [a, b]}`, request{host: "b", path: "/"}, true},

		{`{path_prefix: /v1}`, request{path: "/v1"}, true},
		{`{path_prefix: /v1}`, request{path: "/v1?q=1"}, true},
		{`{path_prefix: /v1}`, request{path: "/v10"}, true},
		{`{path_prefix: /v1/}`, request{path: "/v1?x=/v1/"}, false},
		{`{path_prefix: /v1}`, request{path: "/V1"}, false},
		{`{path_prefix: /v1}`, request{path: ""}, false},

		{`{methods: [get, POST]}`, request{method: "GET", path: "/"}, true},
		{`{methods: [get, POST]}`, request{method: "PUT", path: "/"}, false},

		{`{headers: {X-Team: a, accept: b}}`, request{path: "/", headers: map[string]string{"x-team": "a", "accept": "b"}}, true},
		{`{headers: {X-Team: a, accept: b}}`, request{path: "/", headers: map[string]string{"x-team": "a"}}, false},
		{`{headers: {X-Team: a}}`, request{path: "/", headers: map[string]string{"x-team": "A"}}, false},
		{`{headers: {X-Team: ""}}`, request{path: "/", headers: map[string]string{"x-team": ""}}, true},
		{`{headers: {X-Team: ""}}`, request{path: "/"}, false},

		{`{hosts: [h], path_prefix: /p, methods: [GET], headers: {a: b}}`, request{method: get, host: "h", path: "/p", headers: map[string]string{"a": "b"}}, true},
		{`{hosts: [h], path_prefix: /p, methods: [GET], headers: {a: b}}`, request{method: get, host: "i", path: "/p", headers: map[string]string{"a": "b"}}, false},
	}
	for _, tt := range tests {
		p := compile(t, "policies: [{match: "+tt.match+"}]")
		if got := p.Match(&tt.r) != nil; got != tt.want {
			t.Errorf("%s %+v: matches %v, want %v", tt.match, tt.r, got, tt.want)
		}
	}
}

func TestFirstMatchWins(t *testing.T) {
	p := compile(t, `
policies:
- {name: a, match: {path_prefix: /a/b}}
- {name: b, match: {path_prefix: /a}}
- {name: c, match: {path_prefix: /a/b/c}}
`)
	for path, want := range map[string]string{"/a": "b", "/a/b/c": "a", "/a/c": "b"} {
		if got := p.Match(&request{path: path}); got == nil || got.Name != want {
			t.Errorf("%s: got %v, want %s", path, got, want)
		}
	}
	if got := p.Match(&request{path: "/"}); got != nil {
		t.Errorf("/: got %s, want none", got.Name)
	}
	for i, policy := range p.All() {
		if policy.Index != i {
			t.Errorf("%s has index %d, want %d", policy.Name, policy.Index, i)
		}
	}
}

func TestNoPolicies(t *testing.T) {
	for name, p := range map[string]*Policies{"nil": nil, "zero": {}, "empty list": compile(t, "policies: []")} {
		if got := p.Match(&request{path: "/"}); got != nil || len(p.All()) != 0 {
			t.Errorf("%s: matches %v", name, got)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	p := compile(t, `
policies:
- {name: a, match: {hosts: [other.example.com, "*.other.org"]}}
- {name: b, match: {methods: [PUT]}}
- {name: c, match: {headers: {x-team: b}}}
- {name: d, match: {hosts: ["*.Example.com:8443"], path_prefix: /v1/, methods: [GET], headers: {x-team: a}}}
`)
	r := &request{"GET", "API.example.com:8443", "/v1/events?x=1", map[string]string{"x-team": "a"}}
	if n := testing.AllocsPerRun(100, func() {
		if got := p.Match(r); got == nil || got.Name != "d" {
			t.Fatal("wrong policy")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	p := compile(b, "")
	r := &request{"GET", "api.example.com:8443", "/v1/events?x=1", nil}
	for b.Loop() {
		p.Match(r)
	}
}
