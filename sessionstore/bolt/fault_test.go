package bolt_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"holdfast/sessionstore"
	"holdfast/sessionstore/bolt"
)

func record(n uint64) []sessionstore.Record {
	return []sessionstore.Record{{Seq: n, ID: fmt.Append(nil, n), Wire: fmt.Appendf(nil, "data: %d\n\n", n)}}
}

// writer is another process that has a file.
type writer struct {
	cmd  *exec.Cmd
	says *bufio.Scanner
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	w := &writer{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriter$")}
	w.cmd.Env = append(os.Environ(), "BOLT_WRITER="+path)
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.kill)
	w.says = bufio.NewScanner(out)
	return w
}

func (w *writer) kill() {
	_ = w.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, readerOf(w.says))
	_ = w.cmd.Wait()
}

// readerOf reads on what a scanner has not read.
func readerOf(s *bufio.Scanner) io.Reader {
	for s.Scan() {
	}
	return strings.NewReader("")
}

// TestWriter is that process: it says which lease it has, and of each record when it is
// stored.
func TestWriter(t *testing.T) {
	path := os.Getenv("BOLT_WRITER")
	if path == "" {
		return // it is no test of its own
	}
	s, err := bolt.Open(bolt.Options{Path: path}) // stores before it returns
	if err != nil {
		t.Fatal(err)
	}
	lease, _, err := s.Claim(t.Context(), sessionstore.Key{
		Session: sessionstore.SessionID{byte(rand.Uint32()), 1}, Line: sessionstore.LineID{1},
		Log: sessionstore.LogLimits{Events: 1 << 20, Bytes: 1 << 30},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(lease)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(text))
	for n := uint64(1); ; n++ {
		if err := s.Append(t.Context(), lease, time.Time{}, record(n)); err != nil {
			t.Fatal(err)
		}
		fmt.Println(n)
	}
}

// TestKilled: a process dies in the middle of writing, again and again, and all that it
// had said to be stored is in the file.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	for round := range 20 {
		w := startWriter(t, path)
		var lease sessionstore.Lease
		if !w.says.Scan() || json.Unmarshal(w.says.Bytes(), &lease) != nil {
			t.Fatalf("the writer says %q", w.says.Text())
		}
		for range 1 + rand.IntN(50) {
			if !w.says.Scan() {
				t.Fatal("the writer ended")
			}
		}
		_ = w.cmd.Process.Kill()
		last := w.says.Text()
		for w.says.Scan() { // what it had still said
			last = w.says.Text()
		}
		_ = w.cmd.Wait()
		stored, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			t.Fatal(err)
		}

		s, err := bolt.Open(bolt.Options{Path: path})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		at := sessionstore.Position{Session: lease.Session, Line: lease.Line, Number: lease.Number}
		page, err := s.After(t.Context(), at, sessionstore.PageLimits{Records: 1 << 20, Bytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if uint64(len(page.Records)) < stored || page.Live {
			t.Errorf("round %d: %d records of %d are there; live: %t", round, len(page.Records), stored, page.Live)
		}
		for i, r := range page.Records {
			if want := record(uint64(i) + 1)[0]; r.Seq != want.Seq || !bytes.Equal(r.Wire, want.Wire) || !bytes.Equal(r.ID, want.ID) {
				t.Fatalf("round %d: record %d is %d %q", round, want.Seq, r.Seq, r.Wire)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTwoProcesses: the second is told who has the file, and may have it afterwards.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	w := startWriter(t, path)
	if !w.says.Scan() {
		t.Fatal("the writer ended")
	}
	_, err := bolt.Open(bolt.Options{Path: path})
	want := fmt.Sprintf("process %d ", w.cmd.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "store.path") {
		t.Errorf("the second process is told %v, want %q and what to do", err, want)
	}
	w.kill()
	s, err := bolt.Open(bolt.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestFilesThatAreNotOurs, or not whole, are refused with what to do, and left as they
// are.
func TestFilesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	used := filepath.Join(t.TempDir(), "holdfast.db")
	s, err := bolt.Open(bolt.Options{Path: used})
	if err != nil {
		t.Fatal(err)
	}
	lease, _, err := s.Claim(t.Context(), sessionstore.Key{
		Session: sessionstore.SessionID{1}, Log: sessionstore.LogLimits{Events: 1 << 10, Bytes: 1 << 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(300) {
		if err := s.Append(t.Context(), lease, time.Time{}, record(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(used)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	bucket := func(name, key, value string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists([]byte(name))
				if err != nil {
					return err
				}
				return b.Put([]byte(key), []byte(value))
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	bytesOf := func(b []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	spoilt := func(from, to int) []byte {
		b := bytes.Clone(whole)
		for i := range b[from:to] {
			b[from+i] ^= 0x5a
		}
		return b
	}
	for _, test := range []struct {
		name string
		make func(*testing.T, string)
		want string
	}{
		{"text", bytesOf([]byte(strings.Repeat("this is no database\n", 1000))), "not a store of Holdfast's"},
		{"a few bytes", bytesOf([]byte("x")), "not a store of Holdfast's"},
		{"another program's", bucket("widgets", "a", "b"), "not a store of Holdfast's"},
		{"of a later version", bucket("holdfast", "format", "99"), "newer version"},
		{"cut off", bytesOf(whole[:len(whole)/2]), "damaged"},
		{"both beginnings spoilt", bytesOf(spoilt(0, 2*page)), "not a store of Holdfast's"},
		{"all but the beginning spoilt", bytesOf(spoilt(2*page, len(whole))), "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "holdfast.db")
			test.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := bolt.Open(bolt.Options{Path: path})
			if err == nil {
				_ = s.Close()
				t.Fatal("it is taken")
			}
			for _, want := range []string{test.want, path, "The file is left as it is: move it away, or set store.path"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want %q in it", err, want)
				}
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	for name, path := range map[string]string{
		"is a directory":               t.TempDir(),
		"its directory does not exist": filepath.Join(t.TempDir(), "no", "holdfast.db"),
		"set store.path":               "",
	} {
		if _, err := bolt.Open(bolt.Options{Path: path}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("path %q: %v, want %q", path, err, name)
		}
	}
}
