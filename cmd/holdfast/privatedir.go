package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"
)

const (
	privatePrefix = "holdfast-"
	lockName      = "lock"
	// maxSocketPath leaves room below what systems allow a unix socket's path to
	// have: 108 bytes on Linux, 104 on macOS and the BSDs.
	maxSocketPath = 100
	// longestInside is the longest name of a socket in the directory, and of the
	// random part of its own name.
	longestInside = len("/" + privatePrefix + "0123456789/" + loopbackSocket)
)

// privateDir is a directory that only this user can enter, for the sockets
// between us and Envoy. It is locked while we live, which is how a later run
// tells a directory in use from one left behind.
type privateDir struct {
	path string
	lock *os.File
}

// newPrivateDir makes one below the system's directory for temporary files, or
// below /tmp where that path is too long for sockets. Before that it removes
// what runs that were killed left there.
func newPrivateDir(log *zap.Logger) (*privateDir, error) {
	base := os.TempDir()
	if len(base)+longestInside > maxSocketPath {
		base = "/tmp"
	}
	removeStale(base, log)
	path, err := os.MkdirTemp(base, privatePrefix)
	if err != nil {
		return nil, fmt.Errorf("cannot make a private directory: %w; set TMPDIR to a directory with a short path that is writable", err)
	}
	lock, err := lockNew(path)
	if err != nil {
		_ = os.RemoveAll(path)
		return nil, fmt.Errorf("cannot make a private directory: %w", err)
	}
	return &privateDir{path: path, lock: lock}, nil
}

// file is the path of a file in the directory.
func (d *privateDir) file(name string) string { return filepath.Join(d.path, name) }

// remove deletes the directory with all it holds.
func (d *privateDir) remove() error {
	err := os.RemoveAll(d.path)
	return errors.Join(err, d.lock.Close())
}

// lockNew makes the lock under another name first: a directory whose lock file
// exists but is not locked yet would look left behind.
func lockNew(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName+".new"), os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		f.Close()
		return nil, err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, lockName)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// removeStale deletes the directories of runs that did not get to it: ours by
// name, owner and type, with a lock that nobody holds. Whatever is not certainly
// that, stays.
func removeStale(base string, log *zap.Logger) {
	found, err := filepath.Glob(filepath.Join(base, privatePrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range found {
		if !ownDirectory(dir) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			log.Debug("removing what a killed run left behind", zap.String("dir", dir), zap.Error(os.RemoveAll(dir)))
		}
		f.Close()
	}
}

// ownDirectory says that the path is a directory itself, not a link to one, that
// belongs to this user and that nobody else can enter.
func ownDirectory(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return false
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid()
}
