package scheduler_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"arl.io/arl/pkg/scheduler/schedulertest"
)

// TestReadinessSaysWhatCannotBeRead has the API refuse to list one kind, as it
// does while stored objects cannot be decrypted.
func TestReadinessSaysWhatCannotBeRead(t *testing.T) {
	h := schedulertest.New(t)
	h.API.PrependReactor("list", "sandboxes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no matching key was found")
	})
	h.StartUnready()
	h.Eventually("the check says why, and nothing of other kinds", func() error {
		err := h.Scheduler.Check(nil)
		got := fmt.Sprint(err)
		if !strings.HasPrefix(got, "the scheduler cannot read the stored sandboxes: ") ||
			!strings.HasSuffix(got, "no matching key was found") {
			return fmt.Errorf("it says %q", got)
		}
		return nil
	})
}
