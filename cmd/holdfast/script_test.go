package main

import (
	"errors"
	"flag"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts' golden files")

// The scripts run this test binary under the name holdfast.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"holdfast": main}) }

// TestScripts is the command line as a user meets it. What needs an Envoy is in
// test/e2e.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"admin":      startAdmin,
			"code":       wantCode,
			"eventually": eventually,
		},
		Setup: func(e *testscript.Env) error {
			// Only the first directory, which holds the programs of TestMain: an Envoy
			// of the machine's must not change what is printed.
			e.Setenv("PATH", filepath.SplitList(e.Getenv("PATH"))[0])
			e.Setenv("HOLDFAST_ENVOY", "")
			return nil
		},
	})
}

// wantCode is the script command "code N program args...": the exit code is part
// of the contract.
func wantCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// eventually is the script command "eventually program args...": it runs the
// program until it succeeds.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually program args...")
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still failing: %v", err)
		}
	}
}
