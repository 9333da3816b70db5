package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/processor/config"
)

func TestPageIsCurrent(t *testing.T) {
	want, err := render()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run make generate (-code +page):\n%s", diff)
	}
}

// Users paste from the page, so what it shows must load.
func TestYAMLOfThePageLoads(t *testing.T) {
	page, err := render()
	if err != nil {
		t.Fatal(err)
	}
	defaults, err := defaultYAML()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse("defaults.yaml", []byte(defaults))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), cfg); diff != "" {
		t.Errorf("the defaults shown are not the defaults:\n%s", diff)
	}
	_, matching, _ := strings.Cut(string(page), "### Matching\n\n```yaml\n")
	matching, _, _ = strings.Cut(matching, "```")
	if _, err := config.Parse("matching.yaml", []byte(matching)); err != nil || matching == "" {
		t.Errorf("the example of matching: %v", err)
	}
}
