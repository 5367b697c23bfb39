package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

const (
	// warmPods is the size of the pool that most of these tests work on.
	warmPods = 20
	// poolLabel is on each pod of a pool.
	poolLabel = "arl.io/pool"
)

// TestWarm works on one pool of twenty pods, which take a while to start: it
// uses them up, round by round.
func TestWarm(t *testing.T) {
	n := newTenant(t)
	quiet(t)
	w := newEtcdWatch(t)
	begin := time.Now()
	pool := n.FillPool(cappedPool("warm", warmPods))
	t.Logf("a pool of %d pods was ready after %s", warmPods, since(begin))
	if pool.Status.Phase != v1alpha1.WarmPoolReady {
		t.Errorf("the full pool is %s: %+v", pool.Status.Phase, pool.Status)
	}
	n.wantPodsOf(pool)
	w.calmDown(t)
	t.Logf("etcd writes for the %d pods: %s", warmPods, w.seen(t))

	if t.Run("sandboxes at once", func(t *testing.T) { n.in(t).testBurst(w) }) {
		t.Run("tasks run in the user's image", func(t *testing.T) { n.in(t).testImage() })
		t.Run("a thousand tasks", func(t *testing.T) { n.in(t).testThousandTasks(w) })
	}
	t.Run("a label that was asked for", func(t *testing.T) { n.in(t).testSandboxLabel(w) })
	t.Run("a hundred sandboxes", func(t *testing.T) { n.in(t).testHundredSandboxes(w) })
}

// wantPodsOf fails the test unless a pool's pods are what the cluster has.
func (n *tenant) wantPodsOf(pool *v1alpha1.WarmPool) {
	n.T.Helper()
	pods, err := n.core.CoreV1().Pods(n.Namespace).List(n.T.Context(), metav1.ListOptions{LabelSelector: poolLabel + "=" + pool.Name})
	if err != nil {
		n.T.Fatal(err)
	}
	if len(pods.Items) != int(pool.Status.Replicas) {
		n.T.Errorf("the cluster has %d pods of the pool, and its status is %+v", len(pods.Items), pool.Status)
	}
	selector, err := labels.Parse(pool.Status.Selector)
	if err != nil {
		n.T.Fatalf("the pool's selector %q: %v", pool.Status.Selector, err)
	}
	for _, pod := range pods.Items {
		if !selector.Matches(labels.Set(pod.Labels)) {
			n.T.Errorf("pod %s, selected by %q, has the labels %v", pod.Name, pool.Status.Selector, pod.Labels)
		}
		n.awaitReported(pod.Name)
	}
}

// warmSandbox is the name of one of the sandboxes of testBurst.
func warmSandbox(i int) string { return fmt.Sprintf("burst-%02d", i%warmPods) }

// testBurst creates as many sandboxes at once as there are pods. No pod is
// started in place of theirs, so this costs etcd nothing at all.
func (n *tenant) testBurst(w *etcdWatch) {
	w.settle(n.T)
	answers := make([]*v1alpha1.Sandbox, warmPods)
	errs := make([]error, warmPods)
	took := make([]time.Duration, warmPods)
	done := make(chan struct{})
	for i := range warmPods {
		go func() {
			defer func() { done <- struct{}{} }()
			begin := time.Now()
			answers[i], errs[i] = n.Sandboxes().Create(n.T.Context(), sandboxOf(warmSandbox(i), "warm"), createNow)
			took[i] = time.Since(begin)
		}()
	}
	for range warmPods {
		<-done
	}
	owner := map[string]string{}
	for i, sandbox := range answers {
		if errs[i] != nil {
			n.T.Fatalf("create sandbox %s: %v", warmSandbox(i), errs[i])
		}
		s := sandbox.Status
		if s.Phase != v1alpha1.SandboxReady || s.PodName == "" || s.PodIP == "" || s.NodeName == "" {
			n.T.Errorf("sandbox %s was created with the status %+v, want it to be Ready at once", sandbox.Name, s)
		}
		if other := owner[s.PodName]; other != "" {
			n.T.Errorf("pod %s was given to %s and to %s", s.PodName, other, sandbox.Name)
		}
		owner[s.PodName] = sandbox.Name
	}
	n.T.Logf("%d sandboxes created at once, each until its answer: %s", warmPods, distribution(took))
	w.wantNone(n.T, fmt.Sprintf("%d sandboxes", warmPods))
}

// testImage reads a file that only the image of the tests has, in every sandbox,
// and shows that each sandbox keeps its files to itself.
func (n *tenant) testImage() {
	for i := range warmPods {
		if got := n.Output(warmSandbox(i), "cat "+markFile+" && echo mine > note"); got != markText {
			n.T.Errorf("sandbox %s printed %q, want %q", warmSandbox(i), got, markText)
		}
		if i > 0 {
			continue
		}
		if got := n.Output(warmSandbox(1), "ls"); got != "" {
			n.T.Errorf("a sandbox that nobody used has the files %q", got)
		}
		if got := n.Output(warmSandbox(0), "cat note"); got != "mine\n" {
			n.T.Errorf("the next task of a sandbox found %q of the former's file", got)
		}
	}
}

// testSandboxLabel has the pods of a pool name their sandboxes, which costs one
// write for each: and shows that such a write would be seen.
func (n *tenant) testSandboxLabel(w *etcdWatch) {
	pool := cappedPool("labelled", 1)
	pool.Spec.SandboxLabel = v1alpha1.SandboxLabelName
	n.FillPool(pool)
	w.settle(n.T)
	pod := n.ReadySandbox("named", pool.Name).Status.PodName
	eventually(n.T, "the pod names its sandbox", func(ctx context.Context) error {
		got, err := n.core.CoreV1().Pods(n.Namespace).Get(ctx, pod, getNow)
		if err == nil && got.Labels["arl.io/sandbox"] != "named" {
			err = fmt.Errorf("its labels are %v", got.Labels)
		}
		return err
	})
	seen := w.seen(n.T)
	n.T.Logf("etcd writes for a sandbox whose pod names it: %s", seen)
	if got, want := cluster.Count(seen[ofPods]), (map[string]cluster.Writes{"/registry/pods": {Puts: 1}}); !maps.Equal(got, want) {
		n.T.Errorf("a label on a pod was %v writes of pods, want %v", got, want)
	}
}

// distribution is what users feel of some durations.
func distribution(took []time.Duration) string {
	sorted := slices.Sorted(slices.Values(took))
	at := func(share float64) time.Duration {
		return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, most %s (%d)", at(0.5), at(0.9), at(0.99), at(1), len(sorted))
}
