package kube

import (
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"arl.io/arl/pkg/podruntime"
)

// patches returns how often a pod was patched. What fails, fails by answer.
func (c *cluster) patches(answer func() error) func() int {
	c.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		err := answer()
		return err != nil, nil, err
	})
	return func() int {
		n := 0
		for _, action := range c.client.Actions() {
			if action.Matches("patch", "pods") {
				n++
			}
		}
		return n
	}
}

func TestLabelSandbox(t *testing.T) {
	h := start(t)
	pod := h.ready("a")
	var answer error
	patches := h.cluster.patches(func() error { return answer })
	label := func(r *Runtime) error { return r.LabelSandbox(t.Context(), pod.Key, pod.UID, "box") }

	answer = forbidden("no permission to patch pods")
	if err := label(h.runtime); err == nil || errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("refused: %v", err)
	}
	answer = nil
	for range 3 {
		if err := label(h.runtime); err != nil {
			t.Error(err)
		}
	}
	if n := patches(); n != 2 {
		t.Errorf("%d patches, want one that failed and one more", n)
	}
	if got := h.cluster.get("a"); got.Labels[podruntime.LabelSandbox] != "box" || got.Labels[podruntime.LabelPool] != "pool" || got.UID != pod.UID {
		t.Errorf("labels: %v", got.Labels)
	}
	if err := h.runtime.LabelSandbox(t.Context(), pod.Key, "other", "box"); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("another UID: %v", err)
	}

	h.stop()
	again := startOn(t, h.cluster)
	if err := label(again.runtime); err != nil {
		t.Error(err)
	}
	if n := patches(); n != 2 {
		t.Errorf("%d patches after a restart, want no more", n)
	}
	h.cluster.drop("a")
	again.gone("a")
	if err := label(again.runtime); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("a pod that is gone: %v", err)
	}
	if events := again.told("a"); events[len(events)-1].Pod.Phase != podruntime.Ready {
		t.Errorf("told: %s", fmt.Sprint(events))
	}
}
