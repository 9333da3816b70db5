package console

import (
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed index.html.tmpl
var indexPage string

// index lists the other pages, from the routes themselves, so that none is
// forgotten.
func (c *console) index(w http.ResponseWriter, r *http.Request) {
	page, err := template.New("index").Parse(indexPage)
	if err != nil {
		fail(w, http.StatusInternalServerError, "the page cannot be shown: %v", err)
		return
	}
	type line struct{ Path, About string }
	var lines []line
	for _, r := range c.routes() {
		if r.show != "" {
			lines = append(lines, line{r.show, r.about})
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// If the client left there is nobody to tell.
	_ = page.Execute(w, map[string]any{"Version": c.Version, "Lines": lines})
}
