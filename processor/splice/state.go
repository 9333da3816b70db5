package splice

// State is what outlives one stream of a line: enough to recognise, when the
// client comes back, what it already has. The zero State knows nothing.
type State struct {
	Acked    string    // the client's own Last-Event-ID: the only real acknowledgement
	LastSent string    // id in force after the last block that was handed to Envoy
	Window   []uint64  // tracker entries, oldest first
	Key      [2]uint64 // key of the tracker's hash; zero: none chosen yet
	Epoch    uint32    // restarts of the origin's ids seen so far
	Trust    Trust

	Events, Duplicates uint64 // totals over all streams of the line
}
