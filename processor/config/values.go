package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. It is written as a whole number of bytes, KiB, MiB
// or GiB; never negative.
type Size int64

// The units a Size can be written in.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// ParseSize reads a Size as it is written in the file.
func ParseSize(s string) (Size, error) {
	digits, unit := s, Size(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, unit = rest, u.size
			break
		}
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(digits, " "), 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("%q is too large", s)
	case err != nil:
		return 0, fmt.Errorf("%q is not a size: write whole bytes, KiB, MiB or GiB, such as 64KiB", s)
	case n > math.MaxInt64/uint64(unit):
		return 0, fmt.Errorf("%q is too large", s)
	}
	return Size(n) * unit, nil
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalJSON shows what a user would write: a number of bytes, or a text with
// a unit.
func (s Size) MarshalJSON() ([]byte, error) {
	if text := s.String(); strings.HasSuffix(text, "iB") {
		return strconv.AppendQuote(nil, text), nil
	}
	return strconv.AppendInt(nil, int64(s), 10), nil
}

type sizeUnit struct {
	name string
	size Size
}

func sizeUnits() [3]sizeUnit { return [...]sizeUnit{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} }

// Duration is a Go duration, such as 100ms, 15s or 1h30m; never negative.
type Duration time.Duration

// ParseDuration reads a Duration as it is written in the file. Zero needs no unit.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		if _, e := strconv.ParseFloat(s, 64); e == nil {
			return 0, fmt.Errorf("%q has no unit: write %[1]ss for seconds, or ms, m, h", s)
		}
		return 0, fmt.Errorf("%q is not a duration: write a number and ms, s, m or h, such as 15s", s)
	case d < 0:
		return 0, fmt.Errorf("%q is negative: a duration is 0 or more", s)
	}
	return Duration(d), nil
}

// Std is the duration as the standard library knows it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is time.Duration's, without parts that are zero: 1h rather than 1h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText makes JSON show what a user would write.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Address is where something listens: unix:/path/to.sock, or host:port with
// port 0 for any free one. Empty: it does not listen.
type Address string

// maxUnixPath is the longest path of a unix socket: sun_path has 108 bytes on
// Linux, the last of which is the terminating NUL
// (https://man7.org/linux/man-pages/man7/unix.7.html).
const maxUnixPath = 107

// Split returns the arguments for net.Listen or net.Dial: "unix" and a path, or
// "tcp" and host:port.
func (a Address) Split() (network, address string) {
	if path, ok := strings.CutPrefix(string(a), "unix:"); ok {
		return "unix", path
	}
	return "tcp", string(a)
}

// Loopback says that only this machine can reach the address: a unix socket, a
// loopback IP, or the name localhost.
func (a Address) Loopback() bool {
	network, address := a.Split()
	if network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func checkAddress(s string) error {
	const forms = "write unix:/path/to.sock or host:port, such as 127.0.0.1:9902"
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case path == "":
			return errors.New("the socket's path is missing: " + forms)
		case strings.HasPrefix(path, "@"):
			return errors.New("abstract sockets are not supported, for they have no file permissions: write unix:/path/to.sock")
		case strings.HasPrefix(path, "//"):
			return fmt.Errorf("%q is a URL: write unix:%s", s, "/"+strings.TrimLeft(path, "/"))
		case len(path) > maxUnixPath:
			return fmt.Errorf("the socket's path has %d bytes and the system allows %d: use a shorter one", len(path), maxUnixPath)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || strings.Contains(s, "/") {
		return fmt.Errorf("%q is not an address: %s", s, forms)
	}
	if host == "" {
		// Go would listen on every interface; that is too much to be asked for by
		// leaving something out.
		return fmt.Errorf("%q has no host: write 127.0.0.1:%s for this machine only, 0.0.0.0:%[2]s for every interface", s, port)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q has no port number at its end: it is 0 to 65535", s)
	}
	return nil
}
