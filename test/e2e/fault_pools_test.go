package e2e

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// poolFault is a pool that cannot have all its pods.
type poolFault struct {
	name string
	// spoil puts the fault into the pool.
	spoil func(*v1alpha1.WarmPool)
	// reason and words are in the condition ReplicaFailure.
	reason string
	words  []string
	// ready is how many pods the pool has all the same.
	ready int32
	// mend takes the cause away. Nil means that the template is to be one
	// without the fault.
	mend func(*tenant)

	*tenant
	pool *v1alpha1.WarmPool
}

// poolFaults need no namespace of their own.
var poolFaults = []poolFault{
	{
		name: "an image that is nowhere", reason: "ImagePullFailed", words: words("localhost:9/nowhere:v1", `"executor"`),
		spoil: func(pool *v1alpha1.WarmPool) {
			executor := executorOf(pool)
			executor.Image, executor.ImagePullPolicy = "localhost:9/nowhere:v1", corev1.PullIfNotPresent
		},
	}, {
		name: "an image that is not on the node", reason: "ImagePullFailed", words: words("arl.io/e2e/nowhere:v1", "ErrImageNeverPull"),
		spoil: func(pool *v1alpha1.WarmPool) { executorOf(pool).Image = "arl.io/e2e/nowhere:v1" },
	}, {
		name: "no node that fits", reason: "Unschedulable", words: words("0/1 nodes are available"),
		spoil: func(pool *v1alpha1.WarmPool) {
			pool.Spec.Template.Spec.NodeSelector = map[string]string{"example.com/kind": "none"}
		},
	}, {
		name: "a scheduling gate", reason: "SchedulingGated", words: words("scheduling gates"),
		spoil: func(pool *v1alpha1.WarmPool) {
			pool.Spec.Template.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
		},
	}, {
		name: "no such service account", reason: "Forbidden", words: words(`serviceaccount "nobody" not found`),
		spoil: func(pool *v1alpha1.WarmPool) { pool.Spec.Template.Spec.ServiceAccountName = "nobody" },
	}, {
		name: "no such secret", reason: "StartFailed", words: words(`secret "missing" not found`),
		spoil: func(pool *v1alpha1.WarmPool) {
			missing := corev1.LocalObjectReference{Name: "missing"}
			executorOf(pool).EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: missing}}}
		},
		mend: func(n *tenant) { n.createSecret("missing") },
	}, {
		name: "no such config map to mount", reason: "StartFailed", words: words("FailedMount", `configmap "missing" not found`),
		spoil: func(pool *v1alpha1.WarmPool) {
			pod := &pool.Spec.Template.Spec
			missing := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "missing"}}
			pod.Volumes = []corev1.Volume{{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: missing}}}
			pod.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "settings", MountPath: "/settings"}}
		},
	}, {
		name: "no such command", reason: "StartFailed", words: words("command cannot be started", "no-such-program: command not found"),
		spoil: func(pool *v1alpha1.WarmPool) { executorOf(pool).Command = []string{"no-such-program"} },
	}, {
		name: "a readiness probe that fails", reason: "NotReady", words: words("Readiness probe failed", "no such table"),
		spoil: func(pool *v1alpha1.WarmPool) {
			executorOf(pool).ReadinessProbe = &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo no such table; exit 1"}}},
				PeriodSeconds: 1,
			}
		},
	}, {
		name: "a readiness gate that nobody opens", reason: "NotReady", words: words("example.com/checked"),
		spoil: func(pool *v1alpha1.WarmPool) {
			pool.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/checked"}}
		},
	}, {
		name: "root, where it must not be", reason: "StartFailed", words: words(`container "executor"`, "runAsNonRoot"),
		spoil: func(pool *v1alpha1.WarmPool) {
			pool.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true)}
		},
	}, {
		name: "the agent's port taken", reason: "StartFailed", words: words(":7317", "address already in use", "another container of the pod"),
		spoil: func(pool *v1alpha1.WarmPool) {
			pod := &pool.Spec.Template.Spec
			pod.Containers = []corev1.Container{squatter(), pod.Containers[0]}
			pod.TerminationGracePeriodSeconds = ptr.To[int64](1)
		},
	}, {
		name: "the agent's port declared", reason: "InvalidTemplate", words: words("containerPort", "7317 is the agent's"),
		spoil: func(pool *v1alpha1.WarmPool) { executorOf(pool).Ports = []corev1.ContainerPort{{ContainerPort: 7317}} },
	},
}

// TestFaultyPools makes pools whose pods cannot start, for the reasons that
// users meet. Each must say what is wrong where kubectl shows it, to who waits
// for a pod, too, and come to itself when the cause is gone.
func TestFaultyPools(t *testing.T) {
	n, limited, restricted := newTenant(t), newTenant(t), newTenant(t)
	limited.setQuota("1")
	restricted.enforce("restricted")
	faults := append(slices.Clone(poolFaults), poolFault{
		name: "a quota that is used up", reason: "QuotaExceeded", words: words("exceeded quota: few"), ready: 1,
		spoil:  func(pool *v1alpha1.WarmPool) { pool.Spec.Replicas = ptr.To[int32](2) },
		mend:   func(n *tenant) { n.setQuota("10") },
		tenant: limited,
	}, poolFault{
		name: "what pod security forbids", reason: "PodSecurityViolation", words: words("violates PodSecurity", "runAsNonRoot"),
		spoil: func(*v1alpha1.WarmPool) {},
		mend: func(n *tenant) {
			n.changeTemplates(func(pod *corev1.PodSpec) {
				pod.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](1000)}
			})
		},
		tenant: restricted,
	})
	// All of them first: pods take a while to fail.
	for i := range faults {
		f := &faults[i]
		if f.tenant == nil {
			f.tenant = n
		}
		f.pool = busyPool(fmt.Sprintf("faulty-%d", i), 1)
		f.spoil(f.pool)
		f.CreatePool(f.pool)
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) { f.at(t).find() })
	}
	for _, f := range faults {
		t.Run(f.name+", mended", func(t *testing.T) { f.at(t).recover() })
	}
}

// at is the same fault in a subtest.
func (f poolFault) at(t *testing.T) poolFault {
	f.tenant = f.in(t)
	return f
}

func executorOf(pool *v1alpha1.WarmPool) *corev1.Container {
	return &pool.Spec.Template.Spec.Containers[0]
}

// squatter is a container that listens where the agent is to, before the
// containers after it are started.
func squatter() corev1.Container {
	return corev1.Container{
		Name: "squatter", Image: testImage, ImagePullPolicy: corev1.PullNever,
		Command: []string{"httpd", "-f", "-p", "7317", "-h", "/etc"},
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
			Command: []string{"sh", "-c", "until wget -q -O /dev/null http://127.0.0.1:7317/" + path.Base(markFile) + "; do sleep 0.1; done"},
		}}},
	}
}

// find sees the fault where users look for it, and mends it.
func (f poolFault) find() {
	f.T.Helper()
	name := f.pool.Name
	f.awaitFailure(f)
	for i := range f.ready {
		f.ReadySandbox(fmt.Sprintf("%s-%d", name, i), name)
	}
	f.CreateSandbox(sandboxOf(name+"-waits", name))
	eventually(f.T, "the sandbox says what it waits for", func(ctx context.Context) error {
		sandbox, err := f.Sandboxes().Get(ctx, name+"-waits", getNow)
		if err != nil {
			return err
		}
		if s := sandbox.Status; s.Phase != v1alpha1.SandboxPending || len(missingWords(s.Message, f.words)) > 0 {
			return fmt.Errorf("its status is %+v", s)
		}
		return nil
	})
	k := f.kubectl()
	k.Run(words("get", "warmpool", name, "-o", "wide"), "Degraded", f.reason)
	described := k.Run(words("describe", "warmpool", name), append(f.words, f.reason, "ReplicaFailure")...)
	f.T.Logf("kubectl describe warmpool, in part:\n%s", cut(described, "Status:", "Selector:"))
	if f.mend == nil {
		f.changePool(name, func(pool *v1alpha1.WarmPool) { pool.Spec.Template = busyPool(name, 1).Spec.Template })
	} else {
		f.mend(f.tenant)
	}
}

// recover sees that nothing is left of a fault that was mended.
func (f poolFault) recover() {
	f.T.Helper()
	name := f.pool.Name
	f.AwaitSandbox(name+"-waits", v1alpha1.SandboxReady)
	pool := f.AwaitPool(name, *f.pool.Spec.Replicas)
	if failure := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure); failure.Status != metav1.ConditionFalse {
		f.T.Errorf("the mended pool says %+v", failure)
	}
	if got := f.Output(name+"-waits", "echo works >file && cat file"); got != "works\n" {
		f.T.Errorf("a task printed %q", got)
	}
}

// awaitFailure waits until the pool says what it lacks, and what for.
func (n *tenant) awaitFailure(f poolFault) {
	n.T.Helper()
	eventually(n.T, fmt.Sprintf("pool %s says %s", f.pool.Name, f.reason), func(ctx context.Context) error {
		pool, err := n.Pools().Get(ctx, f.pool.Name, getNow)
		if err != nil {
			return err
		}
		failure := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
		ready := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionReady)
		if pool.Status.Phase != v1alpha1.WarmPoolDegraded || pool.Status.ReadyReplicas != f.ready ||
			failure == nil || failure.Status != metav1.ConditionTrue || failure.Reason != f.reason || len(missingWords(failure.Message, f.words)) > 0 ||
			ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != f.reason {
			return fmt.Errorf("its status is %+v", pool.Status)
		}
		return nil
	})
}

// changePool changes a pool as often as it takes to win over other writers.
func (n *tenant) changePool(name string, change func(*v1alpha1.WarmPool)) {
	n.T.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		pool, err := n.Pools().Get(n.T.Context(), name, getNow)
		if err != nil {
			return err
		}
		change(pool)
		_, err = n.Pools().Update(n.T.Context(), pool, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		n.T.Fatalf("change pool %s: %v", name, err)
	}
}

// changeTemplates changes the pods of all pools.
func (n *tenant) changeTemplates(change func(*corev1.PodSpec)) {
	n.T.Helper()
	pools, err := n.Pools().List(n.T.Context(), everything)
	if err != nil {
		n.T.Fatal(err)
	}
	for i := range pools.Items {
		n.changePool(pools.Items[i].Name, func(pool *v1alpha1.WarmPool) { change(&pool.Spec.Template.Spec) })
	}
}

// setQuota limits how many pods the namespace may have.
func (n *tenant) setQuota(pods string) {
	n.T.Helper()
	quotas := clientOf(n.T, cluster.Admin).CoreV1().ResourceQuotas(n.Namespace)
	patch := fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"few"},"spec":{"hard":{"pods":%q}}}`, pods)
	if _, err := quotas.Patch(n.T.Context(), "few", types.ApplyPatchType, patch, metav1.PatchOptions{FieldManager: "e2e"}); err != nil {
		n.T.Fatal(err)
	}
	eventually(n.T, "the quota counts", func(ctx context.Context) error {
		quota, err := quotas.Get(ctx, "few", getNow)
		if err == nil && !quota.Status.Hard[corev1.ResourcePods].Equal(resource.MustParse(pods)) {
			err = fmt.Errorf("its status is %+v", quota.Status)
		}
		return err
	})
}

// enforce has the namespace refuse pods that do not keep to a pod security standard.
func (n *tenant) enforce(level string) {
	n.T.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level)
	_, err := clientOf(n.T, cluster.Admin).CoreV1().Namespaces().Patch(n.T.Context(), n.Namespace, types.MergePatchType, patch, patchNow)
	if err != nil {
		n.T.Fatal(err)
	}
}

func (n *tenant) createSecret(name string) {
	n.T.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := n.core.CoreV1().Secrets(n.Namespace).Create(n.T.Context(), secret, createNow); err != nil {
		n.T.Fatal(err)
	}
}

// cut is the part of a text from one word to another.
func cut(text, from, to string) string {
	_, after, _ := strings.Cut(text, from)
	part, _, _ := strings.Cut(after, to)
	return part
}
