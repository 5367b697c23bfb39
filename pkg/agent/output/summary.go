package output

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Summary keeps the head and the tail of what is written to it and counts all
// of it. It is for one goroutine at a time. The zero value keeps nothing.
type Summary struct {
	limit int
	head  []byte
	// tail is a ring once it is full; begin is then where its oldest byte is,
	// and before is the byte that came right before that one.
	tail   []byte
	begin  int
	before byte
	total  int64
}

// NewSummary returns a summary that keeps up to limit bytes. Memory is taken as needed.
func NewSummary(limit int) *Summary { return &Summary{limit: limit} }

// Write adds to what is summed up.
func (s *Summary) Write(data []byte) {
	s.total += int64(len(data))
	if room := s.headLimit() - len(s.head); room > 0 {
		taken := min(room, len(data))
		s.head = append(s.head, data[:taken]...)
		data = data[taken:]
	}
	tailLimit := s.limit - s.headLimit()
	if passed := len(data) - tailLimit; passed > 0 {
		// The ring is filled with the end of data alone.
		before := data[passed-1]
		defer func() { s.before = before }()
		data = data[passed:]
	}
	if room := tailLimit - len(s.tail); room > 0 {
		taken := min(room, len(data))
		s.tail = append(s.tail, data[:taken]...)
		data = data[taken:]
	}
	for len(data) > 0 {
		replaced := min(len(data), len(s.tail)-s.begin)
		s.before = s.tail[s.begin+replaced-1]
		copy(s.tail[s.begin:], data[:replaced])
		data = data[replaced:]
		s.begin = (s.begin + replaced) % len(s.tail)
	}
}

func (s *Summary) headLimit() int { return s.limit / 2 }

// Total returns how many bytes were written.
func (s *Summary) Total() int64 { return s.total }

const (
	// marker is the line that stands for what is missing.
	marker      = "[... %d bytes are missing here ...]\n"
	markerBytes = 64
)

// Bytes returns what was kept: everything, or the head and the tail with a line
// between them that says how many bytes are missing, and whether any are. That
// line comes on top of the limit.
//
// The head ends and the tail begins at the end of a line. If that costs more
// than half of either, it is between two characters of UTF-8.
func (s *Summary) Bytes() (kept []byte, truncated bool) {
	if s.total == 0 {
		return nil, false
	}
	if s.total == int64(len(s.head)+len(s.tail)) {
		return append(append(make([]byte, 0, s.total), s.head...), s.tail...), false
	}
	tail := append(append(make([]byte, 0, len(s.tail)), s.tail[s.begin:]...), s.tail[:s.begin]...)
	tail = tail[cutFront(s.before, tail):]
	head := s.head[:cutBack(s.head)]
	kept = append(make([]byte, 0, len(head)+len(tail)+markerBytes), head...)
	if len(head) == 0 || head[len(head)-1] != '\n' {
		kept = append(kept, '\n')
	}
	kept = fmt.Appendf(kept, marker, s.total-int64(len(head)+len(tail)))
	return append(kept, tail...), true
}

// cutBack returns how much of a head is kept: up to the last end of a line in
// its second half, or all but a character that is not complete.
func cutBack(head []byte) int {
	half := len(head) / 2
	if end := bytes.LastIndexByte(head[half:], '\n'); end >= 0 {
		return half + end + 1
	}
	for at := len(head) - 1; at >= 0 && at > len(head)-utf8.UTFMax; at-- {
		if utf8.RuneStart(head[at]) {
			if !utf8.FullRune(head[at:]) {
				return at
			}
			break
		}
	}
	return len(head)
}

// cutFront returns where what is kept of a tail begins, given the byte before
// it: after the first end of a line in its first half, or after the rest of a
// character whose beginning is missing.
func cutFront(before byte, tail []byte) int {
	if before == '\n' {
		return 0
	}
	if end := bytes.IndexByte(tail[:len(tail)/2], '\n'); end >= 0 {
		return end + 1
	}
	at := 0
	if before >= utf8.RuneSelf {
		for at < len(tail) && at < utf8.UTFMax-1 && !utf8.RuneStart(tail[at]) {
			at++
		}
	}
	return at
}
