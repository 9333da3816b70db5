package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	bbolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// lockPatience is how long a process that is just ending may take to let go.
	lockPatience = time.Second

	// checkedSize is up to what size a file's pages are checked when it is opened:
	// about a tenth of a second for every 100 MiB.
	checkedSize = 1 << 30

	// toldProblems is how many of them are told.
	toldProblems = 3
)

// openFile opens a file that is ours, or is to become so. Nothing is written before
// that is certain.
func openFile(path string) (*file, error) {
	if path == "" {
		return nil, errors.New("the bolt store needs a file: set store.path")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("store %s: its directory does not exist; create it, or set store.path", path)
		}
	case err != nil:
		return nil, fmt.Errorf("store %s: %w", path, err)
	case info.IsDir():
		return nil, fmt.Errorf("store %s: is a directory; store.path names a file in it", path)
	case info.Size() > 0:
		if err := inspect(path, info.Size()); err != nil {
			return nil, err
		}
	}
	db, err := guarded(func() (*bbolt.DB, error) {
		return bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockPatience, FreelistType: bbolt.FreelistMapType, NoStatistics: true,
		})
	})
	if err != nil {
		return nil, explain(path, err)
	}
	if err := claim(path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &file{db: db, path: path}, nil
}

// inspect says what is wrong with a file, and changes nothing.
func inspect(path string, size int64) error {
	_, err := guarded(func() (*bbolt.DB, error) {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout: lockPatience, ReadOnly: true, PreLoadFreelist: true, NoStatistics: true,
		})
		if err != nil {
			return nil, err
		}
		err = db.View(func(tx *bbolt.Tx) error { return inspectPages(tx, size) })
		return nil, errors.Join(err, db.Close())
	})
	if err != nil {
		return explain(path, err)
	}
	return nil
}

var (
	errForeign = errors.New("it belongs to another program")
	errNewer   = errors.New("it was written by a newer version of Holdfast")
	errDamaged = errors.New("it is damaged")
)

func inspectPages(tx *bbolt.Tx, size int64) error {
	if tx.Size() > size {
		return fmt.Errorf("%w: %d bytes are missing at its end", errDamaged, tx.Size()-size)
	}
	if meta := tx.Bucket([]byte(bucketMeta)); meta == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return fmt.Errorf("%w: it has a bucket %q, and none of ours", errForeign, name)
		}
		return nil // made, and never used
	} else if format := meta.Get([]byte(keyFormat)); format == nil {
		return errForeign
	} else if string(format) != formatV1 {
		return fmt.Errorf("%w: its format is %q", errNewer, format)
	}
	if size > checkedSize {
		return nil
	}
	var problems []string
	for err := range tx.Check() { // which has to be read to its end
		if len(problems) < toldProblems {
			problems = append(problems, err.Error())
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", errDamaged, strings.Join(problems, "; "))
	}
	return nil
}

// explain says of an error what can be done about it.
func explain(path string, err error) error {
	const elsewhere = "The file is left as it is: move it away, or set store.path to another"
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("store %s: %s. One process at a time can use the file: stop that one, "+
			"set store.path to another file, or share a redis store", path, holder(path))
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, errForeign):
		return fmt.Errorf("store %s: not a store of Holdfast's (%w). %s", path, err, elsewhere)
	case errors.Is(err, errNewer):
		return fmt.Errorf("store %s: %w. %s", path, err, elsewhere)
	case errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, errDamaged), errors.Is(err, errPage):
		return fmt.Errorf("store %s: %w. %s; the sessions in it are lost with it", path, err, elsewhere)
	}
	return fmt.Errorf("store %s: %w", path, err)
}

// errPage is a page that bbolt panics about.
var errPage = errors.New("it is damaged")

// guarded turns a panic of bbolt's, and a fault in its mapping of the file, into
// an error: it has no other way to say that a page makes no sense.
func guarded[T any](f func() (T, error)) (result T, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPage, p)
		}
	}()
	return f()
}

// Who has the file is told by another beside it, for a lock does not tell.

func holderFile(path string) string { return path + ".pid" }

// claim says that this process has the file. It is called with the lock held.
func claim(path string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	text := fmt.Sprintf("%d %s %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(holderFile(path), []byte(text), 0o600); err != nil {
		return fmt.Errorf("store %s: %w", path, err)
	}
	return nil
}

func unclaim(path string) error {
	if err := os.Remove(holderFile(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store %s: %w", path, err)
	}
	return nil
}

// holder is who has the file, in words.
func holder(path string) string {
	text, err := os.ReadFile(holderFile(path))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) != 3 {
		return "another process is using it"
	}
	return fmt.Sprintf("process %s on host %s has been using it since %s", fields[0], fields[1], fields[2])
}
