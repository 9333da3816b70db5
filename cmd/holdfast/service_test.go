package main

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/test/bufconn"

	"holdfast/processor/config"
)

// TestDeadEnvoyIsNoticed: an Envoy whose machine is gone says nothing any more,
// not even that. Its streams must not stay for the two hours that are grpc-go's
// default.
func TestDeadEnvoyIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc, err := newService(config.Default(), zap.NewNop(), zap.NewAtomicLevel(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer svc.stop()
		lis := bufconn.Listen(1 << 10)
		svc.serve(lis)
		conn, err := lis.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// "a sequence of 24 octets", then a SETTINGS frame, which may be empty:
		// https://www.rfc-editor.org/rfc/rfc9113#section-3.4
		if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, _ = io.Copy(io.Discard, conn) // until the server closes it
		if d := time.Since(began); d > 2*time.Minute {
			t.Errorf("noticed after %v", d)
		}
	})
}
