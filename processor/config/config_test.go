package config

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The default table that users are shown must load, and mean the defaults.
func TestContractTableIsTheDefault(t *testing.T) {
	data, err := os.ReadFile("testdata/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("contract.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("the table differs from Default (-Default +table):\n%s", diff)
	}
}
