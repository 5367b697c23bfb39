package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

const (
	killRounds = 10
	// Each sandbox runs as many tasks at once, which makes 20.
	killSandboxes, killTasks = 5, 4
	// killAfter is how many creates are acknowledged, while tasks run, before the kill.
	killAfter = 40
)

// killing is a server that is killed again and again, and what is known of it.
type killing struct {
	*tenant
	// inits are the first processes of the pods of the sandboxes.
	inits map[string]int
	// bound are the pods of the sandboxes, and pods are all there are.
	bound, pods map[string]types.UID
	// acknowledged holds everything whose create was answered.
	acknowledged *acknowledgements
}

// acknowledgements are the UIDs of objects that the server said it has. It is
// safe for concurrent use.
type acknowledgements struct {
	mu       sync.Mutex
	objects  map[string]types.UID
	revision int64
}

// add notes an object, and returns how many there are.
func (a *acknowledgements) add(name string, uid types.UID, resourceVersion string) (int, error) {
	revision, err := strconv.ParseInt(resourceVersion, 10, 64)
	if err != nil {
		return 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.objects[name] = uid
	a.revision = max(a.revision, revision)
	return len(a.objects), nil
}

// TestKillLosesAndRepeatsNothing kills the server while 20 tasks run and more
// are created, starts it again, and looks for whatever could be lost or done
// twice. The rounds are on one server, so that each starts from what the one
// before has left.
func TestKillLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	k := newKilling(t, s)
	for round := range killRounds {
		k.startTasks(round)
		k.killDuringCreates(round)
		s.mustStart(t)
		k.checkAcknowledged()
		k.checkPods()
		for sandbox := range k.inits {
			k.CreateTask(taskIn(sandbox, fmt.Sprintf("go-%d-%s", round, sandbox), shell("step", goes(round))))
		}
		k.checkTasks()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func newKilling(t *testing.T, s *server) *killing {
	k := &killing{
		tenant: newTenant(t, s), inits: map[string]int{}, bound: map[string]types.UID{},
		acknowledged: &acknowledgements{objects: map[string]types.UID{}},
	}
	pool := hostPool("pool", 2)
	pool.Spec.MaxPods = ptr.To(int32(killSandboxes + 2))
	k.CreatePool(pool)
	for i := range killSandboxes {
		sandbox := sandboxOf(fmt.Sprintf("x%d", i), "pool")
		// One more, for the task that tells the others to go on.
		sandbox.Spec.MaxConcurrentTasks = ptr.To(int32(killTasks + 1))
		k.CreateSandbox(sandbox)
		k.bound[sandbox.Name] = k.AwaitSandbox(sandbox.Name, v1alpha1.SandboxReady).Status.PodUID
		k.inits[sandbox.Name] = k.podInit(sandbox.Name)
	}
	k.AwaitPool("pool", 2)
	k.pods = k.tenant.pods()
	return k
}

// leavesALine is a script that leaves a line with a name each time it is run.
func leavesALine(name string) string { return "echo " + name + " >>runs\n" }

// goes is a script that has those of the round's tasks end that wait for it.
func goes(round int) string { return fmt.Sprintf("touch go-%d", round) }

// startTasks has 20 tasks run: half of them end by themselves, maybe while no
// server runs, and half only when they are told to after the restart.
func (k *killing) startTasks(round int) {
	k.T.Helper()
	var want []string
	for sandbox := range k.inits {
		for i := range killTasks {
			name := fmt.Sprintf("runs-%d-%s-%d", round, sandbox, i)
			end := "sleep 1"
			if i%2 == 0 {
				end = fmt.Sprintf("until [ -e go-%d ]; do sleep 0.05; done", round)
			}
			created := k.CreateTask(taskIn(sandbox, name, shell("step", leavesALine(name)+end+"\necho "+name)))
			if _, err := k.acknowledged.add("task/"+name, created.UID, created.ResourceVersion); err != nil {
				k.T.Fatal(err)
			}
			want = append(want, name)
		}
	}
	eventually(k.T, "20 running tasks", func(context.Context) error {
		lines := k.lines()
		for _, name := range want {
			if lines[name] == 0 {
				return fmt.Errorf("%s has not started", name)
			}
		}
		return nil
	})
}

// lines counts what the steps have left in all the pods, which can be read
// whether a server runs or not.
func (k *killing) lines() map[string]int {
	k.T.Helper()
	lines := map[string]int{}
	for _, init := range k.inits {
		content, err := os.ReadFile(insidePod(init, "/workspace/runs"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			k.T.Fatal(err)
		}
		for name := range strings.FieldsSeq(string(content)) {
			lines[name]++
		}
	}
	return lines
}

// killDuringCreates creates objects as fast as it can, and kills the server in
// the midst of that.
func (k *killing) killDuringCreates(round int) {
	k.T.Helper()
	enough := make(chan struct{})
	var once sync.Once
	var group errgroup.Group
	before := len(k.acknowledged.objects)
	for creator := range 4 {
		group.Go(func() error {
			for i := 0; ; i++ {
				count, err := k.createAny(fmt.Sprintf("more-%d-%d-%d", round, creator, i), creator, i)
				if err != nil {
					return refusedByTheDead(err)
				}
				if count >= before+killAfter {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	<-enough
	k.server.mustKill(k.T)
	if err := group.Wait(); err != nil {
		k.T.Fatal(err)
	}
}

// createAny creates a task or, now and then, a sandbox that waits.
func (k *killing) createAny(name string, creator, i int) (count int, err error) {
	if i%4 == 3 {
		created, err := k.Sandboxes().Create(k.T.Context(), sandboxOf(name, "nowhere"), createNow)
		if err != nil {
			return 0, err
		}
		return k.acknowledged.add("sandbox/"+name, created.UID, created.ResourceVersion)
	}
	task := taskIn(fmt.Sprintf("x%d", (creator+i)%killSandboxes), name, shell("step", leavesALine(name)+"echo "+name))
	created, err := k.Tasks().Create(k.T.Context(), task, createNow)
	if err != nil {
		return 0, err
	}
	return k.acknowledged.add("task/"+name, created.UID, created.ResourceVersion)
}

// refusedByTheDead returns nil for the error that a client has whose server was
// killed, and err if the server has answered.
func refusedByTheDead(err error) error {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return err
	}
	return nil
}

// checkAcknowledged looks for every object that a create was answered with.
func (k *killing) checkAcknowledged() {
	k.T.Helper()
	tasks, err := k.Tasks().List(k.T.Context(), everything)
	if err != nil {
		k.T.Fatal(err)
	}
	sandboxes, err := k.Sandboxes().List(k.T.Context(), everything)
	if err != nil {
		k.T.Fatal(err)
	}
	found := map[string]types.UID{}
	for _, task := range tasks.Items {
		found["task/"+task.Name] = task.UID
	}
	for _, sandbox := range sandboxes.Items {
		found["sandbox/"+sandbox.Name] = sandbox.UID
	}
	for name, uid := range k.acknowledged.objects {
		if found[name] != uid {
			k.T.Errorf("%s was acknowledged with UID %s and is %q now", name, uid, found[name])
		}
	}
	revision, err := strconv.ParseInt(tasks.ResourceVersion, 10, 64)
	if err != nil || revision < k.acknowledged.revision {
		k.T.Errorf("the resource version went back from %d to %q", k.acknowledged.revision, tasks.ResourceVersion)
	}
}

// checkPods sees that every pod was adopted: the sandboxes have those they had,
// the pool has its idle ones, and there are no others.
func (k *killing) checkPods() {
	k.T.Helper()
	k.AwaitPool("pool", 2)
	for name, uid := range k.bound {
		if got := k.AwaitSandbox(name, v1alpha1.SandboxReady).Status.PodUID; got != uid {
			k.T.Errorf("sandbox %s has pod %s, it had %s", name, got, uid)
		}
	}
	if diff := cmp.Diff(k.pods, k.tenant.pods()); diff != "" {
		k.T.Errorf("pods (-before +after the kill):\n%s", diff)
	}
}

// checkTasks waits for the end of every task there is: each must have succeeded,
// said so, and left one line.
func (k *killing) checkTasks() {
	k.T.Helper()
	var tasks *v1alpha1.TaskList
	eventually(k.T, "the end of all tasks", func(ctx context.Context) (err error) {
		if tasks, err = k.Tasks().List(ctx, everything); err != nil {
			return err
		}
		if i := slices.IndexFunc(tasks.Items, func(task v1alpha1.Task) bool { return !ended(&task) }); i >= 0 {
			return fmt.Errorf("task %s is %s", tasks.Items[i].Name, describe(&tasks.Items[i]))
		}
		return nil
	})
	lines := k.lines()
	for _, task := range tasks.Items {
		if task.Status.State != v1alpha1.TaskSucceeded {
			k.T.Errorf("task %s: %s", task.Name, describe(&task))
			continue
		}
		if !strings.HasPrefix(task.Name, "runs-") && !strings.HasPrefix(task.Name, "more-") {
			continue
		}
		if lines[task.Name] != 1 || task.Status.Stdout != task.Name+"\n" || task.Status.Attempts != 1 {
			k.T.Errorf("task %s has run %d times, wrote %q: %s", task.Name, lines[task.Name], task.Status.Stdout, describe(&task))
		}
	}
}
