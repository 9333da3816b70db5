package envoy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EnvVar names an Envoy binary for those who do not want to repeat a flag.
const EnvVar = "HOLDFAST_ENVOY"

// Binary is an Envoy program that exists and may be executed.
type Binary struct {
	Path string // absolute
	From string // how it was found, for people: "--envoy", "$HOLDFAST_ENVOY", "PATH", ".tools"
}

// Place is where a search starts.
type Place struct {
	Getenv     func(string) string
	Dir        string // the working directory
	Executable string // our own program; "" if unknown
}

// Here is the Place of this process.
func Here() Place {
	p := Place{Getenv: os.Getenv}
	// Without these the search has fewer places to look, and says where it looked.
	p.Dir, _ = os.Getwd()
	if exe, err := os.Executable(); err == nil {
		if p.Executable, err = filepath.EvalSymlinks(exe); err != nil {
			p.Executable = exe
		}
	}
	return p
}

// Find returns the binary that was named, else the one in $HOLDFAST_ENVOY, else
// envoy on the PATH, else .tools/envoy in a checkout of this project. A binary
// that was asked for by name is never silently replaced by another one.
func Find(named string, p Place) (Binary, error) {
	if named != "" {
		return asked(named, "--envoy")
	}
	if env := p.Getenv(EnvVar); env != "" {
		return asked(env, "$"+EnvVar)
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return absolute(path, "PATH")
	}
	looked := []string{"--envoy (not given)", "$" + EnvVar + " (not set)", "PATH"}
	for _, dir := range checkouts(p) {
		path := filepath.Join(dir, ".tools", "envoy")
		if executable(path) == nil {
			return absolute(path, ".tools")
		}
		looked = append(looked, path)
	}
	return Binary{}, fmt.Errorf("no Envoy found; run \"make envoy\" in the project's directory to get one, or name yours with --envoy. Looked at: %s",
		strings.Join(looked, ", "))
}

// asked insists on what a user named: a file, or a program on the PATH.
func asked(name, from string) (Binary, error) {
	path := name
	if !strings.ContainsRune(name, filepath.Separator) {
		if found, err := exec.LookPath(name); err == nil {
			path = found
		}
	}
	if err := executable(path); err != nil {
		return Binary{}, fmt.Errorf("%s names %s: %w; run \"make envoy\" to get one in .tools/envoy", from, name, err)
	}
	return absolute(path, from)
}

func absolute(path, from string) (Binary, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Binary{}, fmt.Errorf("finding Envoy: %w", err)
	}
	return Binary{Path: abs, From: from}, nil
}

// executable says why a file cannot be run; nil if it can.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case err != nil:
		if at, ok := errors.AsType[*fs.PathError](err); ok {
			return at.Err
		}
		return err
	case info.IsDir():
		return errors.New("that is a directory")
	case info.Mode()&0o111 == 0:
		return errors.New("that file is not executable")
	}
	return nil
}

// checkouts are directories that hold this project: the working directory and
// its parents, and the one our own program was built into.
func checkouts(p Place) []string {
	var dirs []string
	add := func(dir string) {
		if !slices.Contains(dirs, dir) && isCheckout(dir) {
			dirs = append(dirs, dir)
		}
	}
	for dir := p.Dir; dir != ""; dir = filepath.Dir(dir) {
		add(dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if p.Executable != "" {
		add(filepath.Dir(filepath.Dir(p.Executable))) // bin/holdfast
	}
	return dirs
}

// isCheckout keeps other projects' Makefiles and .tools out of the search.
func isCheckout(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "Makefile")); err != nil {
		return false
	}
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadString('\n')
	return err == nil && strings.TrimSpace(line) == "module holdfast"
}

// Version of an Envoy.
type Version struct{ Major, Minor, Patch int }

// Recommended is the first version that has everything the generated
// configuration and the processor use: 1.37.0 refuses the public listener's
// per_connection_buffer_high_watermark_timeout.
func Recommended() Version { return Version{1, 38, 0} }

// String is the dotted form.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// ParseVersion reads three numbers with dots between them, as String writes them.
func ParseVersion(s string) (v Version, err error) {
	n, err := fmt.Sscanf(s, "%d.%d.%d", &v.Major, &v.Minor, &v.Patch)
	if err != nil || n != 3 || v.String() != s || strings.Contains(s, "-") {
		return Version{}, fmt.Errorf("%q is not the version of an Envoy; write it like 1.40.0, which is what envoy --version says", s)
	}
	return v, nil
}

// Before compares versions.
func (v Version) Before(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Patch < w.Patch
}

// versionLine is "… version: <commit>/1.40.0/Clean/RELEASE/BoringSSL".
var versionLine = regexp.MustCompile(`version: [0-9a-f]*/(\d+)\.(\d+)\.(\d+)`)

// Probe asks a binary for its version. It takes a tenth of a second, and at most
// ten seconds.
func Probe(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return Version{}, fmt.Errorf("%s --version: %w%s", path, err, firstLine(out))
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Version{}, fmt.Errorf("%s is not Envoy: its --version says%s", path, firstLine(out))
	}
	var v Version
	for i, n := range []*int{&v.Major, &v.Minor, &v.Patch} {
		if *n, err = strconv.Atoi(string(m[i+1])); err != nil {
			return Version{}, fmt.Errorf("%s --version: %w", path, err)
		}
	}
	return v, nil
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return ""
	}
	return fmt.Sprintf(": %.200q", line)
}
