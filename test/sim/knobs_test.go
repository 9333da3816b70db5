package sim

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/processor/config"
)

// ours are keys whose values a schedule chooses by itself, and those of the
// process that are none of a stream's business.
var ours = []string{
	"policies.name", "policies.match", "policies.mode", "policies.via", "policies.rollout",
	"policies.session", "policies.complete_when", "policies.retry_when",
	"policies.gap_event", "limits.request_bytes", "limits.sessions", "limits.memory", "limits.detached",
}

// drawKnobs draws the values of all keys below v, a pointer to a struct of the
// configuration, among those that their sim tags name.
func drawKnobs(t *rapid.T, v any) {
	eachKnob(reflect.ValueOf(v).Elem(), "", func(f reflect.Value, path, tag string) {
		if tag == "" {
			return
		}
		values := strings.Fields(tag)
		text := rapid.SampledFrom(values).Draw(t, path)
		if lo, hi, ok := strings.Cut(text, ".."); ok {
			text = strconv.Itoa(rapid.IntRange(must(strconv.Atoi(lo)), must(strconv.Atoi(hi))).Draw(t, path))
		}
		set(f, text)
	})
}

// eachKnob calls f for every key that has a value of its own.
func eachKnob(v reflect.Value, path string, f func(v reflect.Value, path, tag string)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		if tag := field.Tag.Get("sim"); tag != "" || field.Type.Kind() != reflect.Struct {
			f(v.Field(i), at, tag)
			continue
		}
		eachKnob(v.Field(i), at, f)
	}
}

func set(v reflect.Value, text string) {
	switch to := v.Addr().Interface().(type) {
	case *string:
		*to = text
	case *int:
		*to = must(strconv.Atoi(text))
	case *float64:
		*to = must(strconv.ParseFloat(text, 64))
	case *config.Size:
		*to = must(config.ParseSize(text))
	case *config.Duration:
		*to = config.Duration(must(time.ParseDuration(text)))
	default:
		panic(fmt.Sprintf("a sim tag on a %T", to))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A key that nobody has thought about would never be simulated.
func TestEveryKeyIsSimulated(t *testing.T) {
	cfg := config.Default()
	check := func(v reflect.Value, section string) {
		eachKnob(v, "", func(_ reflect.Value, path, tag string) {
			path = section + "." + path
			known := slices.ContainsFunc(ours, func(p string) bool { return p == path || strings.HasPrefix(path, p+".") })
			if known == (tag != "") {
				t.Errorf("%s: give it a sim tag in processor/config, or say here that it is ours (and not both)", path)
			}
		})
	}
	check(reflect.ValueOf(&cfg.Policies[0]).Elem(), "policies")
	check(reflect.ValueOf(&cfg.Limits).Elem(), "limits")
}
