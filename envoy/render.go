package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// JSON prints the configuration as Envoy reads it with --config-path x.json.
// Equal configurations give equal bytes.
func JSON(b *bootstrapv3.Bootstrap) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("printing the Envoy configuration: %w", err)
	}
	// protojson varies its white space on purpose, so that nobody relies on it.
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("printing the Envoy configuration: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// YAML prints the configuration with a comment above every setting that keeps a
// long stream alive, saying what would break without it. Equal configurations
// give equal bytes.
func YAML(b *bootstrapv3.Bootstrap) ([]byte, error) {
	raw, err := JSON(b)
	if err != nil {
		return nil, err
	}
	notes, err := notesOf(b.ProtoReflect())
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	w := &yamlWriter{dec: dec, notes: notes}
	if err := w.value("", 0, false); err != nil {
		return nil, fmt.Errorf("printing the Envoy configuration: %w", err)
	}
	return w.out.Bytes(), nil
}

// yamlWriter turns a stream of JSON tokens into block-style YAML. It exists
// because comments have to stand above chosen keys; JSON needs so little of YAML
// that writing it is shorter than steering a general emitter.
type yamlWriter struct {
	dec   *json.Decoder
	out   bytes.Buffer
	notes map[string]string // by path, as notesOf makes them
}

// value writes what comes next. inline says that the cursor stands behind "- ",
// where the first key of a mapping belongs on the same line.
func (w *yamlWriter) value(path string, indent int, inline bool) error {
	tok, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch t := tok.(type) {
	case json.Delim:
		if t == '{' {
			return w.mapping(path, indent, inline)
		}
		return w.sequence(path, indent)
	case string:
		w.out.WriteString(yamlString(t))
	case json.Number:
		w.out.WriteString(t.String())
	default: // true, false, null
		fmt.Fprint(&w.out, t)
	}
	w.out.WriteByte('\n')
	return nil
}

func (w *yamlWriter) mapping(path string, indent int, inline bool) error {
	if !w.dec.More() {
		// The parent left the cursor behind "key:" or "- ".
		w.out.WriteString("{}\n")
		_, err := w.dec.Token()
		return err
	}
	if !inline && indent > 0 {
		w.trimSpace()
		w.out.WriteByte('\n')
	}
	for first := true; w.dec.More(); first = false {
		tok, err := w.dec.Token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok {
			return fmt.Errorf("%s: %v is not a key", path, tok)
		}
		at := path + "/" + key
		if !first || !inline {
			w.note(at, indent)
			w.pad(indent)
		}
		w.out.WriteString(yamlString(key))
		w.out.WriteString(": ")
		if err := w.value(at, indent+2, false); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *yamlWriter) sequence(path string, indent int) error {
	if !w.dec.More() {
		w.out.WriteString("[]\n")
		_, err := w.dec.Token()
		return err
	}
	w.trimSpace()
	w.out.WriteByte('\n')
	// A sequence's dashes stand below their key, not two columns in.
	indent -= 2
	for i := 0; w.dec.More(); i++ {
		at := path + "/" + strconv.Itoa(i)
		w.note(at, indent)
		w.pad(indent)
		w.out.WriteString("- ")
		if err := w.value(at, indent+2, true); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *yamlWriter) pad(n int) { w.out.WriteString(strings.Repeat(" ", n)) }

// trimSpace removes the blank that was written for a value on the same line.
func (w *yamlWriter) trimSpace() {
	if n := w.out.Len(); n > 0 && w.out.Bytes()[n-1] == ' ' {
		w.out.Truncate(n - 1)
	}
}

// note writes the comment that belongs above path, wrapped to a readable width.
func (w *yamlWriter) note(path string, indent int) {
	text, ok := w.notes[path]
	if !ok {
		return
	}
	const width = 100
	line := ""
	flush := func() {
		w.pad(indent)
		w.out.WriteString("#" + line + "\n")
		line = ""
	}
	for word := range strings.FieldsSeq(text) {
		if line != "" && indent+1+len(line)+1+len(word) > width {
			flush()
		}
		line += " " + word
	}
	flush()
}

// plain are strings that YAML takes for strings without quotes.
var plain = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./%()=-]*(:[A-Za-z0-9_./%()=-]+)*$|^[0-9]+(\.[0-9]+)?s$|^[0-9]+(\.[0-9]+){3}$`)

func yamlString(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return strconv.Quote(s)
	}
	if plain.MatchString(s) {
		return s
	}
	// A JSON string is a YAML double-quoted string.
	quoted, err := json.Marshal(s)
	if err != nil { // not for a string
		return strconv.Quote(s)
	}
	return string(quoted)
}
