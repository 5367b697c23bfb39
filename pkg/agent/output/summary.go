package output

import "fmt"

// Summary keeps the head and the tail of what is written to it and counts all
// of it. It is for one goroutine at a time. The zero value keeps nothing.
type Summary struct {
	limit int
	head  []byte
	// tail is a ring once it is full; begin is then where its oldest byte is.
	tail  []byte
	begin int
	total int64
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
	if tailLimit := s.limit - s.headLimit(); len(data) > tailLimit {
		data = data[len(data)-tailLimit:]
	}
	if room := s.limit - s.headLimit() - len(s.tail); room > 0 {
		taken := min(room, len(data))
		s.tail = append(s.tail, data[:taken]...)
		data = data[taken:]
	}
	for len(data) > 0 {
		copied := copy(s.tail[s.begin:], data)
		data = data[copied:]
		s.begin = (s.begin + copied) % len(s.tail)
	}
}

func (s *Summary) headLimit() int { return s.limit / 2 }

// Total returns how many bytes were written.
func (s *Summary) Total() int64 { return s.total }

// Bytes returns what was kept: everything, or the head and the tail with a line
// between them that says how many bytes are missing. That line comes on top of the limit.
func (s *Summary) Bytes() []byte {
	missing := s.total - int64(len(s.head)) - int64(len(s.tail))
	if s.total == 0 {
		return nil
	}
	result := append(make([]byte, 0, len(s.head)+len(s.tail)+64), s.head...)
	if missing > 0 {
		result = fmt.Appendf(result, "\n[... %d bytes are missing here ...]\n", missing)
	}
	result = append(result, s.tail[s.begin:]...)
	return append(result, s.tail[:s.begin]...)
}
