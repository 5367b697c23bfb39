package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"arl.io/arl/test/e2e/cluster"
)

// fullWords are what a user is told while the server's volume is full.
var fullWords = words("the server's disk is almost full", "delete objects that are not needed")

// TestFullVolume fills the volume of the server. What would need room is
// refused in words that help, everything else goes on, and when there is room
// again nobody has to do anything.
func TestFullVolume(t *testing.T) {
	n := newTenant(t)
	n.FillPool(cappedPool("pool", 2))
	n.CreatePool(busyPool("unneeded", 0))
	volume, restore := smallVolume(t)
	defer restore()
	box := sandboxOf("box", "pool")
	box.Spec.MaxConcurrentTasks = ptr.To[int32](2)
	n.CreateSandbox(box)
	n.CreateTask(taskIn("box", "runs", shell("waits", "until [ -e go ]; do sleep 0.1; done; echo done")))
	n.AwaitRunning("runs")
	restarts := serverPod(t).Status.ContainerStatuses[0].RestartCount

	// dd ends when there is no room left.
	if out, err := shared.Exec(t.Context(), "dd", "if=/dev/zero", "of="+filepath.Join(volume, "filler"), "bs=1M"); err == nil {
		t.Fatalf("the volume has no end: %s", out)
	}
	bulk := n.createUntilRefused()
	n.kubectl().Fail(bulkyManifest("more", bulky(0)), words("create", "-f", "-"), fullWords...)
	if _, err := n.Pools().Get(t.Context(), "pool", getNow); err != nil {
		t.Error(err)
	}
	for _, name := range append(bulk, "unneeded") {
		if err := n.Pools().Delete(t.Context(), name, deleteNow); err != nil {
			t.Errorf("delete on a full volume: %v", err)
		}
	}
	if pod := serverPod(t); !podReady(pod) || pod.Status.ContainerStatuses[0].RestartCount != restarts {
		t.Errorf("a full volume took the server away: %s", podTrouble(pod))
	}

	if _, err := shared.Exec(t.Context(), "rm", filepath.Join(volume, "filler")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func(ctx context.Context) error {
		_, err := n.Tasks().Create(ctx, taskIn("box", "goes", shell("lets-go", "touch go")), createNow)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	wantSucceeded(t, n.AwaitEnd("goes"))
	if task := n.AwaitEnd("runs"); task.Status.Stdout != "done\n" || task.Status.Attempts != 1 {
		t.Errorf("the task that ran meanwhile printed %q: %s", task.Status.Stdout, outline(task))
	}
	n.ReadySandbox("other", "pool")
}

// smallVolume gives the server a volume that can be filled, with the same
// content, until restore is called. It returns its folder on the node.
func smallVolume(t *testing.T) (dir string, restore func()) {
	t.Helper()
	dir = volumeDir(t)
	small := dir + "-small"
	run := func(script string) {
		t.Helper()
		if _, err := shared.Exec(t.Context(), "sh", "-ec", script, "sh", dir, small); err != nil {
			t.Fatal(err)
		}
	}
	swap := func(script string) {
		t.Helper()
		scaleServer(t, 0)
		run(script)
		scaleServer(t, 1)
		awaitServed(t)
	}
	swap(`mkdir -p "$2"; mount -t tmpfs -o size=512m,mode=777 small "$2"; cp -a "$1/." "$2/"; mount --bind "$2" "$1"`)
	return dir, func() {
		t.Helper()
		swap(`umount "$1"; rm -f "$2/filler"; cp -a "$2/." "$1/"; umount "$2"; rmdir "$2"`)
	}
}

// volumeDir is where the node keeps the server's volume.
func volumeDir(t *testing.T) string {
	t.Helper()
	admin := clientOf(t, cluster.Admin)
	claim, err := admin.CoreV1().PersistentVolumeClaims(systemNamespace).Get(t.Context(), "data-"+serverPodName, getNow)
	if err != nil {
		t.Fatal(err)
	}
	volume, err := admin.CoreV1().PersistentVolumes().Get(t.Context(), claim.Spec.VolumeName, getNow)
	if err != nil {
		t.Fatal(err)
	}
	return volume.Spec.Local.Path
}

// createUntilRefused creates pools until there is no room for one more, and
// returns their names. What the database has allocated ahead is some room.
func (n *tenant) createUntilRefused() (names []string) {
	n.T.Helper()
	const most = 1000
	for i := range most {
		pool := busyPool(fmt.Sprintf("bulky-%d", i), 0)
		pool.Annotations = map[string]string{"bulk": bulky(i)}
		_, err := n.Pools().Create(n.T.Context(), pool, createNow)
		if err == nil {
			names = append(names, pool.Name)
			continue
		}
		var status apierrors.APIStatus
		if !errors.As(err, &status) || status.Status().Code != http.StatusInsufficientStorage {
			n.T.Fatalf("a create on a full volume got %v, want an answer with code %d", err, http.StatusInsufficientStorage)
		}
		wantWords(n.T, err.Error(), fullWords...)
		n.T.Logf("after %d pools: %v", len(names), err)
		return names
	}
	n.T.Fatalf("%d pools have found room in a full volume", most)
	return nil
}

// bulky is a large text, another one for every number.
func bulky(i int) string { return strings.Repeat(fmt.Sprintf("%08d", i), 25_000) }

// bulkyManifest is a pool without pods, as a user would write it.
func bulkyManifest(name, bulk string) string {
	return fmt.Sprintf(`{"apiVersion": "arl.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": %q, "annotations": {"bulk": %q}},
		"spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "executor", "image": "x"}]}}}}`, name, bulk)
}
