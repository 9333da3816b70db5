package console

import (
	"embed"
	"html/template"
	"net/http"
	"path"
)

// The page and what it loads. It needs nothing from elsewhere, for whoever is
// paged may have no internet, and nothing is built.
//
//go:embed web
var web embed.FS

// asset serves a file of the page.
func (c *console) asset(w http.ResponseWriter, r *http.Request) {
	if !noParameters(w, r) {
		return
	}
	name := r.PathValue("name")
	kind := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
	body, err := web.ReadFile("web/" + name)
	if err != nil || kind == "" {
		fail(w, http.StatusNotFound, "there is nothing at %s: / lists what there is", shorten(r.URL.Path))
		return
	}
	w.Header().Set("Content-Type", kind)
	// If the client left there is nobody to tell.
	_, _ = w.Write(body)
}

// index is the live page. It lists the other pages too, from the routes
// themselves, so that none is forgotten.
func (c *console) index(w http.ResponseWriter, _ *http.Request) {
	page, err := template.ParseFS(web, "web/index.html.tmpl")
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
