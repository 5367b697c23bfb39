package kind

import (
	"strings"
	"testing"
)

func TestGeneratedNamesFit(t *testing.T) {
	for _, max := range []int{0, 52} {
		longest := max
		if max == 0 {
			longest = 63
		}
		for _, base := range []string{"a-", strings.Repeat("b", longest), strings.Repeat("c", 253)} {
			name := nameGenerator{max}.GenerateName(base)
			kept := base[:min(len(base), longest-5)]
			if len(name) != len(kept)+5 || !strings.HasPrefix(name, kept) {
				t.Errorf("with at most %d characters, %q becomes %q", longest, base, name)
			}
			if name == (nameGenerator{max}).GenerateName(base) {
				t.Errorf("the same name twice: %q", name)
			}
		}
	}
}
