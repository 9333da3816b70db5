package top

import (
	"slices"
	"unicode/utf8"
)

// states are what f goes through; bad is no state of the API's, but what an
// operator is paged about.
func states() []string { return []string{"live", "resuming", "ended", "bad", "all"} }

// press changes a view by a key, as a terminal in raw mode sends it. It says
// whether the user wants to leave, and whether other streams are to be shown.
func (v *View) press(key string, rows, matched int) (quit, again bool) {
	if v.Typing {
		return v.typed(key), true
	}
	q := &v.Query
	before := *q
	switch key {
	case "q", "\x03", "\x04": // Ctrl-C, Ctrl-D
		return true, false
	case " ":
		v.Paused = !v.Paused
	case "/":
		v.Typing = true
	case "\x1b":
		q.Text = ""
	case "r":
		if rest, down := cutMinus(q.Sort); down {
			q.Sort = rest
		} else {
			q.Sort = "-" + rest
		}
	case "<", "\x1b[D":
		q.Sort = neighbour(q.Sort, -1)
	case ">", "\x1b[C":
		q.Sort = neighbour(q.Sort, 1)
	case "f":
		v.nextState()
	case "j", "\x1b[B":
		q.Offset++
	case "k", "\x1b[A":
		q.Offset--
	case "n", "\x1b[6~":
		q.Offset += rows
	case "p", "\x1b[5~":
		q.Offset -= rows
	case "g", "\x1b[H", "\x1b[1~":
		q.Offset = 0
	case "G", "\x1b[F", "\x1b[4~":
		q.Offset = matched
	}
	if q.Sort != before.Sort || q.State != before.State || q.Bad != before.Bad || q.Text != before.Text {
		q.Offset = 0
	}
	q.Offset = max(0, min(q.Offset, matched-rows))
	return false, *q != before
}

// typed is press while the user writes what to look for.
func (v *View) typed(key string) (quit bool) {
	switch key {
	case "\r", "\n":
		v.Typing = false
	case "\x1b":
		v.Typing, v.Query.Text = false, ""
	case "\x03":
		return true
	case "\x7f", "\b":
		_, n := utf8.DecodeLastRuneInString(v.Query.Text)
		v.Query.Text = v.Query.Text[:len(v.Query.Text)-n]
	default:
		const most = 200
		if key[0] >= ' ' && len(v.Query.Text)+len(key) <= most {
			v.Query.Text += key
		}
	}
	v.Query.Offset = 0
	return false
}

func (v *View) nextState() {
	q := &v.Query
	now := q.State
	if q.Bad {
		now = "bad"
	}
	next := states()[(slices.Index(states(), now)+1)%len(states())]
	q.Bad, q.State = next == "bad", next
	if q.Bad {
		q.State = "ended"
	}
	switch {
	case q.State == "ended":
		q.Sort = "-ended"
	case q.Sort == "-ended":
		q.Sort = "started"
	}
}

// neighbour is the order by the next column. Numbers begin with the greatest.
func neighbour(sort string, step int) string {
	key, _ := cutMinus(sort)
	all := columns()
	i := slices.IndexFunc(all, func(c column) bool { return c.key == key })
	c := all[(max(i, 0)+step+len(all))%len(all)]
	if c.right && c.key != "started" && c.key != "last_byte" {
		return "-" + c.key
	}
	return c.key
}

func cutMinus(sort string) (rest string, cut bool) {
	if sort != "" && sort[0] == '-' {
		return sort[1:], true
	}
	return sort, false
}

// split divides what was read from a terminal into keys: a sequence, or a
// character.
func split(b []byte) []string {
	var keys []string
	for len(b) > 0 {
		n := 1
		switch {
		case b[0] == 0x1b && len(b) > 2 && (b[1] == '[' || b[1] == 'O'):
			for n = 2; n < len(b)-1 && (b[n] < 0x40 || b[n] > 0x7e); {
				n++
			}
			n++
			// The same keys, when the terminal is in another mode.
			if b[1] == 'O' {
				keys, b = append(keys, "\x1b["+string(b[2:n])), b[n:]
				continue
			}
		case b[0] >= utf8.RuneSelf:
			_, n = utf8.DecodeRune(b)
		}
		keys, b = append(keys, string(b[:n])), b[n:]
	}
	return keys
}
