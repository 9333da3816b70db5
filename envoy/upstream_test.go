package envoy

import (
	"strings"
	"testing"
)

func TestParseUpstream(t *testing.T) {
	for _, c := range []struct{ in, want, authority string }{
		{"http://127.0.0.1:3000", "http://127.0.0.1:3000", "127.0.0.1:3000"},
		{"http://example.com", "http://example.com:80", "example.com"},
		{"HTTP://Example.COM/", "http://example.com:80", "example.com"},
		{"https://example.com", "https://example.com:443", "example.com"},
		{"https://example.com:8443", "https://example.com:8443", "example.com:8443"},
		{"http://example.com:443", "http://example.com:443", "example.com:443"},
		{"h2c://localhost:50051", "h2c://localhost:50051", "localhost:50051"},
		{"http://[::1]:3000", "http://[::1]:3000", "[::1]:3000"},
	} {
		u, err := ParseUpstream(c.in)
		if err != nil {
			t.Errorf("ParseUpstream(%q): %v", c.in, err)
			continue
		}
		if u.String() != c.want || u.authority() != c.authority {
			t.Errorf("ParseUpstream(%q) = %s with authority %s, want %s with %s", c.in, u, u.authority(), c.want, c.authority)
		}
	}
}

func TestParseUpstreamRefuses(t *testing.T) {
	for _, c := range []struct{ in, says string }{
		{"", "no scheme"},
		{"localhost:3000", "no scheme"},
		{"ftp://example.com", `"ftp" is not one of http, https, h2c`},
		{"unix:///run/x.sock", `"unix" is not one of`},
		{"http://", "no host"},
		{"http://:3000", "no host"},
		{"http://example.com/v1", `remove the path "/v1"`},
		{"http://example.com/?a=b", "remove what follows the host"},
		{"http://example.com#x", "remove what follows the host"},
		{"http://example.com:0", `port "0"`},
		{"http://example.com:70000", `port "70000"`},
		{"http://example.com:http", "not a URL"},
		{"http://user:secret@example.com", "remove the user name and password"},
		{"http://a b", "not a URL"},
		{"http://my_host", "not a host name"},
		{"http://a,http://b", "one URL at a time"},
	} {
		_, err := ParseUpstream(c.in)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("ParseUpstream(%q): error %v, want one that says %q", c.in, err, c.says)
		}
	}
}

// Errors end up in logs and terminals of other people.
func TestParseUpstreamKeepsSecrets(t *testing.T) {
	for _, in := range []string{
		"http://user:secret@example.com",
		"http://user:secret@exa mple.com:x",
		"user:secret@example.com",
		"ftp://secret@example.com/path@x",
		"http://u:secret%zz@h",
	} {
		if _, err := ParseUpstream(in); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("ParseUpstream(%q): error %v shows the password", in, err)
		}
	}
}

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Address
	}{
		{"127.0.0.1:8080", Address{Host: "127.0.0.1", Port: 8080}},
		{"localhost:0", Address{Host: "localhost"}},
		{"[::1]:80", Address{Host: "::1", Port: 80}},
		{"unix:/run/x.sock", Address{Path: "/run/x.sock"}},
		{"unix:///run/x.sock", Address{Path: "/run/x.sock"}},
	} {
		got, err := ParseAddress(c.in)
		if err != nil || got != c.want {
			t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", c.in, got, err, c.want)
		}
	}
	for _, c := range []struct{ in, says string }{
		{"", "is not an address"},
		{"8080", "is not an address"},
		{":8080", "write 127.0.0.1:8080 for this machine only"},
		{"host:http", `port "http"`},
		{"host:-1", `port "-1"`},
		{"host:65536", `port "65536"`},
		{"unix:", "names no socket"},
	} {
		if _, err := ParseAddress(c.in); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("ParseAddress(%q): error %v, want one that says %q", c.in, err, c.says)
		}
	}
}
