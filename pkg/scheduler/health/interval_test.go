package health

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// TestTheRateOfProbesIsBounded has more pods probed less often.
func TestTheRateOfProbesIsBounded(t *testing.T) {
	for pods, want := range map[int]time.Duration{1: Interval, 3000: Interval, 10_000: 50 * time.Second} {
		p := &Prober{pods: make(map[types.UID]*subject, pods)}
		for i := range pods {
			p.pods[types.UID(rune(i))] = nil
		}
		if len(p.pods) != pods {
			t.Fatalf("%d pods, want %d", len(p.pods), pods)
		}
		if got := p.intervalLocked(); got != want {
			t.Errorf("%d pods are probed every %v, want %v", pods, got, want)
		}
	}
}
