package local

import (
	"strings"
	"sync"

	"arl.io/arl/pkg/podruntime/local/seccomp"
)

// maxFilters bounds how many filters are kept. A pool has one set of capabilities, and most pools have
// the same.
const maxFilters = 32

// filters keeps assembled seccomp filters by the capabilities they are for: assembling one takes
// milliseconds.
type filters struct {
	mu    sync.Mutex
	bySet map[string][]byte
}

// of returns the filter for a container with the given capabilities. The caller must not change it.
func (f *filters) of(capabilities []string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set := strings.Join(capabilities, ",")
	if filter, ok := f.bySet[set]; ok {
		return filter, nil
	}
	filter, err := seccomp.Filter(capabilities)
	if err != nil {
		return nil, err
	}
	if f.bySet == nil || len(f.bySet) >= maxFilters {
		f.bySet = map[string][]byte{}
	}
	f.bySet[set] = filter
	return filter, nil
}
