package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"holdfast/test/harness"
)

// page opens an event stream and writes down all that an application could know
// of it.
const page = `<!doctype html><title>events</title><script>
const seen = {opens: 0, errors: 0, events: []}
const source = new EventSource(location.hash.slice(1))
source.onopen = () => seen.opens++
source.onerror = () => seen.errors++
source.onmessage = e => seen.events.push(e.lastEventId + ":" + e.data)
</script>`

type seen struct {
	Opens  int      `json:"opens"`
	Errors int      `json:"errors"`
	Events []string `json:"events"`
}

// browser starts a Chromium with a profile of its own, which ends with the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, // which root cannot have
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Env("HOME="+t.TempDir()),
	)...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

func chromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no browser: install chromium (Debian, Ubuntu: apt-get install chromium), or name one in $CHROMIUM")
	return ""
}

// TestBrowser: an EventSource stays open while the server restarts twenty times.
func TestBrowser(t *testing.T) {
	const restarts, perLife = 20, 3
	for _, w := range ways() {
		if w.name == "inline" {
			continue // where resets are the client's to deal with, as they are directly
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			origin := harness.NewOrigin(t)
			// Whoever asks gets what follows, and in the middle of an event the origin goes
			// silent until it dies.
			stream := origin.Handle("/stream", func(x *harness.Exchange) {
				last, _ := strconv.Atoi(x.Request.Header.Get("last-event-id"))
				x.Stream()
				x.Send("retry: 10\n\n")
				for n := last + 1; n <= last+perLife; n++ {
					x.Send(fmt.Sprintf("id: %d\ndata: event %d\n\n", n, n))
				}
				x.Send(fmt.Sprintf("id: %d\ndata: ev", last+perLife+1))
				<-x.Gone()
			})
			at := origin.Handle("/page", func(x *harness.Exchange) {
				x.Answer(200, "content-type", "text/html")
				x.Send(page)
			})
			url, _ := w.to(t, origin.URL)

			ctx := browser(t)
			// The browser's own account of what happened on the network.
			var requests, messages atomic.Int64
			err := chromedp.Listen(ctx, func(event any) {
				switch e := event.(type) {
				case *network.EventRequestWillBeSent:
					if strings.HasSuffix(e.Request.URL, stream) {
						requests.Add(1)
					}
				case *network.EventEventSourceMessageReceived:
					if e.Data != "" {
						messages.Add(1)
					}
				}
			})
			if err != nil {
				t.Fatalf("start the browser: %v", err)
			}
			if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
				t.Fatal(err)
			}
			if _, err := chromedp.Run(ctx, chromedp.Navigate(url+at+"#"+stream)); err != nil {
				t.Fatal(err)
			}
			var got seen
			events := func(n int) {
				t.Helper()
				harness.Eventually(t, fmt.Sprintf("event %d in the browser", n), func() bool {
					if got, err = chromedp.Run(ctx, chromedp.Evaluate[seen]("seen")); err != nil {
						t.Fatal(err)
					}
					return len(got.Events) >= n
				})
			}
			for life := 1; life <= restarts; life++ {
				events(life * perLife)
				origin.Down()
				origin.Up(t)
			}
			const total = (restarts + 1) * perLife
			events(total)
			for i, e := range got.Events {
				if want := fmt.Sprintf("%d:event %d", i+1, i+1); e != want {
					t.Fatalf("event %d is %q, want %q", i+1, e, want)
				}
			}
			if w.direct() {
				// That this is what a browser makes of it shows that there was something to survive.
				if got.Opens <= restarts || got.Errors < restarts {
					t.Errorf("directly, the page saw only %d opens and %d errors", got.Opens, got.Errors)
				}
			} else if got.Opens != 1 || got.Errors != 0 || requests.Load() != 1 {
				t.Errorf("the page saw %d opens and %d errors, the browser made %d requests; want one open and one request",
					got.Opens, got.Errors, requests.Load())
			}
			if len(got.Events) != total || messages.Load() != total {
				t.Errorf("the page saw %d events, the browser %d, want %d", len(got.Events), messages.Load(), total)
			}
		})
	}
}
