package options

import (
	"slices"

	"github.com/spf13/pflag"
)

// libraryAnnotation marks a flag that comes from a Kubernetes library.
const libraryAnnotation = "arl.io/from-library"

// familiar are flags of libraries that most servers are started with.
var familiar = []string{"bind-address", "secure-port", "tls-cert-file", "tls-private-key-file", "kubeconfig", "v", "vmodule"}

// fromLibrary marks the flags that add adds to fs, but for the familiar ones.
func fromLibrary(fs *pflag.FlagSet, add func(*pflag.FlagSet)) {
	before := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	add(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if !before[f.Name] && !slices.Contains(familiar, f.Name) {
			MarkLibrary(f)
		}
	})
}

// MarkLibrary marks a flag as one of a Kubernetes library.
func MarkLibrary(f *pflag.Flag) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[libraryAnnotation] = []string{"true"}
}

// FromLibrary says whether a flag comes from a Kubernetes library, so that the
// short help leaves it out.
func FromLibrary(f *pflag.Flag) bool { return len(f.Annotations[libraryAnnotation]) > 0 }
