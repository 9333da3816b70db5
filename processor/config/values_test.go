package config

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	tests := []struct {
		in    string
		want  Size
		shown string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1000", 1000, "1000"},
		{"1024", KiB, "1KiB"},
		{"64KiB", 64 * KiB, "64KiB"},
		{"64 KiB", 64 * KiB, "64KiB"},
		{"1536KiB", 1536 * KiB, "1536KiB"},
		{"2048KiB", 2 * MiB, "2MiB"},
		{"3GiB", 3 * GiB, "3GiB"},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807"},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.in)
		if err != nil || got != tt.want || got.String() != tt.shown {
			t.Errorf("ParseSize(%q) = %v (%d), %v; want %s (%d)", tt.in, got, got, err, tt.shown, tt.want)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "1.5MiB", "1MB", "1mib", "9007199254740993KiB", "9223372036854775808", "0x10", "1_0", "+1"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %v, want an error", in, got)
		}
	}
}

func TestDurations(t *testing.T) {
	tests := []struct {
		in    string
		want  time.Duration
		shown string
	}{
		{"0", 0, "0s"},
		{"100ms", 100 * time.Millisecond, "100ms"},
		{"90s", 90 * time.Second, "1m30s"},
		{"10m", 10 * time.Minute, "10m"},
		{"2h", 2 * time.Hour, "2h"},
		{"20h", 20 * time.Hour, "20h"},
		{"1h0m1s", time.Hour + time.Second, "1h0m1s"},
		{"1h30m", 90 * time.Minute, "1h30m"},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.in)
		if err != nil || got.Std() != tt.want || got.String() != tt.shown {
			t.Errorf("ParseDuration(%q) = %v, %v; want %s", tt.in, got, err, tt.shown)
		}
	}
	for _, in := range []string{"", "15", "-1s", "1d", "abc", "1e400s"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestValuesAsJSON(t *testing.T) {
	got, err := json.Marshal([]any{Size(0), Size(1000), KiB, Duration(time.Hour)})
	if err != nil || string(got) != `[0,1000,"1KiB","1h"]` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestAddresses(t *testing.T) {
	tests := []struct {
		in               Address
		network, address string
		loopback         bool
	}{
		{"unix:/run/x.sock", "unix", "/run/x.sock", true},
		{"unix:x.sock", "unix", "x.sock", true},
		{"127.0.0.1:9902", "tcp", "127.0.0.1:9902", true},
		{"127.1.2.3:0", "tcp", "127.1.2.3:0", true},
		{"[::1]:80", "tcp", "[::1]:80", true},
		{"LocalHost:80", "tcp", "LocalHost:80", true},
		{"0.0.0.0:80", "tcp", "0.0.0.0:80", false},
		{"[::]:80", "tcp", "[::]:80", false},
		{"10.0.0.1:80", "tcp", "10.0.0.1:80", false},
		{"example.com:80", "tcp", "example.com:80", false},
	}
	for _, tt := range tests {
		if err := checkAddress(string(tt.in)); err != nil {
			t.Errorf("%q: %v", tt.in, err)
		}
		network, address := tt.in.Split()
		if network != tt.network || address != tt.address || tt.in.Loopback() != tt.loopback {
			t.Errorf("%q: %s %s, loopback %v", tt.in, network, address, tt.in.Loopback())
		}
	}
	for _, in := range []string{
		"", ":9902", "localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:080",
		"::1:80", "http://127.0.0.1:80", "unix:", "unix:@name", "unix:///run/x.sock", "unix:/" + strings.Repeat("x", 107),
	} {
		if err := checkAddress(in); err == nil {
			t.Errorf("%q is accepted", in)
		}
	}
}
