// Command holdfast keeps event streams alive through Envoy. See the README, or
// holdfast --help.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"holdfast/envoy"
	"holdfast/processor/config"
)

// Exit codes, as the contract with scripts has them.
const (
	exitFailure = 1 // it could not do it, or found what it was asked to look for
	exitUsage   = 2 // it was asked for something impossible: arguments or configuration
)

// cli is the command line. Each command is a file.
type cli struct {
	Run       runCmd       `cmd:"" help:"Start Envoy and Holdfast in front of an upstream."`
	Serve     serveCmd     `cmd:"" help:"Run Holdfast alone, for an Envoy that runs elsewhere."`
	Bootstrap bootstrapCmd `cmd:"" help:"Print the Envoy configuration that run would use."`
	Lint      lintCmd      `cmd:"" help:"Find what in your own Envoy configuration breaks event streams."`
	Check     checkCmd     `cmd:"" help:"Validate a configuration file."`
	Top       topCmd       `cmd:"" help:"Watch the streams live in the terminal."`
	Sessions  sessionsCmd  `cmd:"" help:"Look at what is kept of clients, or forget it."`
	Health    healthCmd    `cmd:"" help:"Ask a running Holdfast whether it is ready."`
	Version   versionCmd   `cmd:"" help:"Print versions of Holdfast, Go and Envoy."`
}

const description = `Keeps event streams (SSE) alive and free of repeats between clients and the servers behind your Envoy.

Try it:  holdfast run --upstream http://127.0.0.1:3000`

// program is what commands get from outside, so that they reach for nothing
// themselves.
type program struct {
	stdout io.Writer
	stderr io.Writer
	place  envoy.Place
}

func main() {
	os.Exit(execute(os.Args[1:], &program{stdout: os.Stdout, stderr: os.Stderr, place: envoy.Here()}))
}

func execute(args []string, p *program) int {
	parser, err := kong.New(&cli{},
		kong.Name("holdfast"),
		kong.Description(description),
		kong.Writers(p.stdout, p.stderr),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, WrapUpperBound: helpWidth}),
		kong.Bind(p),
		kong.Vars{"default_listen": defaultListen, "default_admin": defaultAdmin, "default_upstream": defaultUpstream},
	)
	if err != nil {
		return p.fail(err, exitFailure)
	}
	ctx, err := parser.Parse(args)
	if missing := whichCommand(args, parser.Model.Children); missing != nil {
		err = missing
	}
	if err != nil {
		code := p.fail(err, exitUsage)
		fmt.Fprintln(p.stderr, "Run holdfast --help, or holdfast COMMAND --help.")
		return code
	}
	err = ctx.Run()
	switch coded, ok := errors.AsType[*codedError](err); {
	case err == nil:
		return 0
	case ok && coded.error == nil:
		return coded.code // everything was said
	}
	return p.fail(err, exitCode(err))
}

// whichCommand is the error of arguments that begin with no command, which names all
// there are; nil: they begin with one, or with a flag.
func whichCommand(args []string, commands []*kong.Node) error {
	names := make([]string, 0, len(commands))
	for _, c := range commands {
		names = append(names, c.Name)
	}
	all := strings.Join(names, ", ")
	switch {
	case len(args) == 0:
		return errors.New("name a command: " + all)
	case strings.HasPrefix(args[0], "-") || slices.Contains(names, args[0]):
		return nil
	}
	return fmt.Errorf("there is no command %q; there are %s", args[0], all)
}

// helpWidth keeps the help's text readable on wide terminals.
const helpWidth = 100

func (p *program) fail(err error, code int) int {
	fmt.Fprintf(p.stderr, "holdfast: %v\n", err)
	return code
}

// codedError is an error that decides the exit code. Without an error in it,
// there is nothing left to say.
type codedError struct {
	error
	code int
}

func (e *codedError) Error() string {
	if e.error == nil {
		return "see above"
	}
	return e.error.Error()
}

func (e *codedError) Unwrap() error { return e.error }

// usage marks what the user has to change before it can work.
func usage(err error) error { return &codedError{err, exitUsage} }

func exitCode(err error) int {
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	if _, ok := errors.AsType[*config.Error](err); ok {
		return exitUsage
	}
	return exitFailure
}
