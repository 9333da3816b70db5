// Command origin is an HTTP server to try Holdfast with: its event streams
// behave as real ones do, which is not always well. README.md explains the
// endpoints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage): // the flag package has said what is wrong
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "origin:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("bad usage")

// run serves until ctx is done. It prints one line to stdout, the URL, once it
// accepts connections.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	feed := defaultFeed()
	flags := flagsOf(&feed)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:9000", "address to serve on; port 0 picks a free one")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "unexpected argument %q: every option is a flag, see -help\n", flags.Arg(0))
		return errUsage
	}
	if err := feed.check(); err != nil {
		fmt.Fprintln(stderr, err)
		return errUsage
	}

	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           newOrigin(feed).handler(),
		ReadHeaderTimeout: 10 * time.Second,
		// Streams watch their request's context, and so end when ctx does.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	fmt.Fprintf(stdout, "http://%s\n", l.Addr())

	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The streams end by themselves. A client that reads too slowly to notice is
	// not waited for.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(late); err != nil {
		return server.Close()
	}
	return nil
}
