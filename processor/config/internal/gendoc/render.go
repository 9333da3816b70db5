package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/goccy/go-yaml"

	"holdfast/processor/config"
)

//go:embed page.md.tmpl
var page string

// section is a table of the page: the keys with a common beginning.
type section struct {
	Title string // as in the file
	Keys  []config.Entry
}

// example is a wrong file and what is said about it.
type example struct{ File, Error string }

func render() ([]byte, error) {
	defaults, err := defaultYAML()
	if err != nil {
		return nil, err
	}
	examples, err := provoke(
		"policies:\n- name: chat\n  hartbeat: 5s\n",
		"policies:\n- name: chat\n  mode: hold\n  dedup: sometimes\n",
		"limits: {event_bytes: 2MB}\nstore: {ttl: 3600}\n",
	)
	if err != nil {
		return nil, err
	}
	tmpl, err := template.New("page").Funcs(template.FuncMap{"row": row}).Parse(page)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = tmpl.Execute(&b, map[string]any{
		"Defaults": defaults,
		"Sections": sections(config.Reference()),
		"Reload":   reloadable(config.Reference()),
		"Examples": examples,
	})
	return b.Bytes(), err
}

// defaultYAML writes the defaults in the form of the file.
func defaultYAML() (string, error) {
	asJSON, err := json.Marshal(config.Default())
	if err != nil {
		return "", err
	}
	out, err := yaml.JSONToYAML(asJSON)
	return string(out), err
}

func sections(entries []config.Entry) []section {
	var out []section
	for _, e := range entries {
		title, _, nested := strings.Cut(e.Path, ".")
		switch {
		case title == "policies[]":
			title = "policies"
		case !nested:
			title = "listen and admin"
		}
		if len(out) == 0 || out[len(out)-1].Title != title {
			out = append(out, section{Title: title})
		}
		last := &out[len(out)-1]
		last.Keys = append(last.Keys, e)
	}
	return out
}

// reloadable lists the keys outside policies that a reload applies.
func reloadable(entries []config.Entry) []string {
	var out []string
	for _, e := range entries {
		if e.Reload && !strings.HasPrefix(e.Path, "policies[]") {
			out = append(out, e.Path)
		}
	}
	return out
}

// row is a key's line of a table.
func row(e config.Entry) string {
	name := strings.TrimPrefix(e.Path, "policies[].")
	value := e.Default
	switch e.Path {
	case "policies[].session.key", "policies[].session.principal":
		value = "below" // too long for a cell; it is in the YAML above
	default:
		value = "`" + value + "`"
	}
	about := []string{e.Doc}
	if e.Zero != "" {
		about = append(about, e.Zero+".")
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |", name, value, e.Allowed, strings.Join(about, " "))
}

// provoke makes the errors of wrong files.
func provoke(files ...string) ([]example, error) {
	var out []example
	for _, f := range files {
		_, err := config.Parse("holdfast.yaml", []byte(f))
		if err == nil {
			return nil, errors.New("an example of a wrong file is accepted:\n" + f)
		}
		out = append(out, example{File: f, Error: err.Error()})
	}
	return out, nil
}
