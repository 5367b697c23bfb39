package output

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		name   string
		limit  int
		writes []string
		want   string
		cut    bool
	}{
		{name: "nothing", limit: 8},
		{name: "short", limit: 8, writes: []string{"abc"}, want: "abc"},
		{name: "as long as allowed", limit: 8, writes: []string{"abcdefgh"}, want: "abcdefgh"},
		{name: "in pieces", limit: 8, writes: []string{"abc", "de", "fgh"}, want: "abcdefgh"},
		{name: "one too long", limit: 8, writes: []string{"abcdefghi"}, want: "abcd\n[... 1 bytes are missing here ...]\nfghi", cut: true},
		{name: "too long in pieces", limit: 8, writes: []string{"a", "bcdef", "ghijk", "l"}, want: "abcd\n[... 4 bytes are missing here ...]\nijkl", cut: true},
		{name: "an odd limit", limit: 7, writes: []string{"abcdefgh", "ijklmnopqrstuvwxyz"}, want: "abc\n[... 19 bytes are missing here ...]\nwxyz", cut: true},
		{name: "nothing kept", limit: 0, writes: []string{"abc"}, want: "\n[... 3 bytes are missing here ...]\n", cut: true},
		{name: "at ends of lines", limit: 16, writes: []string{"one\ntwo\nthree\nfour\nfive\nsix\n"}, want: "one\ntwo\n[... 16 bytes are missing here ...]\nsix\n", cut: true},
		{name: "within lines", limit: 16, writes: []string{"one two\nthree four five six\n"}, want: "one two\n[... 12 bytes are missing here ...]\nive six\n", cut: true},
		{name: "an end of line too far away", limit: 16, writes: []string{"a\nbcdefghijklmnopqrstuv\nw"}, want: "a\nbcdefg\n[... 9 bytes are missing here ...]\nqrstuv\nw", cut: true},
		{name: "at ends of characters", limit: 10, writes: []string{"aäääääääääää"}, want: "aää\n[... 14 bytes are missing here ...]\nää", cut: true},
		{name: "long characters", limit: 12, writes: []string{"a🙂🙂🙂🙂b"}, want: "a🙂\n[... 8 bytes are missing here ...]\n🙂b", cut: true},
		{name: "no UTF-8", limit: 8, writes: []string{"\xff\xfe\x80\x81\x82\x83\x84\x85\xff\xfe"}, want: "\xff\xfe\x80\x81\n[... 4 bytes are missing here ...]\n\xff\xfe", cut: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			summary := NewSummary(test.limit)
			total := 0
			for _, write := range test.writes {
				summary.Write([]byte(write))
				total += len(write)
			}
			if got, cut := summary.Bytes(); string(got) != test.want || cut != test.cut {
				t.Errorf("got %q, %v, want %q, %v", got, cut, test.want, test.cut)
			}
			if summary.Total() != int64(total) {
				t.Errorf("total %d, want %d", summary.Total(), total)
			}
		})
	}
}

// Whatever is written, and in which pieces: text stays text, what is kept are
// the first and the last bytes, and the line between says exactly what is missing.
func TestOutputIsCutBetweenCharacters(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab \nä€🙂\n")
	for round := range 3000 {
		var whole []byte
		for range random.IntN(120) {
			whole = utf8.AppendRune(whole, alphabet[random.IntN(len(alphabet)-round%2)])
		}
		limit := random.IntN(70)
		summary := NewSummary(limit)
		for rest := whole; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			summary.Write(rest[:n])
			rest = rest[n:]
		}
		got, cut := summary.Bytes()
		if !utf8.Valid(got) || cut != (len(whole) > limit) {
			t.Fatalf("limit %d, %q: got %q, cut %v", limit, whole, got, cut)
		}
		if !cut && !bytes.Equal(got, whole) {
			t.Fatalf("limit %d: got %q, want %q", limit, got, whole)
		}
		if cut && !explained(got, whole) {
			t.Fatalf("limit %d, %q: got %q", limit, whole, got)
		}
	}
}

// explained says whether got is a head and a tail of whole with the right line between them.
func explained(got, whole []byte) bool {
	for missing := 1; missing <= len(whole); missing++ {
		line := fmt.Sprintf(marker, missing)
		head, tail, ok := strings.Cut(string(got), line)
		if !ok {
			continue
		}
		if len(head)+missing+len(tail) != len(whole) {
			// The end of the line is not of the output.
			head = strings.TrimSuffix(head, "\n")
		}
		return bytes.HasPrefix(whole, []byte(head)) && bytes.HasSuffix(whole, []byte(tail)) && len(head)+missing+len(tail) == len(whole)
	}
	return false
}

// However it is cut into writes, the summary is that of the whole.
func TestSummaryDoesNotDependOnTheWrites(t *testing.T) {
	whole := []byte(strings.Repeat("0123456\n89", 30))
	for limit := range 40 {
		once := NewSummary(limit)
		once.Write(whole)
		want, _ := once.Bytes()
		for size := 1; size < 60; size += 7 {
			pieces := NewSummary(limit)
			for rest := whole; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				pieces.Write(rest[:min(size, len(rest))])
			}
			if got, _ := pieces.Bytes(); !bytes.Equal(want, got) {
				t.Fatalf("limit %d, pieces of %d: got %q, want %q", limit, size, got, want)
			}
		}
	}
}
