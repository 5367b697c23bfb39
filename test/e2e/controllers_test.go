package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/test/e2e/cluster"
)

// TestControllers has the cluster's own controllers work on our kinds, and
// then reads in their logs that they had no trouble with them.
func TestControllers(t *testing.T) {
	n := newTenant(t)
	quiet(t)
	// Now the controllers surely watch our kinds, whatever happened before.
	n.testGarbageCollector()
	log := controllerLog(t)
	t.Run("garbage collector", func(t *testing.T) { n.in(t).testGarbageCollector() })
	t.Run("resource quota", func(t *testing.T) { n.in(t).testQuota() })
	complaints := log.errors(t)
	// On a machine that is too busy our server may be taken for dead for a moment,
	// which they do complain of. What is wrong for good shows each time.
	for attempts := 2; len(complaints) > 0 && attempts > 0 && !t.Failed(); attempts-- {
		t.Logf("once more, as the controllers complain: %q", complaints)
		log = controllerLog(t)
		n.testGarbageCollector()
		n.testQuota()
		complaints = log.errors(t)
	}
	for _, line := range complaints {
		t.Errorf("the controllers complain: %s", line)
	}
}

// testGarbageCollector deletes owners of our objects: one of the cluster's
// kinds, and one of ours.
func (n *tenant) testGarbageCollector() {
	ctx := n.T.Context()
	owner, err := n.core.CoreV1().ConfigMaps(n.Namespace).Create(ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, createNow)
	if err != nil {
		n.T.Fatal(err)
	}
	sandbox := sandboxOf("owned", "nowhere")
	sandbox.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	sandbox = n.CreateSandbox(sandbox)
	task := taskIn("", "owned", command("true", "true"))
	task.Spec.PoolRef = "nowhere"
	task.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "arl.io/v1alpha1", Kind: "Sandbox", Name: sandbox.Name, UID: sandbox.UID,
	}}
	n.CreateTask(task)
	n.CreateSandbox(sandboxOf("free", "nowhere"))
	if err := n.core.CoreV1().ConfigMaps(n.Namespace).Delete(ctx, owner.Name, deleteNow); err != nil {
		n.T.Fatal(err)
	}
	n.AwaitNoSandbox("owned")
	eventually(n.T, "the sandbox's task is gone", func(ctx context.Context) error {
		_, err := n.Tasks().Get(ctx, "owned", getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%w)", err)
	})
	if _, err := n.Sandboxes().Get(ctx, "free", getNow); err != nil {
		n.T.Errorf("the sandbox without an owner: %v", err)
	}
	if err := n.Sandboxes().Delete(ctx, "free", deleteNow); err != nil {
		n.T.Fatal(err)
	}
}

// testQuota bounds how many sandboxes a namespace may have.
func (n *tenant) testQuota() {
	const hard = 2
	counted := corev1.ResourceName("count/sandboxes.arl.io")
	admin := clientOf(n.T, cluster.Admin)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: *resource.NewQuantity(hard, resource.DecimalSI)}},
	}
	if _, err := admin.CoreV1().ResourceQuotas(n.Namespace).Create(n.T.Context(), quota, createNow); err != nil {
		n.T.Fatal(err)
	}
	awaitUsed := func(want int64) {
		n.T.Helper()
		eventually(n.T, fmt.Sprintf("the quota counts %d sandboxes", want), func(ctx context.Context) error {
			quota, err := n.core.CoreV1().ResourceQuotas(n.Namespace).Get(ctx, "few", getNow)
			if err != nil {
				return err
			}
			used, known := quota.Status.Used[counted]
			if _, bounded := quota.Status.Hard[counted]; !known || !bounded || used.Value() != want {
				return fmt.Errorf("its status is %+v", quota.Status)
			}
			return nil
		})
	}
	awaitUsed(0)
	for i := range hard {
		n.CreateSandbox(sandboxOf(fmt.Sprintf("within-%d", i), "nowhere"))
	}
	const want = `sandboxes.arl.io "beyond" is forbidden: exceeded quota: few, requested: count/sandboxes.arl.io=1, ` +
		`used: count/sandboxes.arl.io=2, limited: count/sandboxes.arl.io=2`
	_, err := n.Sandboxes().Create(n.T.Context(), sandboxOf("beyond", "nowhere"), createNow)
	if !apierrors.IsForbidden(err) || err.Error() != want {
		n.T.Errorf("one sandbox too many got %v, want %s", err, want)
	}
	awaitUsed(hard)
	if err := n.Sandboxes().Delete(n.T.Context(), "within-0", deleteNow); err != nil {
		n.T.Fatal(err)
	}
	eventually(n.T, "there is room for a sandbox again", func(ctx context.Context) error {
		_, err := n.Sandboxes().Create(ctx, sandboxOf("beyond", "nowhere"), createNow)
		return err
	})
	// It must be possible to do all this again.
	if err := admin.CoreV1().ResourceQuotas(n.Namespace).Delete(n.T.Context(), "few", deleteNow); err != nil {
		n.T.Fatal(err)
	}
	if err := n.Sandboxes().DeleteCollection(n.T.Context(), deleteNow, everything); err != nil {
		n.T.Fatal(err)
	}
}

// logFile is the part of a log that comes after now.
type logFile struct {
	name string
	from int
}

// controllerLog is that of kube-controller-manager, from now on.
func controllerLog(t *testing.T) logFile {
	t.Helper()
	log := logFile{name: filepath.Join(shared.Logs(), "kube-controller-manager.log")}
	log.from = len(log.read(t))
	return log
}

func (l logFile) read(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(l.name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content[l.from:])
}

// errors returns the lines of errors that are about our kinds. That an object was
// changed between a look at it and its deletion is none: it happens to all kinds,
// and is tried again. Nor is that it was deleted meanwhile, as our server does with the
// sandbox of a task that is gone: older garbage collectors complain of that.
func (l logFile) errors(t *testing.T) (found []string) {
	t.Helper()
	for line := range strings.Lines(l.read(t)) {
		if strings.HasPrefix(line, "E") && strings.Contains(line, "arl.io") &&
			!strings.Contains(line, "the object has been modified") && !strings.Contains(line, "\" not found") {
			found = append(found, line)
		}
	}
	return found
}
