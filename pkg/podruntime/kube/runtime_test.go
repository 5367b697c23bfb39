package kube

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/pkg/podruntime"
	"arl.io/arl/pkg/podruntime/kube/podspec"
)

func TestLife(t *testing.T) {
	h := start(t)
	created := h.create("a")
	want := podruntime.Pod{
		Key: key("a"), UID: created.UID, Pool: "pool", PoolUID: "pool-uid", TemplateHash: "hash", WorkDir: "/workspace",
		Phase: podruntime.Starting, Message: "waiting for a node",
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("Create: -want +got:\n%s", diff)
	}
	if _, err := h.runtime.Agent(key("a"), created.UID); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Agent of a pod that is starting: %v", err)
	}
	agent := h.cluster.run("a")
	ready := h.pod("a", podruntime.Ready, "")
	want.Phase, want.Message, want.IP, want.NodeName = podruntime.Ready, "", agent.ip, "node"
	if diff := cmp.Diff(want, ready); diff != "" {
		t.Errorf("ready: -want +got:\n%s", diff)
	}
	if err := h.echo("a", created.UID); err != nil {
		t.Error(err)
	}
	if _, err := h.runtime.Create(t.Context(), spec("a")); !errors.Is(err, podruntime.ErrExists) {
		t.Errorf("Create of the same key: %v", err)
	}
	if err := h.runtime.Delete(t.Context(), key("a"), "other"); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Delete of another UID: %v", err)
	}
	if err := h.runtime.Delete(t.Context(), key("a"), created.UID); err != nil {
		t.Error(err)
	}
	if got := h.gone("a"); got.UID != created.UID {
		t.Errorf("gone: %+v", got)
	}
	if err := h.runtime.Delete(t.Context(), key("a"), created.UID); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Delete of what is gone: %v", err)
	}
	for i, event := range h.told("a") {
		if event.Pod.Phase == podruntime.Starting && event.Pod.Reason != "" {
			t.Errorf("event %d: %+v", i, event)
		}
	}
}

// TestManyAtOnce has more pods than questions that may be asked at the same time.
func TestManyAtOnce(t *testing.T) {
	const pods = 12
	h := start(t, func(c *Config) { c.Parallelism = 2 })
	var group sync.WaitGroup
	for i := range pods {
		group.Go(func() {
			if _, err := h.runtime.Create(t.Context(), spec(fmt.Sprint("p", i))); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range pods {
		h.cluster.run(fmt.Sprint("p", i))
	}
	for i := range pods {
		h.pod(fmt.Sprint("p", i), podruntime.Ready, "")
		for _, event := range h.told(fmt.Sprint("p", i))[1:] {
			if event.Pod.UID != h.told(fmt.Sprint("p", i))[0].Pod.UID {
				t.Errorf("pod %d was told of with several UIDs", i)
			}
		}
	}
}

// TestAdoption has a second runtime find what a first has left.
func TestAdoption(t *testing.T) {
	h := start(t)
	used, unused := h.ready("used"), h.ready("unused")
	h.create("starting")
	h.create("dead")
	h.cluster.run("dead").kill()
	if err := h.echo("used", used.UID); err != nil {
		t.Fatal(err)
	}
	h.stop()
	if _, err := h.runtime.Create(t.Context(), spec("late")); err == nil {
		t.Error("a pod was created after Run has returned")
	}
	h.cluster.set("dead", func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error"}}
	})

	again := startOn(t, h.cluster)
	again.mu.Lock()
	first := again.events[:again.synced]
	again.mu.Unlock()
	got := map[string]podruntime.Phase{}
	for _, event := range first {
		if _, twice := got[event.Pod.Name]; twice {
			t.Errorf("pod %s was told of twice before PodsSynced", event.Pod.Name)
		}
		got[event.Pod.Name] = event.Pod.Phase
	}
	want := map[string]podruntime.Phase{
		"used": podruntime.Ready, "unused": podruntime.Ready, "starting": podruntime.Starting, "dead": podruntime.Failed,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("before PodsSynced: -want +got:\n%s", diff)
	}
	for _, pod := range []podruntime.Pod{used, unused} {
		agent, err := again.runtime.Agent(pod.Key, pod.UID)
		if err != nil {
			t.Fatal(err)
		}
		health, err := agent.Health(t.Context())
		if err != nil || health.Used != (pod.Name == "used") {
			t.Errorf("%s: %+v, %v", pod.Name, health, err)
		}
	}
	again.cluster.run("starting")
	again.pod("starting", podruntime.Ready, "")
}

// TestAdoptionDoesNotWaitForever has a pod whose agent says nothing at all.
func TestAdoptionDoesNotWaitForever(t *testing.T) {
	h := start(t)
	h.create("a")
	h.cluster.prepare("a")
	h.cluster.set("a", running)
	h.stop()
	again := startOn(t, h.cluster)
	if told := again.told("a"); len(told) == 0 || told[0].Pod.Phase != podruntime.Starting {
		t.Errorf("told: %+v", told)
	}
}

// TestTroubles has the cluster tell of a pod what keeps it from being Ready, or
// takes it away.
func TestTroubles(t *testing.T) {
	h := start(t)
	h.create("a")
	h.cluster.set("a", func(pod *corev1.Pod) {
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no room"}}
	})
	if got := h.pod("a", podruntime.Starting, podruntime.ReasonUnschedulable); got.Message != "no room" {
		t.Errorf("message: %q", got.Message)
	}
	h.cluster.set("a", func(pod *corev1.Pod) {
		pod.Spec.NodeName, pod.Status.Conditions = "node", nil
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "main", Image: "image", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}},
		}}
	})
	if got := h.pod("a", podruntime.Starting, podruntime.ReasonImagePull); !strings.Contains(got.Message, "no such image") {
		t.Errorf("message: %q", got.Message)
	}
	// The image comes in the end.
	h.cluster.run("a")
	h.pod("a", podruntime.Ready, "")

	h.cluster.set("a", func(pod *corev1.Pod) {
		pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, "Evicted", "low on memory"
	})
	failed := h.pod("a", podruntime.Failed, podruntime.ReasonEvicted)
	if _, err := h.runtime.Agent(failed.Key, failed.UID); !errors.Is(err, podruntime.ErrNotFound) {
		t.Errorf("Agent of a pod that has failed: %v", err)
	}
	// Failed is for good.
	told := len(h.told("a"))
	h.cluster.set("a", running)
	if err := h.runtime.Delete(t.Context(), failed.Key, failed.UID); err != nil {
		t.Fatal(err)
	}
	h.gone("a")
	if more := h.told("a")[told:]; len(more) != 1 {
		t.Errorf("told after the failure: %+v", more)
	}
}

// TestAgentEnds has agents end: one that was Ready, and one that never answered.
func TestAgentEnds(t *testing.T) {
	h := start(t)
	h.ready("served")
	h.create("never-answered")
	for name, reason := range map[string]string{"served": podruntime.ReasonExited, "never-answered": podruntime.ReasonStart} {
		h.cluster.set(name, func(pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodFailed
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: podspec.Executor(pod), State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "last words"}},
			}}
		})
		if got := h.pod(name, podruntime.Failed, reason); !strings.Contains(got.Message, "last words") {
			t.Errorf("message: %q", got.Message)
		}
	}
}

// TestUnfitAgents has agents answer whose pods are of no use.
func TestUnfitAgents(t *testing.T) {
	h := start(t)
	wrong := spec("wrong-command")
	wrong.Template.Spec.Containers[0].Command = []string{"/no/such/program", "serve"}
	if _, err := h.runtime.Create(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	h.cluster.run("wrong-command")
	h.create("wrong-uid")
	h.cluster.run("wrong-uid", "$(ARL_POD_UID)", "another")
	// The agent breaks the protocol: it is not asked again.
	h.create("long-uid")
	h.cluster.run("long-uid", "$(ARL_POD_UID)", strings.Repeat("x", 1000))
	for name, words := range map[string]string{
		"wrong-command": "the template's command cannot be started: /no/such/program: no such file",
		"wrong-uid":     `it is of pod "another"`,
		"long-uid":      "the agent broke the protocol: a version of",
	} {
		if got := h.pod(name, podruntime.Failed, podruntime.ReasonStart); !strings.Contains(got.Message, words) {
			t.Errorf("message: %q, want %q in it", got.Message, words)
		}
	}
}

func TestDeletedByHand(t *testing.T) {
	h := start(t)
	pod := h.ready("a")
	agent, err := h.runtime.Agent(pod.Key, pod.UID)
	if err != nil {
		t.Fatal(err)
	}
	h.cluster.set("a", func(pod *corev1.Pod) {
		now := metav1.Now()
		pod.DeletionTimestamp = &now
	})
	h.pod("a", podruntime.Failed, podruntime.ReasonDeleted)
	if _, err := agent.Health(t.Context()); err == nil {
		t.Error("the agent of a pod that is being deleted is still spoken to")
	}
	h.cluster.drop("a")
	h.gone("a")
}

func TestNamespaces(t *testing.T) {
	h := start(t, func(c *Config) { c.Namespaces = []string{"elsewhere", space} })
	h.ready("a")
	other := spec("b")
	other.Namespace = "third"
	_, err := h.runtime.Create(t.Context(), other)
	var refusal *podruntime.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != podruntime.ReasonNamespaceNotServed || !strings.Contains(err.Error(), "elsewhere, space") {
		t.Errorf("Create in a namespace that is not watched: %v", err)
	}
}

func TestRunIsCalledOnce(t *testing.T) {
	h := start(t)
	if err := h.runtime.Run(t.Context(), newRecorder(t)); err == nil {
		t.Error("Run was called twice without an error")
	}
	if got := h.runtime.Name(); got != "kube" {
		t.Errorf("Name: %q", got)
	}
}

func TestConfig(t *testing.T) {
	c := newCluster(t)
	good := Config{Client: c.client, Image: "i", Credentials: c.credentials}
	for name, change := range map[string]func(*Config){
		"Client":   func(c *Config) { c.Client = nil },
		"Tunneler": func(c *Config) { c.Reach = Tunnel },
		"sideways": func(c *Config) { c.Reach = "sideways" },
		"port":     func(c *Config) { c.Port = 70000 },
	} {
		broken := good
		change(&broken)
		if _, err := New(broken); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if r.config.Reach != Direct || r.config.Port != 7317 {
		t.Errorf("defaults: %+v", r.config)
	}
}

// TestAgentPortChanges restarts the server with another port for agents: those
// of the pods that are there go on listening where they do.
func TestAgentPortChanges(t *testing.T) {
	h := start(t)
	before := h.ready("one")
	h.stop()
	again := startOn(t, h.cluster, func(c *Config) { c.Port++ })
	if after := again.pod("one", podruntime.Ready, ""); after.UID != before.UID {
		t.Errorf("pod %s has become %s", before.UID, after.UID)
	}
	if err := again.echo("one", before.UID); err != nil {
		t.Error(err)
	}
}
