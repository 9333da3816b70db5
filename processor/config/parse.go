package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFile is far above any real configuration; it bounds what a wrong path
	// (a log, a device) can cost.
	maxFile = 1 << 20
	// maxNesting is more than twice what the deepest key needs. The parser's time
	// and memory grow with the square of the nesting: 200 KB of "{a: " would take
	// gigabytes without this limit.
	maxNesting = 16
)

// Load reads a file. An empty path means no file: it returns the defaults.
// The error is an [*Error] if the file could be read.
func Load(path string) (*Config, error) {
	if path == "" {
		return Default(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a configuration; name is what errors call it. Keys that are left
// out have their default; a policies list replaces the default one. The error
// is always an [*Error] and tells of every problem in the file.
func Parse(name string, data []byte) (*Config, error) {
	src := newSource(name, string(data))
	root, err := parseTree(src, data)
	if err != nil {
		return nil, err
	}
	cfg := Default()
	d := newDecoder(src)
	d.root(root, cfg)
	d.found(cfg.problems())
	if len(d.problems) > 0 {
		return nil, &Error{Name: name, Problems: d.sorted()}
	}
	return cfg, nil
}

// parseTree reads the text as one YAML document; nil if it has no content.
func parseTree(src *source, data []byte) (ast.Node, error) {
	fail := func(line, column int, format string, args ...any) error {
		p := Problem{Message: fmt.Sprintf(format, args...), Line: line, Column: column}
		p.Snippet = src.snippet(line, column)
		return &Error{Name: src.name, Problems: []Problem{p}}
	}
	if len(data) > maxFile {
		return nil, fail(0, 0, "the file is larger than %v: is it a Holdfast configuration?", Size(maxFile))
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if line, column, bad := unreadable(data); bad {
		return nil, fail(line, column, "not a text file in UTF-8: there is a byte here that YAML does not allow")
	}
	tokens := lexer.Tokenize(string(data))
	if t := tooDeep(tokens); t != nil {
		return nil, fail(t.Position.Line, t.Position.Column, "nested too deeply: no key is more than %d levels down", maxNesting)
	}
	// Repeated keys are found by the decoder, which reports all of them.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if !errors.As(err, &syntax) || syntax.Token == nil {
			return nil, fail(0, 0, "not YAML: %v", err)
		}
		pos := syntax.Token.Position
		return nil, fail(pos.Line, pos.Column, "%s", explain(syntax.Message))
	}
	return onlyDocument(file, fail)
}

// onlyDocument returns the content of the file's one document.
func onlyDocument(file *ast.File, fail func(line, column int, format string, args ...any) error) (ast.Node, error) {
	var root ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		pos := start(doc.Body).Position
		if _, ok := doc.Body.(*ast.DirectiveNode); ok {
			return nil, fail(pos.Line, pos.Column, "YAML directives are not supported: remove this line")
		}
		if root != nil {
			return nil, fail(pos.Line, pos.Column, "a second document begins here: write one document, without a --- between its parts")
		}
		root = doc.Body
	}
	return root, nil
}

// unreadable finds the first byte that is not UTF-8, or a control character
// outside YAML's printable set (https://yaml.org/spec/1.2.2/#51-character-set).
func unreadable(data []byte) (line, column int, bad bool) {
	line, column = 1, 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == '\n':
			line, column = line+1, 0
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			return line, column, true
		}
		column++
		data = data[n:]
	}
	return 0, 0, false
}

// tooDeep finds the token that opens one level too many: of brackets, or of
// list dashes on one line. Nesting by indentation needs no limit of its own, for
// n levels take n² / 2 bytes.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets, dashes, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, dashes = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType:
			dashes++
		}
		if brackets > maxNesting || dashes > maxNesting {
			return t
		}
	}
	return nil
}

// explain turns the parser's message into one that says what to do.
func explain(message string) string {
	message = regexp.MustCompile(`\s*\[level:[^\]]*\]$`).ReplaceAllString(message, "")
	switch {
	case strings.Contains(message, `'	'`):
		return "a tab indents this line: YAML allows only spaces"
	case strings.Contains(message, "mapping value is not allowed"):
		return `not YAML: a second "key: value" on one line; put a text that contains ": " in quotes`
	case strings.Contains(message, "non-map value is specified"):
		return "not YAML: this line is neither a key of the section above nor indented like its list"
	}
	return "not YAML: " + message
}
