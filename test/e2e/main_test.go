// Package e2e tests the built program before a real Envoy: what goes in at the
// origin and what comes out at the client, byte for byte. `make envoy` fetches
// the Envoy; without it these tests fail rather than pass by doing nothing.
package e2e

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event writes one event as most servers do.
func event(id, data string) string {
	if id == "" {
		return "data: " + data + "\n\n"
	}
	return "id: " + id + "\ndata: " + data + "\n\n"
}

// events writes events from..to, with their number as id and distinct data.
func events(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(event(fmt.Sprint(n), fmt.Sprintf("event %d", n)))
	}
	return b.String()
}
