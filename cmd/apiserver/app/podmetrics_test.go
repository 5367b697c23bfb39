package app

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/component-base/metrics/testutil"

	"arl.io/arl/pkg/podruntime/local/filetree"
	"arl.io/arl/pkg/podruntime/local/trash"
)

// stuckItems is a runtime with leftovers.
type stuckItems []trash.Item

func (s stuckItems) Stuck() []trash.Item { return s }

// TestTrashMetrics: what cannot be removed shows in the metrics, with its size.
func TestTrashMetrics(t *testing.T) {
	stuck := stuckItems{
		{Path: "/a", Usage: filetree.Usage{Bytes: 1000, Files: 3}, Err: errors.New("busy")},
		{Path: "/b", Usage: filetree.Usage{Bytes: 24, Files: 1, Partial: true}, Err: errors.New("busy")},
	}
	const want = `
# HELP arl_local_trash_stuck [ALPHA] Number of deleted pods and images whose files could not be removed. They are tried again.
# TYPE arl_local_trash_stuck gauge
arl_local_trash_stuck 2
# HELP arl_local_trash_stuck_bytes [ALPHA] Disk space that the files take that could not be removed, in bytes, as far as it was measured.
# TYPE arl_local_trash_stuck_bytes gauge
arl_local_trash_stuck_bytes 1024
`
	if err := testutil.CustomCollectAndCompare(newPodCollector(stuck), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
