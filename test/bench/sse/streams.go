package main

import (
	"fmt"
	"strings"
)

// shape names a kind of stream that is common in the field.
type shape string

const (
	llm       shape = "llm"       // a token per event, 120 B, LF
	mcp       shape = "mcp"       // a JSON-RPC message per event, 600 B, LF
	large     shape = "large"     // 64 KiB of data in one line, LF
	heartbeat shape = "heartbeat" // a short event after two comment blocks, CRLF
)

// generate makes a stream of n events. It is the same at every call: lengths
// vary a little, as they do in life, by a fixed rule.
func generate(s shape, n int) []byte {
	var b []byte
	for i := range n {
		vary := i * 7 % 11
		switch s {
		case llm:
			b = fmt.Appendf(b, "id: 5f3a-%08d\ndata: {\"id\":\"gen-81\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}],\"usage\":null}\n\n",
				i, strings.Repeat("n", 14+vary))
		case mcp:
			b = fmt.Appendf(b, "event: message\nid: stream-7_%d\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":%d,\"message\":%q}}\n\n",
				i, i, strings.Repeat("lorem ipsum ", 40)[:466+vary])
		case large:
			b = fmt.Appendf(b, "id: %d\ndata: %s\n\n", i, strings.Repeat("QUJDRGVmZ2g1NjcvKz09", 64<<10/20+2)[:64<<10+vary])
		case heartbeat:
			b = fmt.Appendf(b, ": keep-alive %d\r\n\r\n: keep-alive %d\r\n\r\nevent: tick\r\nid: %d-%d\r\ndata: {\"price\":%d,\"qty\":%d}\r\n\r\n",
				1700000000+i, 1700000000+i, 1700000000000+i, vary%10, 100000+i, 100+vary)
		}
	}
	return b
}

// endless moves a stream's first bytes to its end, so that it stops in the
// middle of a block and goes on there when it is read again: pass after pass is
// one long stream, of which start and end cost nothing.
func endless(stream []byte) []byte {
	const moved = 50
	return append(stream[moved:len(stream):len(stream)], stream[:moved]...)
}

// cut divides a stream into chunks of n bytes.
func cut(stream []byte, n int) [][]byte {
	var out [][]byte
	for len(stream) > n {
		out = append(out, stream[:n])
		stream = stream[n:]
	}
	return append(out, stream)
}
