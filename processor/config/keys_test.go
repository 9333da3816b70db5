package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestEveryKeyIsInTheTableOnce(t *testing.T) {
	table := map[string]key{}
	var order []string
	for _, k := range keys() {
		if _, dup := table[k.path]; dup {
			t.Errorf("%s is in the table twice", k.path)
		}
		table[k.path] = k
		order = append(order, k.path)
		if k.doc == "" || len(k.values) == 0 && k.bounds == nil && k.shape == "" {
			t.Errorf("%s lacks a doc or its allowed values", k.path)
		}
		if strings.ContainsAny(k.doc+k.zero+k.shape, "|\n") {
			t.Errorf("%s has a text that breaks the table of docs/configuration.md", k.path)
		}
	}
	var fields []string
	for _, l := range leaves(Default()) {
		fields = append(fields, l.key)
	}
	if !reflect.DeepEqual(order, fields) {
		t.Errorf("the table and Config differ:\n%q\n%q", order, fields)
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	a, b := Default(), Default()
	a.Policies[0].Match.Headers["x"] = "y"
	a.Policies[0].Session.Key[0] = "z"
	if reflect.DeepEqual(a, b) {
		t.Error("two Defaults share memory")
	}
}

func TestValidateWithoutFile(t *testing.T) {
	cfg := Default()
	cfg.Listen = "localhost"
	cfg.Policies[0].Heartbeat = -1
	err := cfg.Validate()
	want := `listen: "localhost" is not an address: write unix:/path/to.sock or host:port, such as 127.0.0.1:9902
policy "default": heartbeat: -1ns is out of range: it must be 0 or 10ms to 24h`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := cfg.Compile(); err == nil {
		t.Error("Compile accepts what Validate refuses")
	}
}
