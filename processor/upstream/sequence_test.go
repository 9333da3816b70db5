package upstream

import "testing"

func TestSequenceNumber(t *testing.T) {
	for data, want := range map[string]string{
		`{"type":"response.created","sequence_number":0,"response":{}}`: "0",
		`{"delta":"\"sequence_number\":7", "sequence_number" : 12 }`:    "12",
		`{"response":{"sequence_number":7}}`:                            "",
		`{"sequence_number":-1}`:                                        "",
		`{"sequence_number":"1"}`:                                       "",
		`{"sequence_number":1.5}`:                                       "",
		`[DONE]`:                                                        "",
		``:                                                              "",
	} {
		if got, ok := SequenceNumber([]byte(data)); string(got) != want || ok != (want != "") {
			t.Errorf("%s: %q, %v; want %q", data, got, ok, want)
		}
	}
}
