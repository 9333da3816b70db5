package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// answer writes v as JSON, indented, for the first reader is often a person
// with curl.
func answer(w http.ResponseWriter, code int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		fail(w, http.StatusInternalServerError, "this cannot be shown: %v", err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	// If the client left there is nobody to tell.
	_, _ = w.Write(append(body, '\n'))
}

// fail answers with an error that says what to do.
func fail(w http.ResponseWriter, code int, format string, args ...any) {
	answer(w, code, struct {
		Error string `json:"error"`
	}{fmt.Sprintf(format, args...)})
}

const (
	defaultLimit = 100
	maxLimit     = 1000

	// shortID is the longest event ID, path or name that is shown whole.
	shortID = 64
)

// parameters reads the query. If there is anything in it that is not among
// known, or twice, it answers and says false: a filter that is misspelt and
// ignored would look like a wrong answer.
func parameters(w http.ResponseWriter, r *http.Request, known ...string) (url.Values, bool) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		fail(w, http.StatusBadRequest, "the query is not well formed: write it as name=value&name=value")
		return nil, false
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			fail(w, http.StatusBadRequest, "unknown parameter %q: there are none here", shorten(name))
			return nil, false
		case !slices.Contains(known, name):
			fail(w, http.StatusBadRequest, "unknown parameter %q: there are %s", shorten(name), strings.Join(known, ", "))
			return nil, false
		case len(values) > 1:
			fail(w, http.StatusBadRequest, "%s is there %d times: write it once", name, len(values))
			return nil, false
		}
	}
	return q, true
}

// noParameters is parameters for paths that take none.
func noParameters(w http.ResponseWriter, r *http.Request) bool {
	_, ok := parameters(w, r)
	return ok
}

// limitOf reads ?limit=, 1 to most.
func limitOf(w http.ResponseWriter, q url.Values, standard, most int) (int, bool) {
	text := q.Get("limit")
	if text == "" {
		return standard, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		fail(w, http.StatusBadRequest, "limit is %q: write 1 to %d, and go on with after", shorten(text), most)
		return 0, false
	}
	return n, true
}

// shorten cuts a text that others chose to a length that is safe to show and
// useless as a credential.
func shorten(s string) string {
	if utf8.RuneCountInString(s) <= shortID {
		return s
	}
	return string([]rune(s)[:shortID]) + "…"
}
