package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clienttesting "k8s.io/client-go/testing"

	"arl.io/arl/pkg/podruntime"
)

// A hostile tenant may create, change and delete pods of the namespace. These tests have such a tenant
// offer pods in place of the runtime's own.

// forge puts a copy of a pod into the cluster, with all that anyone can see of it, but for the UID that
// the cluster gives. The copy runs.
func (c *cluster) forge(genuine *corev1.Pod, name string) types.UID {
	c.t.Helper()
	forged := genuine.DeepCopy()
	forged.Name, forged.ResourceVersion = name, ""
	if _, err := c.client.CoreV1().Pods(c.space).Create(c.t.Context(), forged, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	uid := c.get(name).UID
	if uid == genuine.UID {
		c.t.Fatal("the copy has the UID of the pod")
	}
	return uid
}

// neverReported fails if a pod with this UID was ever reported.
func (h *harness) neverReported(uid types.UID) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, event := range h.events {
		if event.Pod.UID == uid {
			h.t.Errorf("a forged pod was reported: %+v", event)
			return
		}
	}
}

// awaitDeleted waits until the runtime has deleted the pod of a UID.
func (h *harness) awaitDeleted(name string, uid types.UID) {
	h.t.Helper()
	pods := h.cluster.client.CoreV1().Pods(space)
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		pod, err := pods.Get(h.t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && pod.UID != uid {
			return
		}
		h.runtime.removeForeign(h.t.Context()) // as the sweeper does from time to time
	}
	h.t.Fatalf("the forged pod %s is there still", name)
}

// TestForgedPod has copies of a genuine pod, one of which claims to belong to the pool.
func TestForgedPod(t *testing.T) {
	h := start(t)
	genuine := h.ready("genuine")
	seen := h.cluster.get("genuine")
	free := seen.DeepCopy()
	free.OwnerReferences = nil
	unowned := h.cluster.forge(free, "unowned")
	owned := h.cluster.forge(seen, "owned") // the watch tells in order: the other was seen when this one is
	h.awaitDeleted("owned", owned)
	if got := h.cluster.get("unowned").UID; got != unowned {
		t.Errorf("a pod that belongs to nobody is now %s", got)
	}
	h.neverReported(owned)
	h.neverReported(unowned)
	if err := h.echo("genuine", genuine.UID); err != nil {
		t.Error(err)
	}
}

// TestForgedPodOfTheName has a copy take the place of a pod that was deleted: seen and unseen by the
// informer, and while the server was away.
func TestForgedPodOfTheName(t *testing.T) {
	t.Run("seen", func(t *testing.T) {
		h := start(t)
		genuine := h.ready("a")
		seen := h.cluster.get("a")
		h.cluster.drop("a")
		forged := h.cluster.forge(seen, "a")
		if gone := h.gone("a"); gone.UID != genuine.UID {
			t.Errorf("gone: %+v", gone)
		}
		h.ready("b")
		h.neverReported(forged)
	})
	t.Run("unseen", func(t *testing.T) {
		h := start(t)
		genuine := h.ready("a")
		h.cluster.set("a", func(pod *corev1.Pod) { pod.UID = "forged" })
		if gone := h.gone("a"); gone.UID != genuine.UID {
			t.Errorf("gone: %+v", gone)
		}
		h.ready("b")
		h.neverReported("forged")
	})
	t.Run("while the server is away", func(t *testing.T) {
		h := start(t)
		h.ready("a")
		kept := h.ready("kept")
		seen := h.cluster.get("a")
		h.stop()
		h.cluster.drop("a")
		forged := h.cluster.forge(seen, "a")
		again := startOn(t, h.cluster)
		if got := again.pod("kept", podruntime.Ready, ""); got.UID != kept.UID {
			t.Errorf("kept: %+v", got)
		}
		again.neverReported(forged)
		if _, err := again.runtime.Agent(key("a"), ""); !errors.Is(err, podruntime.ErrNotFound) {
			t.Errorf("Agent of a forged pod: %v", err)
		}
		records, _, err := h.cluster.records.Load(t.Context())
		if err != nil || len(records) != 1 || records[0].UID != kept.UID {
			t.Errorf("recorded are %+v, %v", records, err)
		}
	})
}

// TestForgedPodDuringTheCreation has a tenant who is faster than the answer to the creation: the pod is
// exchanged before the runtime knows its UID.
func TestForgedPodDuringTheCreation(t *testing.T) {
	h := start(t)
	h.cluster.client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateAction)
		ours := create.GetObject().DeepCopyObject().(*corev1.Pod)
		if ours.Name != "a" {
			return false, nil, nil
		}
		ours.UID = "ours"
		forged := ours.DeepCopy()
		forged.UID = "forged"
		tracker := h.cluster.client.Tracker()
		err := errors.Join(tracker.Create(create.GetResource(), ours, space), tracker.Delete(create.GetResource(), space, "a"),
			tracker.Create(create.GetResource(), forged, space))
		if err != nil {
			t.Error(err)
		}
		// The informer has delivered all this when it delivers a later pod.
		later := forged.DeepCopy()
		later.Name, later.UID = "later", "later"
		if err := tracker.Create(create.GetResource(), later, space); err != nil {
			t.Error(err)
		}
		for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(time.Millisecond) {
			h.runtime.mu.Lock()
			_, seen := h.runtime.foreign["later"]
			h.runtime.mu.Unlock()
			if seen {
				return true, ours, nil
			}
		}
		t.Error("the informer tells nothing")
		return true, ours, nil
	})
	if pod, err := h.runtime.Create(t.Context(), spec("a")); err == nil {
		t.Errorf("created %+v", pod)
	}
	h.ready("b")
	h.neverReported("forged")
	if _, err := h.runtime.Agent(key("a"), ""); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Agent of a forged pod: %v", err)
	}
}

// TestCreatedWithoutAnAnswer has a pod made although its creator was told that
// it took too long. Nobody can tell it from a forged one, so it is deleted.
func TestCreatedWithoutAnAnswer(t *testing.T) {
	h := start(t)
	h.cluster.client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		create := action.(clienttesting.CreateAction)
		made := create.GetObject().DeepCopyObject().(*corev1.Pod)
		made.UID = "made"
		if err := h.cluster.client.Tracker().Create(create.GetResource(), made, create.GetNamespace()); err != nil {
			t.Error(err)
		}
		return true, nil, apierrors.NewTimeoutError("the request did not complete", 0)
	})
	if _, err := h.runtime.Create(t.Context(), spec("a")); err == nil {
		t.Fatal("no error")
	}
	h.awaitDeleted("a", "made")
	h.neverReported("made")
}

// TestRelabelledPod has a tenant give an idle pod the labels of another pool, and another container the
// name of the executor. What the pod was created for stands in its record.
func TestRelabelledPod(t *testing.T) {
	h := start(t)
	want := h.ready("a")
	h.stop()
	h.cluster.set("a", func(pod *corev1.Pod) {
		pod.Labels[podruntime.LabelPool], pod.Labels[podruntime.LabelPoolUID] = "victim", "victim-uid"
		pod.Labels[podruntime.LabelTemplateHash] = "victim-hash"
		pod.Annotations["arl.io/work-dir"], pod.Annotations["arl.io/container"] = "/etc", "other"
	})
	again := startOn(t, h.cluster)
	got := again.pod("a", podruntime.Ready, "")
	if got.Pool != want.Pool || got.PoolUID != want.PoolUID || got.TemplateHash != want.TemplateHash || got.WorkDir != want.WorkDir {
		t.Errorf("reported as %+v, created as %+v", got, want)
	}
}

// TestExchangedImage has a tenant change an image of a pod before its containers are started.
func TestExchangedImage(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"executor": func(pod *corev1.Pod) { pod.Spec.Containers[0].Image = "hostile" },
		"setup":    func(pod *corev1.Pod) { pod.Spec.InitContainers[0].Image = "hostile" },
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", name, restart), func(t *testing.T) {
				h := start(t)
				h.create("a")
				if restart {
					h.stop()
				}
				h.cluster.set("a", change)
				if restart {
					h = startOn(t, h.cluster)
				}
				if got := h.pod("a", podruntime.Failed, podruntime.ReasonStart); !strings.Contains(got.Message, "images") {
					t.Errorf("told: %+v", got)
				}
			})
		}
	}
}

// TestRecordsOfAnEarlierVersion has a server start that keeps records for the first time: it takes over
// the pods that are there, once.
func TestRecordsOfAnEarlierVersion(t *testing.T) {
	h := start(t)
	old := h.ready("old")
	h.stop()
	h.cluster.records = &memoryRecords{}
	upgraded := startOn(t, h.cluster)
	if got := upgraded.pod("old", podruntime.Ready, ""); got.UID != old.UID {
		t.Errorf("old: %+v", got)
	}
	upgraded.stop()
	forged := h.cluster.forge(h.cluster.get("old"), "forged")
	again := startOn(t, h.cluster)
	again.pod("old", podruntime.Ready, "")
	again.neverReported(forged)
}

// full are records for which there is no space.
type full struct{ Records }

var errFull = errors.New("no space")

func (full) Add(context.Context, Record) error { return errFull }

// TestPodThatCannotBeRecorded is deleted again: the next start would not know it.
func TestPodThatCannotBeRecorded(t *testing.T) {
	h := start(t, func(c *Config) { c.Records = full{c.Records} })
	if _, err := h.runtime.Create(t.Context(), spec("a")); !errors.Is(err, errFull) {
		t.Errorf("Create: %v", err)
	}
	pods := h.cluster.client.CoreV1().Pods(space)
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := pods.Get(t.Context(), "a", metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return
		}
	}
	t.Error("the pod is there still")
}
