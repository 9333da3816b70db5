package main

import (
	"io"
	"net/http"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"holdfast/processor/config"
)

// TestAdminEndsWatches: whoever watches the streams sees a clean end when the
// process goes away, and its EventSource comes back.
func TestAdminEndsWatches(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	svc, err := newService(config.Default(), zap.New(core), zap.NewAtomicLevel(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.admin.start(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	at, _ := logs.FilterMessage("admin is up").All()[0].ContextMap()["address"].(string)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+"/api/v1/streams/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	svc.stop()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the watch stream ended with: %v", err)
	}
}
