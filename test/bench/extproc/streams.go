package main

import (
	"fmt"
	"math/rand/v2"
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

var shapes = []shape{llm, mcp, large, heartbeat}

// size is about how many bytes an event takes, comments before it included.
func (s shape) size(largeEvent int) int {
	return map[shape]int{llm: 120, mcp: 600, large: largeEvent, heartbeat: 124}[s]
}

// blocks is the number of blocks per event.
func (s shape) blocks() int {
	if s == heartbeat {
		return 3
	}
	return 1
}

// One event in repeatEvery is a copy of one of the repeatReach before it.
const (
	repeatEvery = 10
	repeatReach = 50
)

// block is everything up to and including a blank line.
type block struct {
	text   []byte
	event  bool // else it is a comment
	repeat bool // of an event before it: a filter drops it
}

// generate makes a stream of n events, the same for the same number. No two
// events differ only by chance: each has an id of its own.
func generate(s shape, number, n, largeEvent int) []block {
	rng := rand.New(rand.NewPCG(uint64(number), 1))
	var all []block
	var past [][]byte // events that are not repeats
	for i := range n {
		for k := range s.blocks() - 1 {
			all = append(all, block{text: fmt.Appendf(nil, ": still here, %d.%d\r\n\r\n", 1700000000+i, k)})
		}
		if i%repeatEvery == repeatEvery-1 {
			back := 1 + rng.IntN(min(len(past), repeatReach))
			all = append(all, block{text: past[len(past)-back], event: true, repeat: true})
			continue
		}
		text := s.event(number, i, largeEvent)
		past = append(past, text)
		all = append(all, block{text: text, event: true})
	}
	return all
}

func (s shape) event(number, i, largeEvent int) []byte {
	vary := i * 7 % 11
	switch s {
	case mcp:
		return fmt.Appendf(nil, "event: message\nid: %d_%d\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":%d,\"message\":%q}}\n\n",
			number, i, i, strings.Repeat("dolor sit amet, ", 31)[:478+vary])
	case large:
		return fmt.Appendf(nil, "id: %d.%d\ndata: %s\n\n", number, i, strings.Repeat("0123456789abcdefGHIJKLMN", largeEvent/24+1)[:largeEvent-vary])
	case heartbeat:
		return fmt.Appendf(nil, "event: tick\r\nid: %d-%d\r\ndata: {\"price\":%d,\"qty\":%d}\r\n\r\n", 1700000000000+i, number%10, 100000+i, 100+vary)
	default:
		return fmt.Appendf(nil, "id: %06d-%06d\ndata: {\"id\":\"gen-81\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}],\"n\":null}\n\n",
			number, i, strings.Repeat("t", 17+vary))
	}
}

// cut says how a stream is divided into chunks.
type cut string

const (
	perBlock cut = "event" // a chunk per block, as a server that flushes makes them
	perByte  cut = "1"
	per4096  cut = "4096"
	rand3000 cut = "rand3000" // of random size, 1 to 3000 bytes
)

var cuts = []cut{perBlock, perByte, per4096, rand3000}

// bytes is how many bytes a chunk has, or half of the most it may have if that
// is random; 0 if blocks decide.
func (c cut) bytes() int {
	switch c {
	case perByte:
		return 1
	case per4096:
		return 4096
	case rand3000:
		return 3000 / 2
	default:
		return 0
	}
}

// perEvent is about how many chunks an event of shape s takes.
func (c cut) perEvent(s shape, largeEvent int) float64 {
	if c == perBlock {
		return float64(s.blocks())
	}
	return float64(s.size(largeEvent)) / float64(c.bytes())
}

// ends are the offsets at which the chunks of a stream end.
func (c cut) ends(stream []block, number int) []int {
	var out []int
	total := 0
	for _, b := range stream {
		total += len(b.text)
		if c == perBlock {
			out = append(out, total)
		}
	}
	if c == perBlock {
		return out
	}
	rng := rand.New(rand.NewPCG(uint64(number), 2))
	for at := 0; at < total; {
		n := c.bytes()
		if c == rand3000 {
			n = 1 + rng.IntN(2*n)
		}
		at = min(at+n, total)
		out = append(out, at)
	}
	return out
}
