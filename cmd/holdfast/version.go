package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"holdfast/envoy"
)

// Set by the linker: -ldflags "-X main.release=v1.2.3 -X main.commit=abc123".
//
//nolint:gochecknoglobals // the linker sets nothing else
var (
	release = "dev"
	commit  = ""
)

type versionCmd struct {
	Envoy string `placeholder:"PATH" help:"The Envoy binary to ask, instead of looking for one."`
}

// Help is shown by version --help.
func (*versionCmd) Help() string {
	return `The Envoy shown is the one that run would start: --envoy, else $HOLDFAST_ENVOY, else envoy on the PATH, else .tools/envoy in a checkout of this project.

Example:

    holdfast version`
}

// Run never fails for want of an Envoy: that none was found is the answer.
func (c *versionCmd) Run(p *program) error {
	_, err := fmt.Fprintf(p.stdout, "holdfast %s (commit %s)\ngo       %s %s/%s\nenvoy    %s\n",
		release, builtFrom(), runtime.Version(), runtime.GOOS, runtime.GOARCH, c.envoy(p))
	return err
}

func (c *versionCmd) envoy(p *program) string {
	bin, err := envoy.Find(c.Envoy, p.place)
	if err != nil {
		return err.Error()
	}
	v, err := envoy.Probe(context.Background(), bin.Path)
	if err != nil {
		return "unusable: " + err.Error()
	}
	return fmt.Sprintf("%s (%s, from %s)", v, bin.Path, bin.From)
}

// builtFrom is the commit, from the linker or as the toolchain noted it.
func builtFrom() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	return revision + modified
}
