// Gendoc writes docs/configuration.md from the table of keys, the defaults and
// the errors of the package config, so that the page cannot lag behind the code.
//
// Usage: gendoc FILE
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendoc FILE")
		os.Exit(2)
	}
	page, err := render()
	if err == nil {
		err = os.WriteFile(os.Args[1], page, 0o644) //nolint:gosec // the operator names the file, and everyone may read a page of the docs
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gendoc:", err)
		os.Exit(1)
	}
}
