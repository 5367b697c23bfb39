package diff

import (
	"strings"
	"testing"
)

func TestQuoteShortensLines(t *testing.T) {
	if got := Quote(strings.Repeat("é", 200) + "\n"); len(got) > 2*maxQuoted || !strings.HasSuffix(got, `..."`) {
		t.Errorf("got %s", got)
	}
}
