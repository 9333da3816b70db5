package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Options are what to show, and where.
type Options struct {
	At    string // the address that is watched, to be shown
	Get   Get
	Query Query
	Color bool
}

// Print writes the table count times, a second apart, without a terminal: for
// pipes and logs. wide is the width of its lines.
func Print(ctx context.Context, out io.Writer, o Options, count, wide int) error {
	v := View{At: o.At, Query: o.Query, Color: o.Color}
	for n := range count {
		if n > 0 {
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil
			}
		}
		p := new(Picture)
		err := follow(ctx, o.Get, v.Query, func(event string, data []byte) error {
			if err := p.Apply(event, data); err != nil || event != "history" {
				return err
			}
			return errEnough // the history is the last of what is told at first
		})
		if !errors.Is(err, errEnough) {
			return err
		}
		for _, l := range v.plain(p, wide) {
			if _, err := fmt.Fprintln(out, strings.TrimRight(l, " ")); err != nil {
				return err
			}
		}
	}
	return nil
}

var errEnough = errors.New("top: that is all")

// plain is the picture without keys and fillings.
func (v *View) plain(p *Picture, wide int) []string {
	height := fixed + max(len(p.Streams), 1)
	lines := v.Lines(p, p.At, wide, height)
	return lines[:len(lines)-1]
}

// Run shows the table until the user leaves or ctx ends. in and out are the same
// terminal. resized tells of changes of its size; it may be nil.
func Run(ctx context.Context, in, out *os.File, resized <-chan os.Signal, o Options) (err error) {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("the terminal cannot be used: %w", err)
	}
	_, _ = out.WriteString(enter)
	defer func() {
		_, _ = out.WriteString(leave)
		_ = term.Restore(int(in.Fd()), before)
	}()
	r := &running{
		Options: o, out: out, screen: screen{out: out},
		view:   View{At: o.At, Query: o.Query, Color: o.Color},
		keys:   make(chan string),
		told:   make(chan message),
		failed: make(chan failure),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go read(ctx, in, r.keys)
	return r.loop(ctx, resized)
}

// read hands on keys. It ends with the program: a read from a terminal cannot be
// taken back.
func read(ctx context.Context, in io.Reader, keys chan<- string) {
	buf := make([]byte, 256)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		for _, k := range split(buf[:n]) {
			select {
			case keys <- k:
			case <-ctx.Done():
				return
			}
		}
	}
}

// running is the state of the loop. Only that touches it.
type running struct {
	Options

	out     *os.File
	screen  screen
	view    View
	picture Picture
	behind  time.Duration // our clock, less the server's

	keys   chan string
	told   chan message
	failed chan failure
	feed   context.CancelFunc
	round  int // counts feeds, so that the last one's words can be told from others'
}

type message struct {
	round int
	event string
	data  []byte
}

type failure struct {
	round int
	err   error
}

// retryAfter is the time between two attempts to get the connection back.
const retryAfter = time.Second

func (r *running) loop(ctx context.Context, resized <-chan os.Signal) error {
	r.begin(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var retry <-chan time.Time
	for {
		if err := r.draw(); err != nil {
			return fmt.Errorf("the terminal is gone: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-resized:
			r.screen.forget()
			if r.view.Query.Limit != r.rows() {
				r.begin(ctx)
			}
		case key := <-r.keys:
			quit, again := r.view.press(key, r.rows(), r.picture.Matched)
			if quit {
				return nil
			}
			if again || key == " " && !r.view.Paused { // what was told meanwhile is lost
				r.begin(ctx)
			}
		case m := <-r.told:
			if m.round == r.round && !r.view.Paused {
				if err := r.picture.Apply(m.event, m.data); err != nil {
					return err
				}
				r.behind, r.view.Lost = time.Since(r.picture.At), ""
			}
		case f := <-r.failed:
			if f.round == r.round {
				if r.view.Lost == "" {
					r.view.Since = time.Now().Format(time.TimeOnly)
				}
				r.view.Lost = f.err.Error()
				retry = time.After(retryAfter)
			}
		case <-retry:
			r.begin(ctx)
		}
	}
}

// begin follows the streams that the view now wants.
func (r *running) begin(ctx context.Context) {
	if r.feed != nil {
		r.feed()
	}
	ctx, r.feed = context.WithCancel(ctx)
	r.round++
	r.view.Query.Limit = r.rows()
	r.picture.Points = nil
	round, query := r.round, r.view.Query
	go func() {
		err := follow(ctx, r.Get, query, func(event string, data []byte) error {
			select {
			case r.told <- message{round, event, append([]byte(nil), data...)}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		select {
		case r.failed <- failure{round, err}:
		case <-ctx.Done():
		}
	}()
}

func (r *running) size() (width, height int) {
	width, height, err := term.GetSize(int(r.out.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

func (r *running) rows() int {
	_, height := r.size()
	return Rows(height)
}

func (r *running) draw() error {
	width, height := r.size()
	now := time.Now().Add(-r.behind)
	if r.view.Paused || r.view.Lost != "" {
		now = r.picture.At
	}
	return r.screen.draw(r.view.Lines(&r.picture, now, width, height))
}
