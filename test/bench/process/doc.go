// Package process runs the programs that benchmarks compare, and reads what they
// use of the machine.
package process
