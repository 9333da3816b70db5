// Package holdfastv1 is version 1 of the formats that Holdfast stores and shows.
//
// The stores of one version of Holdfast read what every earlier one wrote:
// testdata has a set of records for each, and they have to stay readable.
package holdfastv1

//go:generate go tool -modfile=../../../test/tools/go.mod buf generate --template ../../../buf.gen.yaml -o ../../.. ../../..
