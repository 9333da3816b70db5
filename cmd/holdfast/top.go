package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"

	"holdfast/cmd/holdfast/top"
)

type topCmd struct {
	adminFlags

	Sort  string `placeholder:"FIELD" help:"The order: a field of /api/v1/streams, with - before it for the reverse, as in --sort=-events (default: started, the oldest first; of ended streams -ended)."`
	State string `enum:"live,resuming,ended,bad,all" default:"live" help:"Which streams: live, resuming, ended, bad (ended cut or with a gap) or all (default: ${default})."`
	Find  string `placeholder:"TEXT" help:"Only streams with this in path, id, session, host or cursor."`
	Rows  int    `default:"20" help:"Without a terminal: the most streams to print (default: ${default})."`
	Count int    `default:"1" help:"Without a terminal: how often to print, a second apart (default: ${default})."`
	Wide  int    `default:"180" help:"Without a terminal: the width of lines (default: ${default})."`
}

// Help is shown by top --help.
func (*topCmd) Help() string {
	return `Shows what is wrong, the course of the last 15 minutes and the streams, live. q ends it; < and > choose the column to sort by, r turns the order round, f goes through running, resuming, ended, badly ended and all streams, / finds, j k n p and the arrows move, Space holds the picture still.

If standard output is no terminal, the table is printed once, or --count times. $NO_COLOR turns colours off.

Exit code: 0 ended by the user or printed, 1 no Holdfast answers, 2 bad arguments.

Examples:

    holdfast top
    holdfast top --admin unix:/run/holdfast/admin.sock --state resuming
    holdfast top --sort=-events
    holdfast top --state bad --rows 100 > cuts.txt`
}

// Run draws on a terminal, and prints where there is none.
func (c *topCmd) Run(p *program) error {
	switch {
	case c.Rows < 1 || c.Rows > 1000:
		return usage(errors.New("--rows is 1 to 1000"))
	case c.Count < 1:
		return usage(errors.New("--count is 1 or more"))
	case c.Wide < 20 || c.Wide > 1000:
		return usage(errors.New("--wide is 20 to 1000"))
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	o := top.Options{
		At: c.Admin,
		Get: func(ctx context.Context, path string) (*http.Response, error) {
			return client.send(ctx, http.MethodGet, path)
		},
		Query: top.Query{Sort: c.Sort, State: c.State, Text: c.Find, Limit: c.Rows},
	}
	if c.State == "bad" {
		o.Query.State, o.Query.Bad = "ended", true
	}
	if c.Sort == "" {
		o.Query.Sort = "started"
		if o.Query.State == "ended" {
			o.Query.Sort = "-ended"
		}
	}
	stop, forget := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer forget()
	terminal, ok := p.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return badQuery(top.Print(stop, p.stdout, o, c.Count, c.Wide))
	}
	// That nobody answers is better said on an ordinary screen.
	ready, cancel := context.WithTimeout(stop, askTimeout)
	defer cancel()
	if err := badQuery(top.Print(ready, io.Discard, o, 1, c.Wide)); err != nil {
		return err
	}
	o.Color = p.place.Getenv("NO_COLOR") == "" && !strings.HasPrefix(p.place.Getenv("TERM"), "dumb")
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	return top.Run(stop, os.Stdin, terminal, resized, o)
}

// badQuery makes an order that the server does not know the user's mistake that
// it is.
func badQuery(err error) error {
	if e, ok := errors.AsType[*apiError](err); ok && e.status == http.StatusBadRequest {
		return usage(err)
	}
	if errors.Is(err, context.Canceled) {
		return nil // by a signal, and that is how it ends
	}
	return err
}
