package main

import (
	"errors"
	"fmt"

	"holdfast/processor/config"
)

type checkCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The file to check."`
}

// Help is shown by check --help.
func (*checkCmd) Help() string {
	return `Prints every problem of the file with its line and what would be allowed. Changes nothing.

Exit code: 0 the file is good, 1 it is not, 2 it cannot be read.

Example:

    holdfast check --config holdfast.yaml`
}

// Run has an exit code of its own for bad files: finding them is its job, and a
// finding is not a misuse.
func (c *checkCmd) Run(p *program) error {
	cfg, err := config.Load(c.Config)
	if err == nil {
		_, err = cfg.Compile()
	}
	var bad *config.Error
	switch {
	case errors.As(err, &bad):
		return &codedError{err, exitFailure}
	case err != nil:
		return usage(err)
	}
	fmt.Fprintf(p.stdout, "%s is good: %s.\n", c.Config, count(len(cfg.Policies), "policy", "policies"))
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
