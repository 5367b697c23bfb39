package ledger

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestWhatARuntimeSaysIsBounded keeps statuses below what the API takes.
func TestWhatARuntimeSaysIsBounded(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("é", 1<<20), "a" + strings.Repeat("世", 1<<20), strings.Repeat("\xff", 1<<20)} {
		got := bounded(text)
		if len(got) > maxMessage || !utf8.ValidString(got) || len(text) > maxMessage && utf8.ValidString(text) && !strings.HasPrefix(text, strings.TrimSuffix(got, "...")) {
			t.Errorf("%d bytes become %d: %.20q", len(text), len(got), got)
		}
	}
}
