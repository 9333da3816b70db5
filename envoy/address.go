package envoy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Address is a place to listen at or to connect to: a unix socket, or a host and
// a TCP port. The zero Address is unset.
type Address struct {
	Path string // of a unix socket; the other fields are then zero
	Host string // an IP address or a DNS name, without brackets
	Port uint16 // zero asks for any free port, where one listens
}

// ParseAddress reads "unix:/path" or "host:port".
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		// URLs spell it with three slashes.
		if strings.HasPrefix(path, "///") {
			path = path[2:]
		}
		if path == "" {
			return Address{}, fmt.Errorf("%q names no socket file; write unix:/path/to.sock", s)
		}
		return Address{Path: path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("%q is not an address; write host:port, for example 127.0.0.1:8080, or unix:/path/to.sock", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("%q: port %q is not a number from 0 to 65535", s, port)
	}
	if host == "" {
		// Go and others take this for every interface; that is too much to be asked
		// for by leaving something out.
		return Address{}, fmt.Errorf("%q has no host; write 127.0.0.1:%s for this machine only, or 0.0.0.0:%[2]s for every interface", s, port)
	}
	return Address{Host: host, Port: uint16(n)}, nil
}

// IsUnix says whether the address is a unix socket.
func (a Address) IsUnix() bool { return a.Path != "" }

// Network is "unix" or "tcp", as package net names them.
func (a Address) Network() string {
	if a.IsUnix() {
		return "unix"
	}
	return "tcp"
}

// Dial is the address as package net takes it, to go with Network.
func (a Address) Dial() string {
	if a.IsUnix() {
		return a.Path
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// String is the form ParseAddress reads.
func (a Address) String() string {
	if a.IsUnix() {
		return "unix:" + a.Path
	}
	return a.Dial()
}

// bindable is the address with a literal IP: Envoy refuses to listen at a name.
func (a Address) bindable() (Address, error) {
	if a.IsUnix() {
		return a, nil
	}
	if a.Host == "localhost" {
		a.Host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(a.Host); err != nil {
		return Address{}, fmt.Errorf("cannot listen at %q: %q is not an IP address; Envoy binds to addresses, not to names", a, a.Host)
	}
	return a, nil
}

func (a Address) proto() *corev3.Address {
	if a.IsUnix() {
		return pipe(a.Path, 0)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.Host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port)},
	}}}
}

// pipe is a unix socket; mode zero leaves the permissions to the umask.
func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Reachable is the address for a client on this machine: one that means "every
// interface" becomes loopback.
func (a Address) Reachable() Address {
	switch a.Host {
	case "0.0.0.0":
		a.Host = "127.0.0.1"
	case "::":
		a.Host = "::1"
	}
	return a
}
