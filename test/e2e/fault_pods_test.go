package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// podLoss takes a pod away.
type podLoss struct {
	// name is a word for what was done to the pod, and names the sandbox.
	name string
	do   func(ctx context.Context, admin kubernetes.Interface, pod *corev1.Pod) error
	// words are what the sandbox says of it.
	words []string
}

var podLosses = []podLoss{
	{"deleted", func(ctx context.Context, admin kubernetes.Interface, pod *corev1.Pod) error {
		return admin.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
	}, words("Deleted", "somebody deleted the pod")},
	{"forced", func(ctx context.Context, admin kubernetes.Interface, pod *corev1.Pod) error {
		return admin.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, *metav1.NewDeleteOptions(0))
	}, words("deleted")},
	{"evicted", evict, words("Evicted", "EvictionByEvictionAPI")},
	{"killed", func(ctx context.Context, _ kubernetes.Interface, pod *corev1.Pod) error {
		return shared.KillContainer(ctx, pod.Status.ContainerStatuses[0].ContainerID)
	}, words("Exited", `container "executor"`)},
}

// TestLostPods takes pods away from sandboxes in which a task runs, and idle
// ones from their pool.
func TestLostPods(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("pool", 1))
	for _, loss := range podLosses {
		t.Run(loss.name, func(t *testing.T) { n.in(t).lose(loss) })
	}
	t.Run("idle and deleted", func(t *testing.T) { n.in(t).loseIdle() })
	t.Run("kept by a budget", func(t *testing.T) { n.in(t).keep() })
}

func evict(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	return client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
	})
}

// lose sees what becomes of a sandbox, and of its tasks, when its pod is lost.
func (n *tenant) lose(loss podLoss) {
	admin := clientOf(n.T, cluster.Admin)
	n.AwaitPool("pool", 1)
	name := loss.name
	sandbox := n.ReadySandbox(name, "pool")
	n.CreateTask(taskIn(name, name+"-runs", shell("sleeps", "sleep 1000")))
	n.AwaitRunning(name + "-runs")
	n.CreateTask(taskIn(name, name+"-waits", shell("sleeps", "true")))
	pod := n.awaitReported(sandbox.Status.PodName)
	begin := time.Now()
	if err := loss.do(n.T.Context(), admin, pod); err != nil {
		n.T.Fatal(err)
	}
	failed := n.AwaitSandbox(name, v1alpha1.SandboxFailed).Status
	n.T.Logf("the sandbox failed %s after its pod was %s: %s: %s", since(begin), loss.name, failed.Reason, failed.Message)
	if failed.Reason != v1alpha1.SandboxReasonPodLost || failed.PodUID != pod.UID {
		n.T.Errorf("the sandbox's status is %+v", failed)
	}
	wantWords(n.T, failed.Message, append(loss.words, pod.Name)...)
	n.kubectl().Run(words("get", "sandbox", name), "Failed")
	n.kubectl().Run(words("describe", "sandbox", name), append(loss.words, "PodLost")...)

	for task, reason := range map[string]string{name + "-runs": v1alpha1.TaskReasonAgentLost, name + "-waits": v1alpha1.TaskReasonSandboxFailed} {
		ended := n.AwaitEnd(task)
		if s := ended.Status; s.State != v1alpha1.TaskFailed || s.Reason != reason || s.FailureClass != v1alpha1.FailureInfrastructure {
			n.T.Errorf("task %s is %s, want it to have failed with reason %s", task, outline(ended), reason)
		}
	}
	n.AwaitPool("pool", 1)
	n.awaitNoPod(pod)
}

// loseIdle shows that a pool replaces a pod that was deleted before anybody used it.
func (n *tenant) loseIdle() {
	n.AwaitPool("pool", 1)
	pods := n.poolPods("pool")
	idle := &pods[0]
	if err := n.core.CoreV1().Pods(n.Namespace).Delete(n.T.Context(), idle.Name, deleteNow); err != nil {
		n.T.Fatal(err)
	}
	n.awaitNoPod(idle)
	n.AwaitPool("pool", 1)
	n.Output(n.ReadySandbox("after", "pool").Name, "true")
}

// keep shows how users keep drains from taking away pods that are in use: by a
// budget for pods with the label that a pool can be asked for.
func (n *tenant) keep() {
	pool := busyPool("labelled", 1)
	pool.Spec.SandboxLabel = v1alpha1.SandboxLabelName
	n.FillPool(pool)
	most := intstr.FromInt32(math.MaxInt32)
	_, err := n.core.PolicyV1().PodDisruptionBudgets(n.Namespace).Create(n.T.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "in-use"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &most,
			Selector:     &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "arl.io/sandbox", Operator: metav1.LabelSelectorOpExists}}},
		},
	}, createNow)
	if err != nil {
		n.T.Fatal(err)
	}
	sandbox := n.ReadySandbox("kept", "labelled")
	var used *corev1.Pod
	eventually(n.T, "the pod names its sandbox", func(ctx context.Context) (err error) {
		used, err = n.core.CoreV1().Pods(n.Namespace).Get(ctx, sandbox.Status.PodName, getNow)
		if err == nil && used.Labels["arl.io/sandbox"] != sandbox.Name {
			err = fmt.Errorf("its labels are %v", used.Labels)
		}
		return err
	})
	n.awaitReported(used.Name) // no budget keeps a pod that is Pending
	admin := clientOf(n.T, cluster.Admin)
	if err := evict(n.T.Context(), admin, used); !apierrors.IsTooManyRequests(err) {
		n.T.Errorf("the eviction of a pod in use got %v, want a refusal", err)
	} else {
		n.T.Log(err)
	}
	n.AwaitPool("labelled", 1)
	for _, pod := range n.poolPods("labelled") {
		if pod.UID == used.UID {
			continue
		}
		if err := evict(n.T.Context(), admin, &pod); err != nil {
			n.T.Errorf("the eviction of an idle pod: %v", err)
		}
	}
	n.AwaitPool("labelled", 1)
	n.Output("kept", "true")
}

// poolPods are the pods of a pool that are not on their way out.
func (n *tenant) poolPods(pool string) (pods []corev1.Pod) {
	n.T.Helper()
	list, err := n.core.CoreV1().Pods(n.Namespace).List(n.T.Context(), metav1.ListOptions{LabelSelector: poolLabel + "=" + pool})
	if err != nil {
		n.T.Fatal(err)
	}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			pods = append(pods, pod)
		}
	}
	return pods
}

// awaitReported waits until a pod's node has reported that it is ready. Our server
// asks the agent and uses the pod before that: before Kubernetes 1.36 a kubelet looks for what
// has become of its containers once a second.
func (n *tenant) awaitReported(name string) *corev1.Pod {
	n.T.Helper()
	return awaitReadyPod(n.T, n.core, n.Namespace, name)
}

// awaitNoPod waits until a pod is gone.
func (n *tenant) awaitNoPod(pod *corev1.Pod) {
	n.T.Helper()
	eventually(n.T, "pod "+pod.Name+" is gone", func(ctx context.Context) error {
		got, err := n.core.CoreV1().Pods(n.Namespace).Get(ctx, pod.Name, getNow)
		if apierrors.IsNotFound(err) || err == nil && got.UID != pod.UID {
			return nil
		}
		return errors.Join(errors.New("it is there"), err)
	})
}

// TestMemoryLimit has a step use more memory than its container may. Whether the
// kernel ends the step alone or the whole container depends on the machine's
// cgroups; either must be told as what it is.
func TestMemoryLimit(t *testing.T) {
	n := newTenant(t)
	pool := busyPool("pool", 1)
	executorOf(pool).Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	n.FillPool(pool)
	n.ReadySandbox("box", "pool")
	task := n.Perform(taskIn("box", "grows", shell("grows", "x=x; while :; do x=$x$x; done")))
	t.Logf("the task is %s", outline(task))
	if s := task.Status; s.State == v1alpha1.TaskFailed && s.Reason == v1alpha1.TaskReasonStepFailed {
		if s.FailureClass != v1alpha1.FailureUser || ptr.Deref(s.ExitCode, 0) != 137 {
			t.Errorf("the step was killed, and the task is %s", outline(task))
		}
		wantWords(t, s.Message, "out of memory", "64Mi")
		n.Output("box", "true")
		return
	}
	failed := n.AwaitSandbox("box", v1alpha1.SandboxFailed).Status
	if failed.Reason != v1alpha1.SandboxReasonOOMKilled {
		t.Errorf("the sandbox has failed with reason %s: %s", failed.Reason, failed.Message)
	}
	if s := task.Status; s.State != v1alpha1.TaskFailed || s.Reason != v1alpha1.TaskReasonSandboxFailed || s.FailureClass != v1alpha1.FailureUser {
		t.Errorf("the container was killed, and the task is %s", outline(task))
	}
	n.AwaitPool("pool", 1)
}
