package main

import "testing"

func TestParse(t *testing.T) {
	got := parse([]byte(`goos: linux
BenchmarkTracker/new-2         	       2	        35.99 ns/id	         6.611 x-lru
BenchmarkTracker/half-repeats  	       3	        25.74 ns/id	         4.918 x-lru
BenchmarkTracker/size-16       	    5247	     66618 ns/op	       256.0 B@10
BenchmarkHash/24-2             	74319511	         4.739 ns/op
PASS
`))
	want := map[string]float64{
		"new ns/id": 35.99, "new x-lru": 6.611, "half-repeats ns/id": 25.74, "half-repeats x-lru": 4.918,
		"size ns/op": 66618, "size B@10": 256,
	}
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %v, want %v", k, got[k], v)
		}
	}
}
