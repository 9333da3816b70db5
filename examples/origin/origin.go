package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// origin is what the endpoints share.
type origin struct {
	feed feed // what /events serves unless a request wants it otherwise

	mu      sync.Mutex
	clients map[string]*client // by the names they gave themselves
}

// client is what was sent to one named client, over all its connections.
type client struct {
	Connections int `json:"connections"`
	Events      int `json:"events"`  // sent, repeats included
	Repeats     int `json:"repeats"` // of these, sent before
	Newest      int `json:"newest"`  // number of the newest event sent
}

func newOrigin(f feed) *origin {
	return &origin{feed: f, clients: make(map[string]*client)}
}

func (o *origin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", o.events)
	mux.HandleFunc("GET /stats", o.stats)
	mux.HandleFunc("POST /chat", o.chat)
	mux.HandleFunc("GET /download", download)
	mux.HandleFunc("GET /json", answer)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// maxClients bounds the names an origin remembers.
const maxClients = 10_000

var errTooManyClients = errors.New("too many different client names: restart the origin")

// update changes what is known of a client and returns a copy of it. Nameless
// clients are strangers every time.
func (o *origin) update(name string, change func(*client)) (client, error) {
	var c client
	if name == "" {
		change(&c)
		return c, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.clients[name]
	if known == nil {
		if len(o.clients) == maxClients {
			return c, errTooManyClients
		}
		known = new(client)
		o.clients[name] = known
	}
	change(known)
	return *known, nil
}

// stats tells what was sent to a client, so that whoever counts at the other end
// can tell a repeat that was dropped from one that never was.
func (o *origin) stats(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("client")
	o.mu.Lock()
	known := o.clients[name]
	var c client
	if known != nil {
		c = *known
	}
	o.mu.Unlock()
	if known == nil {
		http.Error(w, fmt.Sprintf("no client %q has asked for /events?client=NAME yet", name), http.StatusNotFound)
		return
	}
	writeJSON(w, c)
}

// chat streams an answer as language model servers do: events without ids, and
// a last one that says so.
func (o *origin) chat(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
		http.Error(w, "the question is longer than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	out := newStream(w, o.feed.crlf)
	pace := newPace(r.Context(), o.feed.rate)
	const text = "Streams end early, repeat themselves and fall silent; what counts is that nobody notices."
	for _, word := range strings.SplitAfter(text, " ") {
		chunk := fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":%q}}]}`, word)
		if !pace.wait() || out.event("", chunk) != nil {
			return
		}
	}
	_ = out.event("", "[DONE]")
}

// downloadBytes is large enough to notice if a proxy copies it about.
const downloadBytes = 10_000_000

// download is a file, the same every time, that no compression makes smaller.
func download(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(downloadBytes))
	_, _ = io.CopyN(w, rand.NewChaCha8([32]byte{}), downloadBytes)
}

func answer(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, map[string]any{"path": r.URL.Path, "time": time.Now().UTC().Format(time.RFC3339)})
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n'))
}
