package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

// sessionsCmd is what is kept of clients, from the shell.
type sessionsCmd struct {
	List sessionsListCmd `cmd:"" help:"List the sessions that are kept."`
	Show sessionsShowCmd `cmd:"" help:"Show one session with its streams."`
	Drop sessionsDropCmd `cmd:"" help:"Forget a session."`
}

// session is one of the admin API's.
type session struct {
	Key       string          `json:"key"`
	Policy    string          `json:"policy"`
	Principal string          `json:"principal"`
	Session   string          `json:"session"`
	Created   time.Time       `json:"created"`
	Used      time.Time       `json:"used"`
	Live      int             `json:"live"`
	Kept      int             `json:"kept"`
	Streams   []sessionStream `json:"streams,omitempty"` // only of a single session
}

type sessionStream struct {
	Number     uint64    `json:"number"`
	Line       string    `json:"line"`
	Live       bool      `json:"live"`
	Saved      time.Time `json:"saved"`
	Acked      string    `json:"acked"`
	LastSent   string    `json:"last_sent"`
	Tracked    int       `json:"tracked"`
	Epoch      uint32    `json:"epoch"`
	Trust      string    `json:"trust"`
	Events     uint64    `json:"events"`
	Duplicates uint64    `json:"duplicates"`
}

type sessionsPage struct {
	Sessions []session `json:"sessions"`
	Total    int       `json:"total"`
	Next     string    `json:"next"`
}

type sessionsListCmd struct {
	adminFlags

	Limit int    `default:"100" help:"The most to list; 0 for all of them (default: ${default})."`
	After string `placeholder:"KEY" help:"Begin behind this key, where an earlier list ended."`
	JSON  bool   `name:"json" help:"Print JSON, as the admin API has it."`
}

// Help is shown by sessions list --help.
func (*sessionsListCmd) Help() string {
	return `A session is what Holdfast knows of one client: which streams it has, and how far it got. Sessions go by their key, a hash; principals and session keys are shown as hashes too, so no credential is.

Exit code: 0 listed, even if there is none, 1 no Holdfast answers, 2 bad arguments.

Examples:

    holdfast sessions list
    holdfast sessions list --limit 0 --json | jq -r '.sessions[] | select(.live == 0) | .key'`
}

// Run prints pages until there are enough.
func (c *sessionsListCmd) Run(p *program) error {
	if c.Limit < 0 {
		return usage(errors.New("--limit is the most sessions to list; write 0 for all"))
	}
	if c.After != "" && !isKey(c.After) {
		return usage(fmt.Errorf("--after: %q is not a session's key, which has 32 hex digits", c.After))
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	const most = 1000 // of the API
	all := sessionsPage{Sessions: []session{}, Next: c.After}
	for first := true; first || all.Next != "" && (c.Limit == 0 || len(all.Sessions) < c.Limit); first = false {
		want := most
		if c.Limit > 0 {
			want = min(want, c.Limit-len(all.Sessions))
		}
		page, err := list(client, all.Next, want)
		if err != nil {
			return err
		}
		all.Sessions, all.Total, all.Next = append(all.Sessions, page.Sessions...), page.Total, page.Next
	}
	if c.JSON {
		return printIndented(p.stdout, all)
	}
	printSessions(p.stdout, &all)
	return nil
}

func list(client *adminClient, after string, limit int) (*sessionsPage, error) {
	query := url.Values{"limit": {fmt.Sprint(limit)}}
	if after != "" {
		query.Set("after", after)
	}
	page := new(sessionsPage)
	body, err := client.ask(http.MethodGet, "/api/v1/sessions?"+query.Encode())
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, page); err != nil {
		return nil, fmt.Errorf("%s does not answer as this version of Holdfast does: %w", client.at, err)
	}
	return page, nil
}

func printSessions(w io.Writer, page *sessionsPage) {
	if len(page.Sessions) == 0 {
		fmt.Fprintln(w, "No session is kept.")
		return
	}
	t := table(w)
	fmt.Fprintln(t, "KEY\tPOLICY\tSESSION\tPRINCIPAL\tLIVE\tSTREAMS\tUSED\tCREATED")
	for i := range page.Sessions {
		s := &page.Sessions[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", cell(s.Key), cell(s.Policy), cell(s.Session), cell(s.Principal), s.Live, s.Kept, ago(s.Used), ago(s.Created))
	}
	_ = t.Flush() // of a terminal's or a pipe's writer
	if page.Next != "" {
		fmt.Fprintf(w, "%d of %d; the next: --after %s\n", len(page.Sessions), page.Total, cell(page.Next))
	}
}

type sessionsShowCmd struct {
	adminFlags

	Key  string `arg:"" help:"The session's key, as list or the log shows it; the beginning is enough if no other begins so."`
	JSON bool   `name:"json" help:"Print JSON, as the admin API has it."`
}

// Help is shown by sessions show --help.
func (*sessionsShowCmd) Help() string {
	return `ACKED is the Last-Event-ID that the client came with, SENT the last event that was handed on, IDS what the origin's ids are worth, REPEATS the events that were dropped because the client had them.

Exit code: 0 shown, 1 there is no such session, or no Holdfast answers, 2 bad arguments.

Example:

    holdfast sessions show 31f1a2c95816`
}

// Run prints one session.
func (c *sessionsShowCmd) Run(p *program) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	key, err := wholeKey(client, c.Key)
	if err != nil {
		return err
	}
	body, err := client.ask(http.MethodGet, "/api/v1/sessions/"+key)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := p.stdout.Write(body)
		return err
	}
	var s session
	if err := json.Unmarshal(body, &s); err != nil {
		return fmt.Errorf("%s does not answer as this version of Holdfast does: %w", client.at, err)
	}
	printSession(p.stdout, &s)
	return nil
}

func printSession(w io.Writer, s *session) {
	t := table(w)
	for _, line := range [][2]string{
		{"key", s.Key},
		{"policy", s.Policy},
		{"session", s.Session},
		{"principal", s.Principal},
		{"created", stamp(s.Created)},
		{"used", stamp(s.Used)},
		{"live", count(s.Live, "stream", "streams")},
		{"kept", count(s.Kept, "stream", "streams")},
	} {
		fmt.Fprintf(t, "%s\t%s\n", line[0], cell(line[1]))
	}
	_ = t.Flush()
	if len(s.Streams) == 0 {
		return
	}
	fmt.Fprintln(w)
	t = table(w)
	fmt.Fprintln(t, "STREAM\tLINE\tSTATE\tACKED\tSENT\tTRACKED\tIDS\tEPOCH\tEVENTS\tREPEATS\tSAVED")
	for i := range s.Streams {
		st := &s.Streams[i]
		state := "kept"
		if st.Live {
			state = "live"
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\n", st.Number, cell(st.Line[:min(len(st.Line), shortKey)]), state,
			cell(st.Acked), cell(st.LastSent), st.Tracked, cell(st.Trust), st.Epoch, st.Events, st.Duplicates, ago(st.Saved))
	}
	_ = t.Flush()
}

type sessionsDropCmd struct {
	adminFlags

	Key  string `arg:"" help:"The session's key, as list shows it; the beginning is enough if no other begins so."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// Help is shown by sessions drop --help.
func (*sessionsDropCmd) Help() string {
	return `What was known of the client's streams is gone: it may get events again that it has, or be told that some are lost. Streams that run go on.

Exit code: 0 dropped, 1 there is no such session, or no Holdfast answers, 2 bad arguments.

Example:

    holdfast sessions drop 31f1a2c95816`
}

// Run drops one session.
func (c *sessionsDropCmd) Run(p *program) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	key, err := wholeKey(client, c.Key)
	if err != nil {
		return err
	}
	if _, err := client.ask(http.MethodDelete, "/api/v1/sessions/"+key); err != nil {
		return err
	}
	if c.JSON {
		return printIndented(p.stdout, map[string]string{"dropped": key})
	}
	fmt.Fprintf(p.stdout, "dropped %s\n", key)
	return nil
}

const (
	wholeDigits = 32
	// shortKey is what the log shows of a key, and leastKey the least to look for.
	shortKey, leastKey = 12, 4
)

func isKey(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == wholeDigits
}

// wholeKey completes the beginning of a key, if only one session begins so. Keys
// are listed in order, so those that begin alike are neighbours.
func wholeKey(client *adminClient, text string) (string, error) {
	text = strings.ToLower(text)
	if isKey(text) {
		return text, nil
	}
	padded := text + strings.Repeat("0", max(0, wholeDigits-len(text)))
	if !isKey(padded) || len(text) < leastKey {
		return "", usage(fmt.Errorf("%q is not a session's key: write its 32 hex digits, or the first %d or more of them", printable(text), leastKey))
	}
	page, err := list(client, before(padded), 2)
	if err != nil {
		return "", err
	}
	var found []string
	for i := range page.Sessions {
		if strings.HasPrefix(page.Sessions[i].Key, text) {
			found = append(found, page.Sessions[i].Key)
		}
	}
	switch {
	case len(found) == 0:
		return "", fmt.Errorf("no such session: none begins with %s; it may have expired; holdfast sessions list shows those there are", text)
	case len(found) > 1:
		return "", usage(fmt.Errorf("several sessions begin with %s: write more of the key", text))
	case !isKey(found[0]):
		return "", fmt.Errorf("%s does not answer as this version of Holdfast does", client.at)
	}
	return found[0], nil
}

// before is the key that the API has to begin behind, for a list to begin with
// key; "" is the first of all.
func before(key string) string {
	b, err := hex.DecodeString(key)
	if err != nil {
		return ""
	}
	for i := len(b) - 1; i >= 0; i-- {
		b[i]--
		if b[i] != 0xff {
			return hex.EncodeToString(b)
		}
	}
	return "" // it was zero
}

func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// cell is a text in a table: never empty, or columns could not be told apart by
// programs, and without anything that would break its line.
func cell(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

// ago is a time as a person compares it with now.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime) + ", " + ago(t)
}

func printIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
