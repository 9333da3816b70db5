package config

import (
	"regexp"
	"strings"
)

// hidden stands for a secret in what is shown.
const hidden = "***"

// Redacted returns a copy that may be shown to an operator: as JSON it has the
// file's keys and the effective values, and no secret. Hidden are what URLs
// carry for logging in, and the values of matched headers whose name suggests a
// credential. Paths of key files are no secrets.
func (c *Config) Redacted() *Config {
	out := *c
	out.Fetch.URL = redactURL(c.Fetch.URL)
	out.Store.URL = redactURL(c.Store.URL)
	out.Tracing.OTLPEndpoint = redactURL(c.Tracing.OTLPEndpoint)
	out.Policies = make([]PolicyConfig, len(c.Policies))
	for i, p := range c.Policies {
		headers := make(map[string]string, len(p.Match.Headers))
		for name, value := range p.Match.Headers {
			if suggestsSecret(name) {
				value = hidden
			}
			headers[name] = value
		}
		p.Match.Headers = headers
		out.Policies[i] = p
	}
	return &out
}

// redactURL hides user and password, and the query, for some Redis clients take
// the password there. It works on text and takes all up to the last @, so that a
// URL which does not parse, for its password has a slash in it, shows no more
// than one that does.
func redactURL(s string) string {
	s = regexp.MustCompile(`^([^/@]*//)?.*@`).ReplaceAllString(s, "${1}"+hidden+"@")
	s, query, _ := strings.Cut(s, "?")
	if query != "" {
		s += "?" + hidden
	}
	return s
}

func suggestsSecret(header string) bool {
	header = strings.ToLower(header)
	for _, word := range []string{"auth", "cookie", "token", "secret", "key", "password", "credential", "signature"} {
		if strings.Contains(header, word) {
			return true
		}
	}
	return false
}
