package sse_test

import (
	"strconv"
	"strings"
	"time"

	"holdfast/processor/sse"
)

// limited says what the units of a stream become under a limit: which of them
// are oversized, and what is still known of those.
func limited(units []unit, limit int) []unit {
	limit = limitInForce(limit)
	var out []unit
	for _, u := range units {
		text := u.Bytes
		if u.Means.HasBOM || len(out) == 0 && u.Kind == "held" {
			text = strings.TrimPrefix(text, "\uFEFF")
		}
		line := strings.TrimRight(text, "\r\n")
		switch {
		case u.Kind == "block" && len(strings.TrimSuffix(u.Bytes, "\n"))+lone(u.Bytes) > limit:
			u.Kind = "oversized"
			u.Means = meansWithin(text, limit, u.Means.HasBOM)
		case u.Kind == "comment" && len(line) >= limit:
			u.Kind = "oversized"
		case u.Kind == "held" && strings.HasPrefix(text, ":") && len(text) >= limit,
			u.Kind == "held" && !strings.HasPrefix(text, ":") && text != "" && len(u.Bytes) >= limit:
			u.Kind = "oversized"
			u.Means.HasBOM = text != u.Bytes
		}
		out = append(out, u)
	}
	return out
}

// lone is 1 if the block ends with an LF that is a line end of its own: only
// the second half of a CRLF does not count.
func lone(block string) int {
	if strings.HasSuffix(block, "\n") && !strings.HasSuffix(block, "\r\n") {
		return 1
	}
	return 0
}

// meansWithin reads the lines of a block that are within the limit, and of the
// others only whether they are data.
func meansWithin(block string, limit int, bom bool) piece {
	means := piece{HasBOM: bom}
	block = strings.ReplaceAll(strings.ReplaceAll(block, "\r\n", "\n"), "\r", "\n")
	for line := range strings.SplitSeq(block, "\n") {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		if name == "data" {
			means.HasData = true
		}
		if len(line) >= limit {
			continue
		}
		switch name {
		case "id":
			if !strings.Contains(value, "\x00") {
				means.ID, means.HasID = value, true
			}
		case "event":
			means.Type = value
		case "retry":
			if value == "" || strings.Trim(value, "0123456789") != "" {
				continue
			}
			ms, err := strconv.ParseInt(value, 10, 64)
			if most := sse.MaxRetry.Milliseconds(); err != nil || ms > most {
				ms = most
			}
			means.Retry, means.HasRetry = time.Duration(ms)*time.Millisecond, true
		}
	}
	return means
}
