// Chart writes what the chart's schema says about the processor's configuration,
// from the table of keys that the processor itself reads: so Helm refuses the values
// that the processor would refuse, and a new key needs no second mention.
package main

//go:generate go run . ../../../examples/helm/holdfast/values.schema.json

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"holdfast/processor/config"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chart FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// ours are the keys that follow from other values of the chart, or make no sense
// in a pod: its root file system cannot be written, so there is no bolt file.
var ours = []string{"listen", "admin", "tls.", "relay.", "drain.", "fetch.pass_key_file", "seal.", "store.path"}

func run(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	definitions, ok := schema["definitions"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s has no definitions to put that of config into", file)
	}
	definitions["config"] = configSchema()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// object is the schema of a section, with nothing in it.
func object() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
}

func configSchema() map[string]any {
	root := object()
	for _, key := range config.Reference() {
		if slices.ContainsFunc(ours, func(prefix string) bool {
			return key.Path == prefix || strings.HasSuffix(prefix, ".") && strings.HasPrefix(key.Path, prefix)
		}) {
			continue
		}
		section, path := root, strings.Split(key.Path, ".")
		for _, name := range path[:len(path)-1] {
			section = below(section, name)
		}
		section["properties"].(map[string]any)[path[len(path)-1]] = value(key)
	}
	policy := below(root, "policies[]")
	policy["required"] = []string{"name"}
	return root
}

// below is a section of a section; a name with [] is that of a list of sections.
func below(section map[string]any, name string) map[string]any {
	properties := section["properties"].(map[string]any)
	name, list := strings.CutSuffix(name, "[]")
	if properties[name] == nil {
		properties[name] = object()
		if list {
			properties[name] = map[string]any{"type": "array", "items": object()}
		}
	}
	found := properties[name].(map[string]any)
	if list {
		return found["items"].(map[string]any)
	}
	return found
}

var (
	word   = regexp.MustCompile("`([^`]*)`")
	closed = regexp.MustCompile("^`[^`]*`(, `[^`]*`)*$")
	limits = regexp.MustCompile(`^(?:whole )?number, (\d+) to (\d+)$`)
)

// value is the schema of one key, by what the reference says is allowed.
func value(key config.Entry) map[string]any {
	schema := map[string]any{"description": key.Doc}
	unit, _, _ := strings.Cut(key.Allowed, ",")
	switch {
	case closed.MatchString(key.Allowed):
		var values []string
		for _, m := range word.FindAllStringSubmatch(key.Allowed, -1) {
			if m[1] != "bolt" {
				values = append(values, m[1])
			}
		}
		schema["enum"] = values
	case unit == "duration":
		// Only 0 needs no unit. Said so, a number without one is told to be a text.
		schema["if"] = map[string]any{"not": map[string]any{"const": 0}}
		schema["then"] = map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`}
	case unit == "size":
		schema["type"], schema["minimum"] = []string{"string", "integer"}, 0
		schema["pattern"] = `^[0-9]+ ?(KiB|MiB|GiB)?$`
	case unit == "whole number" || unit == "number":
		schema["type"] = "number"
		if unit == "whole number" {
			schema["type"] = "integer"
		}
		if m := limits.FindStringSubmatch(key.Allowed); m != nil {
			schema["minimum"], schema["maximum"] = json.Number(m[1]), json.Number(m[2])
		}
	case strings.HasPrefix(unit, "list of entries"):
		schema["type"], schema["items"] = "array", map[string]any{"type": []string{"object", "string"}}
	case strings.HasPrefix(unit, "list"):
		schema["type"], schema["items"] = "array", map[string]any{"type": "string"}
	case strings.HasPrefix(unit, "map"):
		schema["type"], schema["additionalProperties"] = "object", map[string]any{"type": "string"}
	default:
		schema["type"] = "string"
	}
	if key.Path == "fetch.url" {
		schema["pattern"] = `^(|http://.+|unix:/.+)$`
	}
	return schema
}
