package clients

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"holdfast/processor/live"
	"holdfast/test/harness"
)

// screen is the console in a browser.
type screen struct {
	t   *testing.T
	ctx context.Context

	mu        sync.Mutex
	complains []string // of the page: errors, and what its policy forbade
	foreign   []string // requests to anywhere but the console
}

// show opens the console. Whatever the page complains of fails the test.
func (w *world) show(t *testing.T, hash string) *screen {
	t.Helper()
	s := &screen{t: t, ctx: browser(t)}
	s.do(chromedp.EmulateViewport(1500, 950))
	err := chromedp.Listen(s.ctx, func(event any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			s.complains = append(s.complains, e.ExceptionDetails.Text+" "+e.ExceptionDetails.URL)
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.EntryLevelError {
				s.complains = append(s.complains, e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, w.url+"/") {
				s.foreign = append(s.foreign, e.Request.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(s, network.Enable, network.EnableParams{})
	call(s, cdplog.Enable, cdp.Empty{})
	call(s, runtime.Enable, cdp.Empty{})
	s.do(chromedp.Navigate(w.url + "/" + hash))
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.complains)+len(s.foreign) > 0 {
			t.Errorf("the page complains: %q; it asked elsewhere: %q", s.complains, s.foreign)
		}
	})
	return s
}

func (s *screen) do(steps ...chromedp.Action[chromedp.Void]) {
	s.t.Helper()
	for _, a := range steps {
		if _, err := chromedp.Run(s.ctx, a); err != nil {
			s.t.Fatal(err)
		}
	}
}

// call is a command of the browser's own protocol.
func call[P, R any](s *screen, cmd cdp.Command[P, R], params P) {
	s.t.Helper()
	if _, err := chromedp.Call(s.ctx, cmd, params); err != nil {
		s.t.Fatal(err)
	}
}

// press is a key that has an effect of its own only if the page lets it.
func (s *screen) press(key string) {
	s.t.Helper()
	call(s, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyDown", Key: key, Text: key})
	call(s, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: "keyUp", Key: key})
}

// special is a key without a character.
func (s *screen) special(key string) { s.t.Helper(); s.do(chromedp.KeyEvent(key)) }

func (s *screen) click(selector string) {
	s.t.Helper()
	eval[bool](s, fmt.Sprintf("document.querySelector(%q).click() || true", selector))
}

// until waits for something in the page to become true.
func (s *screen) until(js string) {
	s.t.Helper()
	harness.Eventually(s.t, js, func() bool { return eval[bool](s, js) })
}

func (s *screen) text(selector string) string {
	s.t.Helper()
	return eval[string](s, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

func (s *screen) prefers(scheme string) {
	s.t.Helper()
	call(s, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// shoot keeps a picture for people, if somebody wants it.
func (s *screen) shoot(name string) {
	s.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(s.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func eval[T any](s *screen, js string) T {
	s.t.Helper()
	v, err := chromedp.Run(s.ctx, chromedp.Evaluate[T](js))
	if err != nil {
		s.t.Fatalf("%s: %v", js, err)
	}
	return v
}

// rowOf is the row of a stream, in JavaScript.
func rowOf(n int) string {
	return fmt.Sprintf("document.querySelector('tr[data-id=\"%s\"]')", live.ID(n))
}

// busyDay is a world in which there is something to be seen of everything.
func busyDay(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for n := 1; n <= 240; n++ {
		w.add(n, func(s *live.Stream) {
			switch {
			case n%60 == 7:
				s.State, s.Resumes = "resuming", 1
			case n%23 == 0:
				s.Policy, s.Mode, s.Path, s.Method, s.Trust, s.Cursor, s.Upstream = "chat", "inline", "/v1/chat/completions", "POST", "absent", "", "10.4.1.20:443"
			case n%17 == 0:
				s.Duplicates, s.Resumes = uint64(n), 3
			}
		})
	}
	begun := time.Now().Add(-5 * time.Minute)
	at := func(sec float64) time.Time { return begun.Add(time.Duration(sec * float64(time.Second))) }
	for i, o := range []string{"cut", "complete", "client_gone", "gap", "drained"} {
		w.add(900+i, func(s *live.Stream) { s.Started = begun })
		w.end(900+i, o, live.Moment{At: begun, What: "opened"}, live.Moment{At: time.Now(), What: "ended", Text: o})
	}
	w.streams.Remove(77)
	w.add(77, func(s *live.Stream) { s.Started, s.Resumes, s.Duplicates = begun, 2, 14 }).moments = []live.Moment{
		{At: begun, What: "opened"},
		{At: at(.1), What: "ids", Text: "monotonic"},
		{At: at(30), What: "heartbeat", Times: 5, Last: at(90)},
		{At: at(121.3), What: "failed", Text: "reset"},
		{At: at(121.3), What: "resuming", Text: "behind 1764000077-5"},
		{At: at(121.9), What: "answered", Text: "503, wait"},
		{At: at(121.9), What: "result", Text: "unavailable"},
		{At: at(126.9), What: "resuming", Text: "behind 1764000077-5"},
		{At: at(127.1), What: "answered", Text: "200 from 10.4.0.13:8443"},
		{At: at(127.2), What: "overlap"},
		{At: at(127.2), What: "overlap_end"},
		{At: at(127.2), What: "result", Text: "resumed"},
	}
	w.health(
		live.Target{Policy: "notifications", Cluster: "feeds", Address: "10.4.0.11:8443", State: "closed", Successes: 812, Failures: 2, LastFailure: "reset", Seen: time.Now()},
		live.Target{Policy: "notifications", Cluster: "feeds", Address: "10.4.0.12:8443", State: "open", InARow: 3, Successes: 790, Failures: 9, LastFailure: "bad_status", Until: time.Now().Add(time.Minute), Seen: time.Now()},
		live.Target{Policy: "notifications", Cluster: "feeds", Address: "10.4.0.13:8443", State: "closed", Successes: 901, Seen: time.Now()},
	)
	w.count("active", 240)
	return w
}

// TestConsoleAnswersThePaged: what is wrong is said first, and leads to the
// streams that it is about, and to what happened to them.
func TestConsoleAnswersThePaged(t *testing.T) {
	t.Parallel()
	w := busyDay(t)
	s := w.show(t, "")
	s.until(`document.querySelectorAll("#rows tr").length === 50`)
	s.until(`document.querySelectorAll(".plot").length === 4`)
	for what, n := range map[string]float64{"events": 900, "duplicates": 12, "resumed": 4, "unavailable": 2, "complete": 7, "cut": 2} {
		w.count(what, n)
	}
	s.until(`document.querySelector("#verdict").innerText.includes("2 streams ended cut or with a gap")`)
	for _, want := range []string{"1 host is out of use: 10.4.0.12:8443", "4 streams are being resumed now", "2 resumes failed in 5 min"} {
		if got := s.text("#verdict"); !strings.Contains(got, want) {
			t.Errorf("the verdict is %q, want %q in it", got, want)
		}
	}
	if got := s.text("#hosts-rows tr"); !strings.Contains(got, "ejected") || !strings.Contains(got, "10.4.0.12:8443") {
		t.Errorf("the first host is %q", got)
	}
	for i, want := range []string{"240", "180", "6", "2"} {
		if got := eval[string](s, fmt.Sprintf(`document.querySelectorAll(".plot .value")[%d].innerText.split(" ")[0]`, i)); got != want {
			t.Errorf("plot %d says %q, want %q", i, got, want)
		}
	}
	if got := eval[string](s, `document.querySelectorAll(".plot svg")[2].getAttribute("aria-label")`); !strings.Contains(got, "4 went well, 2 did not") {
		t.Errorf("the plot of resumes is described as %q", got)
	}

	s.click("#verdict li:nth-child(2) button")
	s.until(`document.querySelectorAll("#rows tr").length === 2`)
	if got := s.text("#rows"); !strings.Contains(got, "cut") || !strings.Contains(got, "gap") || strings.Contains(got, "complete") {
		t.Errorf("ended badly: %q", got)
	}
	s.click("#rows tr button")
	s.until(`document.querySelector("#timeline").innerText.includes("ended: ")`)

	// A sick host's streams.
	s.click("#hosts-rows tr button")
	s.until(`document.querySelector("#q").value === "10.4.0.12:8443" && [...document.querySelectorAll("#rows .host")].every((e) => e.innerText === "10.4.0.12:8443")`)

	// The process begins to drain.
	w.unready("draining")
	s.until(`document.querySelector("#verdict").innerText.includes("Gets no new streams: draining")`)
	if got := s.text("#ready"); got != "not ready" {
		t.Errorf("ready is %q", got)
	}
}

// TestConsoleKeys: everything without a mouse, and the focus is where one expects
// it.
func TestConsoleKeys(t *testing.T) {
	t.Parallel()
	s := busyDay(t).show(t, "")
	s.until(`document.querySelectorAll("#rows tr").length === 50`)
	s.press("/")
	s.until(`document.activeElement.id === "q"`)
	s.special("feeds/77/")
	s.until(`document.querySelectorAll("#rows tr").length === 1`)
	s.special(kb.Escape) // out of the field
	s.press("j")
	s.until(`document.activeElement.matches("#rows button")`)
	s.special(kb.Enter)
	s.until(`document.activeElement.id === "detail-title" && document.querySelectorAll("#timeline li").length === 12`)
	if got := s.text("#timeline"); !strings.Contains(got, "upstream reset") || !strings.Contains(got, "5 times until +1m 30.0s") || !strings.Contains(got, "+2m 07.2s") {
		t.Errorf("timeline %q", got)
	}
	if got := eval[string](s, "location.hash"); got != "#q=feeds%2F77%2F&stream="+live.ID(77).String() {
		t.Errorf("the address is %q", got)
	}
	s.special(kb.Escape) // the detail
	s.until(`document.querySelector("#detail").hidden && document.activeElement.matches("#rows button")`)
	s.special(kb.Escape) // the filter
	s.until(`document.querySelectorAll("#rows tr").length === 50 && document.querySelector("#q").value === ""`)
	s.do(chromedp.Blur("#q"))
	s.press("j")
	s.press("j")
	s.press("j")
	s.press("k")
	s.until(`document.activeElement.closest("tr") === document.querySelectorAll("#rows tr")[1]`)
	if n := eval[int](s, `document.querySelectorAll("#rows button[tabindex='0']").length`); n != 1 {
		t.Errorf("%d rows can be reached by Tab, want one", n)
	}
	s.press("n")
	s.until(`document.querySelector("#page").innerText === "51–100 of 240"`)
	s.press("p")
	s.until(`document.querySelector("#page").innerText === "1–50 of 240"`)
	s.press("?")
	s.until(`document.querySelector("#help").open`)
	s.special(kb.Escape)
	s.until(`!document.querySelector("#help").open`)
	s.do(chromedp.Blur("#keys"))
	s.press(" ")
	s.until(`document.querySelector("#link").innerText.startsWith("paused")`)
	s.press(" ")
	s.until(`document.querySelector("#link").innerText === "live"`)
}

// hostile are names that somebody would like to be more than names.
func hostile() []string {
	return []string{
		`/<img src=x onerror="window.owned=1">`, `/"><script>window.owned=1</script>`, `/</td></tr></table><h1>owned`,
		`/'onmouseover='window.owned=1`, "/{{constructor.constructor('window.owned=1')()}}", "/\u202eexe.txt", "/" + strings.Repeat("long", 2000), `javascript:window.owned=1`,
	}
}

// TestConsoleIsInert: whatever clients and servers send is text.
func TestConsoleIsInert(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names := hostile()
	for i, name := range names {
		w.add(i+1, func(s *live.Stream) {
			s.Path, s.Method, s.Cursor, s.Upstream, s.Policy, s.Mode, s.Trust, s.State = name, name, name, name, name, name, name, "live"
		}).moments = []live.Moment{{At: time.Now(), What: "answered", Text: name}, {At: time.Now(), What: name, Text: name}}
		w.add(i+100, func(s *live.Stream) { s.Path = name })
		w.end(i+100, name, live.Moment{What: "ended", Text: name})
	}
	w.health(live.Target{Policy: names[0], Cluster: names[1], Address: names[2], State: names[3], LastFailure: names[1]},
		live.Target{Policy: names[0], Cluster: names[1], Address: names[0], State: "open", LastFailure: names[1]})
	w.unready(names[0])
	s := w.show(t, "#state=all&q="+`%3Cimg%20src%3Dx%20onerror%3Dwindow.owned%3D1%3E&policy=%3Cb%3E&sort=%3Cb%3E&stream=%3Cb%3E`)
	s.until(`document.querySelector("#empty").innerText === "No stream is like that."`)
	s.click("#clear")
	s.until(fmt.Sprintf(`document.querySelectorAll("#rows tr").length === %d`, len(names)))
	s.click("#state")
	eval[bool](s, `(document.querySelector("#state").value = "all", document.querySelector("#state").dispatchEvent(new Event("change")))`)
	s.until(fmt.Sprintf(`document.querySelectorAll("#rows tr").length === %d`, 2*len(names)))
	for i := range names {
		s.click(fmt.Sprintf(`tr[data-id="%s"] button`, live.ID(i+1)))
		s.until(`document.querySelectorAll("#timeline li").length === 2`)
		if got := eval[string](s, rowOf(i+1)+`.querySelector("button span:last-child").textContent`); got != names[i] {
			t.Errorf("%q is shown as %q", names[i], got)
		}
	}
	if eval[bool](s, "window.owned !== undefined") {
		t.Error("a name was run")
	}
	if n := eval[int](s, `document.querySelectorAll("img, h1:not(.top h1), script:not([src])").length`); n != 0 {
		t.Errorf("a name became %d elements", n)
	}
	if wide := eval[bool](s, "document.documentElement.scrollWidth > innerWidth"); wide {
		t.Error("a long name makes the page wide")
	}
}

// TestConsoleManyStreams: ten thousand of them, each changing, and the page has a
// page of them in it, whose rows stay the elements that they are.
func TestConsoleManyStreams(t *testing.T) {
	t.Parallel()
	const n = 10_000
	w := newWorld(t)
	all := make([]*told, n)
	for i := range all {
		all[i] = w.add(i+1, nil)
	}
	s := w.show(t, "#sort=-started") // the youngest first: 1, 2, …
	s.until(`document.querySelector("#page").innerText === "1–50 of 10,000"`)
	eval[bool](s, `(() => {
		window.first = [...document.querySelectorAll("#rows tr")]
		window.made = 0
		new MutationObserver((all) => { for (const m of all) window.made += m.addedNodes.length }).observe(document.querySelector("#rows"), {childList: true})
		return true
	})()`)
	for round := range 3 {
		for _, st := range all {
			st.change(func(st *live.Stream) { st.Events, st.LastByte = uint64(700_000+round), time.Now() })
		}
		s.until(fmt.Sprintf(`document.querySelectorAll("#rows tr")[49].querySelector(".c-events").innerText === %q`, fmt.Sprintf("700,00%d", round)))
	}
	if !eval[bool](s, `[...document.querySelectorAll("#rows tr")].every((tr, i) => tr === window.first[i]) && window.made === 0`) {
		t.Error("rows that only changed were made anew")
	}
	// One comes and one goes: two rows are touched.
	w.add(n+1, func(s *live.Stream) { s.Started = time.Now() })
	s.until(`document.querySelector("#rows tr").dataset.id === "` + live.ID(n+1).String() + `"`)
	if made := eval[int](s, "window.made"); made != 1 {
		t.Errorf("%d rows were made for one that came", made)
	}
	s.until(`document.querySelector("#page").innerText === "1–50 of 10,001"`)
	s.shoot("console-many")
	s.click("#next")
	s.until(`document.querySelector("#page").innerText === "51–100 of 10,001"`)
	eval[bool](s, `(document.querySelector("#q").value = "feeds/9999/", document.querySelector("#q").dispatchEvent(new Event("input")))`)
	s.until(`document.querySelector("#page").innerText === "1–1 of 1" && document.querySelectorAll("#rows tr").length === 1`)
	if nodes := eval[int](s, `document.querySelectorAll("*").length`); nodes > 2500 {
		t.Errorf("the page has %d elements", nodes)
	}
	s.click(`#heads .c-events button`)
	s.until(`document.querySelector("th.c-events").getAttribute("aria-sort") === "descending"`)
}

// TestConsoleLosesTheConnection: a page that is out of date says so.
func TestConsoleLosesTheConnection(t *testing.T) {
	t.Parallel()
	w := busyDay(t)
	s := w.show(t, "")
	s.until(`document.querySelector("#link").innerText === "live"`)
	w.stop()
	s.until(`document.querySelector("#link").innerText.startsWith("no connection since") && document.querySelector("#verdict").innerText.includes("out of date")`)
	s.mu.Lock()
	s.complains = slices.DeleteFunc(s.complains, func(c string) bool { return strings.Contains(c, "ERR_CONNECTION_REFUSED") }) // as it should
	s.mu.Unlock()
}

// TestConsoleContrast: texts can be read, by day and by night, and by those who
// see less.
//
//	"The visual presentation of text and images of text has a contrast ratio of at
//	least 4.5:1"
//	https://www.w3.org/TR/WCAG22/#contrast-minimum
func TestConsoleContrast(t *testing.T) {
	t.Parallel()
	w := busyDay(t)
	s := w.show(t, "#state=all&sort=-ended&stream="+live.ID(77).String())
	s.until(`document.querySelectorAll("#timeline li").length === 12 && document.querySelectorAll("#rows tr").length === 50`)
	const poor = `(() => {
		const rgb = (c) => { const x = new OffscreenCanvas(1, 1).getContext("2d"); x.fillStyle = c; x.fillRect(0, 0, 1, 1); return [...x.getImageData(0, 0, 1, 1).data] }
		const light = ([r, g, b]) => [r, g, b].map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0)
		const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c } return [255, 255, 255] }
		const poor = new Set()
		for (const e of document.querySelectorAll("body *")) {
			const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
			if (!own || e.disabled || !e.checkVisibility() || e.closest(".visually-hidden, .skip, option, noscript, script")) continue
			const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e))
			const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
			if (ratio < 4.5) poor.add(e.tagName + "." + e.className + " " + ratio.toFixed(2) + " " + e.textContent.slice(0, 30))
		}
		return [...poor]
	})()`
	grounds := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		s.prefers(scheme)
		grounds[eval[string](s, "getComputedStyle(document.body).backgroundColor")] = true
		if got := eval[[]string](s, poor); len(got) > 0 {
			t.Errorf("%s: %q", scheme, got)
		}
		s.shoot("console-" + scheme)
	}
	if len(grounds) != 2 {
		t.Error("light and dark look alike")
	}
	// The button overrules the system, and is remembered.
	s.click("#theme")
	if got := eval[string](s, "getComputedStyle(document.documentElement).colorScheme"); got != "light" {
		t.Errorf("the theme is %q", got)
	}
	s.do(chromedp.Reload())
	s.until(`document.documentElement.dataset.theme === "light" && document.querySelector("#theme").innerText === "Theme: light"`)
}

// TestConsoleNames: what can be used has a name, and the page stands on a phone.
func TestConsoleNames(t *testing.T) {
	t.Parallel()
	w := busyDay(t)
	s := w.show(t, "#stream="+live.ID(77).String())
	s.until(`document.querySelectorAll("#rows tr").length === 50 && document.querySelectorAll("#timeline li").length === 12`)
	nameless := eval[[]string](s, `[...document.querySelectorAll("button, input, select, a, svg[role=img], section, aside, dialog")].filter((e) =>
		!(e.innerText || e.textContent || e.ariaLabel || e.labels?.[0]?.textContent || e.getAttribute("aria-label") || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent || "").trim()
	).map((e) => e.outerHTML.slice(0, 80))`)
	if len(nameless) > 0 {
		t.Errorf("without a name: %q", nameless)
	}
	if n := eval[int](s, `new Set([...document.querySelectorAll("[id]")].map((e) => e.id)).size - document.querySelectorAll("[id]").length`); n != 0 {
		t.Error("an id is there twice")
	}
	s.do(chromedp.EmulateViewport(390, 844))
	if wide := eval[int](s, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("on a phone the page is %d wide", wide)
	}
	s.shoot("console-phone")
}
