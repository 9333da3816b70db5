// Package quietport finds TCP ports for servers that have to come back at the
// same address.
//
// The kernel gives the ports of its ephemeral range to whoever asks for port 0,
// and to every connection that goes out. While a server with such a port is down,
// another program may get it, or any connection use it as its own end: then the
// server cannot return. So its port has to come from outside that range.
package quietport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Below the range of Linux (32768 to 60999) and of IANA (49152 and above), and
// above where services usually live.
// https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html
const (
	first = 20000
	end   = 32000
)

// Listen listens at a random free port of 127.0.0.1.
func Listen(ctx context.Context) (net.Listener, error) {
	var err error
	for range 100 {
		var lis net.Listener
		port := strconv.Itoa(first + rand.IntN(end-first))
		lis, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return lis, nil
		}
	}
	return nil, fmt.Errorf("no port between %d and %d is free: %w", first, end, err)
}

// Free returns the address of a port that was free a moment ago.
func Free(ctx context.Context) (string, error) {
	lis, err := Listen(ctx)
	if err != nil {
		return "", err
	}
	defer lis.Close()
	return lis.Addr().String(), nil
}
