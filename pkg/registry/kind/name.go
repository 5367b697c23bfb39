package kind

import (
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
)

// nameSuffix is how many random characters a generated name ends with.
const nameSuffix = 5

// nameGenerator makes names from metadata.generateName that are at most max characters long, or
// 63 if max is 0. The
// generator of the generic store knows one length for all kinds.
type nameGenerator struct{ max int }

// GenerateName returns the base, cut to what leaves room, with random characters after it.
func (g nameGenerator) GenerateName(base string) string {
	longest := g.max
	if longest == 0 {
		longest = validation.DNS1123LabelMaxLength
	}
	return base[:min(len(base), longest-nameSuffix)] + utilrand.String(nameSuffix)
}
