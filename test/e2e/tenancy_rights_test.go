package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// member is the same namespace as another user, who has a ClusterRole there and nothing else.
func (n *tenant) member(name, role string) *tenant {
	n.T.Helper()
	user := "member-" + name + "-of-" + n.Namespace
	grant(n.T, clientOf(n.T, cluster.Admin), n.Namespace, user, role)
	other := *n.through(arlClientOf(n.T, user))
	other.user, other.core = user, clientOf(n.T, user)
	return &other
}

// clusterRole makes a role of one rule about arl.io that goes with the test.
func clusterRole(t *testing.T, name string, rule rbacv1.PolicyRule) {
	t.Helper()
	rule.APIGroups = []string{v1alpha1.GroupName}
	roles := clientOf(t, cluster.Admin).RbacV1().ClusterRoles()
	if _, err := roles.Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{rule}}, createNow); err != nil {
		t.Fatal(err)
	}
	cleanUp(t, func(ctx context.Context) error { return roles.Delete(ctx, name, deleteNow) })
}

func wantForbidden(t *testing.T, attempt string, err error, words ...string) {
	t.Helper()
	if !apierrors.IsForbidden(err) {
		t.Errorf("%s: got %v, want Forbidden", attempt, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v does not contain %q", attempt, err, word)
		}
	}
}

// TestPoolsNeedTheRightToCreatePods: who may not create pods decides on no template, whatever else they
// may do to pools; and who may create sandboxes runs code in the pools that others made.
func TestPoolsNeedTheRightToCreatePods(t *testing.T) {
	n := newTenant(t)
	n.FillPool(busyPool("shared", 1))
	editor, user := n.member("editor", "arl-edit"), n.member("user", "arl-user")
	editor.awaitRights()
	user.awaitRights()

	spy := busyPool("spy", 1)
	spy.Spec.Template.Spec.ServiceAccountName = "default"
	spy.Spec.Template.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "of-others"}}}}
	for _, options := range []metav1.CreateOptions{{}, {DryRun: []string{metav1.DryRunAll}}} {
		_, err := editor.Pools().Create(t.Context(), spy, options)
		wantForbidden(t, "create a pool with arl-edit alone", err, "spec.template", `cannot create resource "pods"`)
	}
	patch := func(n *tenant, patch string) error {
		_, err := n.Pools().Patch(t.Context(), "shared", types.MergePatchType, []byte(patch), patchNow)
		return err
	}
	wantForbidden(t, "change a template with arl-edit alone", patch(editor, `{"spec":{"template":{"metadata":{"labels":{"a":"b"}}}}}`), "spec.template")
	if err := patch(editor, `{"metadata":{"labels":{"a":"b"}},"spec":{"replicas":2}}`); err != nil {
		t.Errorf("scale with arl-edit alone: %v", err)
	}
	wantForbidden(t, "scale with arl-user", patch(user, `{"spec":{"replicas":3}}`))
	_, err := user.Pools().Create(t.Context(), spy, createNow)
	wantForbidden(t, "create a pool with arl-user", err)

	user.ReadySandbox("box", "shared")
	user.Output("box", "true")
	alone := taskIn("", "alone", command("true", "true"))
	alone.Spec.PoolRef = "shared"
	if got := user.Perform(alone); got.Status.State != v1alpha1.TaskSucceeded {
		t.Errorf("a task with a pool: %+v", got.Status)
	}
}

// TestTaskWithPoolCreatesASandbox: a task with poolRef needs the rights, and meets the quota, of its sandbox.
func TestTaskWithPoolCreatesASandbox(t *testing.T) {
	n := newTenant(t)
	admin := clientOf(t, cluster.Admin)
	n.FillPool(busyPool("pool", 1))
	name := "tasks-only-" + n.Namespace
	clusterRole(t, name, rbacv1.PolicyRule{Resources: []string{"tasks"}, Verbs: []string{"create", "get", "list"}})
	runner := n.member("runner", name)
	eventually(t, "the role is granted", func(ctx context.Context) error {
		return wantAllowed(ctx, runner.core, n.Namespace, "create", "tasks", true)
	})
	alone := func(name string) *v1alpha1.Task {
		task := taskIn("", name, command("true", "true"))
		task.Spec.PoolRef = "pool"
		return task
	}
	_, err := runner.Tasks().Create(t.Context(), alone("refused"), createNow)
	wantForbidden(t, "a task with poolRef without the right to create sandboxes", err, "spec.poolRef", `cannot create resource "sandboxes"`, "arl-user")
	if _, err := runner.Tasks().Create(t.Context(), taskIn("none-yet", "allowed", command("true", "true")), createNow); err != nil {
		t.Errorf("a task with sandboxRef: %v", err)
	}

	const counted = corev1.ResourceName("count/sandboxes.arl.io")
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse("1")}}}
	if _, err := admin.CoreV1().ResourceQuotas(n.Namespace).Create(t.Context(), quota, createNow); err != nil {
		t.Fatal(err)
	}
	used := func(want string) {
		t.Helper()
		eventually(t, "the quota counts "+want+" sandboxes", func(ctx context.Context) error {
			got, err := admin.CoreV1().ResourceQuotas(n.Namespace).Get(ctx, "one", getNow)
			if err == nil && got.Status.Used == nil {
				err = fmt.Errorf("nothing is counted yet")
			}
			if quantity := got.Status.Used[counted]; err == nil && quantity.String() != want {
				err = fmt.Errorf("it counts %s", quantity.String())
			}
			return err
		})
	}
	used("0")
	n.ReadySandbox("first", "pool")
	used("1")
	for _, options := range []metav1.CreateOptions{{DryRun: []string{metav1.DryRunAll}}, {}} {
		_, err = n.Tasks().Create(t.Context(), alone("full"), options)
		wantForbidden(t, "a task with poolRef over the quota of sandboxes", err, "spec.poolRef: the sandbox of the task", "exceeded quota: one")
	}
	if err := n.Sandboxes().Delete(t.Context(), "first", deleteNow); err != nil {
		t.Fatal(err)
	}
	used("0")
	long := taskIn("", "long", shell("wait", "sleep 600"))
	long.Spec.PoolRef = "pool"
	n.CreateTask(long)
	n.AwaitRunning("long")
	used("1") // and not 2
	if err := n.Tasks().Delete(t.Context(), "long", deleteNow); err != nil {
		t.Fatal(err)
	}
}

// TestRestrictedPools: with the label on the namespace, nobody runs code in a pool without the verb use.
func TestRestrictedPools(t *testing.T) {
	n := newTenant(t)
	admin := clientOf(t, cluster.Admin)
	n.FillPool(busyPool("gpu", 2))
	user := n.member("user", "arl-user")
	user.awaitRights()
	if _, err := admin.CoreV1().Namespaces().Patch(t.Context(), n.Namespace, types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"arl.io/pool-access":"restricted"}}}`), patchNow); err != nil {
		t.Fatal(err)
	}
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	eventually(t, "the label holds", func(ctx context.Context) error {
		_, err := user.Sandboxes().Create(ctx, sandboxOf("box", "gpu"), dry)
		if apierrors.IsForbidden(err) {
			return nil
		}
		return fmt.Errorf("a create got: %w", err)
	})
	n.ReadySandbox("of-the-editor", "gpu") // edit may use all pools
	_, err := user.Sandboxes().Create(t.Context(), sandboxOf("box", "gpu"), createNow)
	wantForbidden(t, "a sandbox", err, "spec.poolRef", `cannot use resource "warmpools" "gpu"`, "resourceNames: [gpu], verbs: [use]")
	alone := taskIn("", "alone", command("true", "true"))
	alone.Spec.PoolRef = "gpu"
	_, err = user.Tasks().Create(t.Context(), alone, createNow)
	wantForbidden(t, "a task with the pool", err, "spec.poolRef")
	_, err = user.Tasks().Create(t.Context(), taskIn("of-the-editor", "inside", command("true", "true")), createNow)
	wantForbidden(t, "a task in a sandbox of the pool", err, "spec.sandboxRef")

	name := "use-gpu-" + n.Namespace
	clusterRole(t, name, rbacv1.PolicyRule{Resources: []string{"warmpools"}, ResourceNames: []string{"gpu"}, Verbs: []string{"use"}})
	grant(t, admin, n.Namespace, user.user, name)
	eventually(t, "the user may use the pool", func(ctx context.Context) error {
		_, err := user.Sandboxes().Create(ctx, sandboxOf("box", "gpu"), dry)
		return err
	})
	user.ReadySandbox("box", "gpu")
	if got := user.Perform(alone); got.Status.State != v1alpha1.TaskSucceeded {
		t.Errorf("a task with the pool: %+v", got.Status)
	}
}
