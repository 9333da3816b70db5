package upstream

// SequenceNumber returns the sequence_number of an event's data, in the digits in
// which it is written there. It is what tells such events apart, for they carry
// no id: see [OpenAIResponses].
func SequenceNumber(data []byte) (digits []byte, ok bool) {
	for name, value := range members(data) {
		if string(name) != "sequence_number" {
			continue
		}
		for _, c := range value {
			if c < '0' || c > '9' {
				return nil, false
			}
		}
		return value, len(value) > 0
	}
	return nil, false
}
