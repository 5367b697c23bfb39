package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

const (
	kills = 10
	// Each of so many sandboxes runs so many tasks at once.
	killBoxes, killTasks = 4, 3
	killIdle             = 2
	// killAfter is how many creates are acknowledged between one kill and the next.
	killAfter = 20
)

// TestTenKills kills our server ten times in the midst of work. Clients try
// again as clients do, and in the end nothing may be missing, done twice, or
// left over.
func TestTenKills(t *testing.T) {
	n := newTenant(t)
	pool := busyPool("pool", killIdle)
	pool.Spec.MaxPods = ptr.To[int32](killBoxes + 2*killIdle)
	n.FillPool(pool)
	bound := map[string]types.UID{}
	for i := range killBoxes {
		sandbox := sandboxOf(fmt.Sprintf("box-%d", i), "pool")
		sandbox.Spec.MaxConcurrentTasks = ptr.To[int32](killTasks)
		n.CreateSandbox(sandbox)
		bound[sandbox.Name] = n.AwaitSandbox(sandbox.Name, v1alpha1.SandboxReady).Status.PodUID
	}
	before := serverPod(t).Status.ContainerStatuses[0].RestartCount

	l := n.startLoad()
	defer l.stop()
	for i := range kills {
		l.awaitMore(killAfter)
		killServer(t, i+1)
	}
	l.awaitMore(killAfter)
	l.stop()
	t.Logf("%d creates were answered, and %d requests failed meanwhile", l.count(), l.failures)

	n.checkRuns(l)
	n.checkBindings(bound)
	if restarts := serverPod(t).Status.ContainerStatuses[0].RestartCount - before; restarts != kills {
		t.Errorf("our server was killed %d times and started %d times more", kills, restarts)
	}
}

// killServer kills the server's process, and waits until it is served again.
func killServer(t *testing.T, round int) {
	t.Helper()
	admin := clientOf(t, cluster.Admin)
	old := serverPod(t).Status.ContainerStatuses[0]
	begin := time.Now()
	if err := shared.KillContainer(t.Context(), old.ContainerID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server's pod is ready again", func(ctx context.Context) error {
		pod, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, serverPodName, getNow)
		if err != nil {
			return err
		}
		if status := pod.Status.ContainerStatuses[0]; status.RestartCount == old.RestartCount || !podReady(pod) {
			return fmt.Errorf("it is not: %s", podTrouble(pod))
		}
		return nil
	})
	ready := time.Now()
	eventually(t, "the APIService is available", func(ctx context.Context) error { return available(ctx, admin) })
	registered := since(ready)
	awaitServed(t)
	t.Logf("kill %2d: the pod was ready after %s, the APIService available %s after that, and a request answered %s after it",
		round, ready.Sub(begin).Round(time.Millisecond), registered, since(ready))
}

// load is work that goes on for as long as it is not stopped.
type load struct {
	n      *tenant
	enough chan struct{}
	// stop ends the work, and returns once every create begun was answered.
	stop func()
	// counter is the URL that tasks call whose files go with their sandboxes.
	counter string

	mu sync.Mutex
	// calls counts the calls of the counter, by task.
	calls map[string]int
	// tasks are the names of tasks whose creation was answered, and whether the
	// sandbox is one of their own.
	tasks map[string]bool
	// users are the names of the sandboxes and tasks that were given a pod, by the pod.
	users    map[string]string
	claims   int
	failures int
}

// startLoad has clients create tasks for the sandboxes there are and for
// sandboxes of their own, and claim and release sandboxes.
func (n *tenant) startLoad() *load {
	n.T.Helper()
	l := &load{n: n, enough: make(chan struct{}), tasks: map[string]bool{}, users: map[string]string{}, calls: map[string]int{}}
	listener, err := shared.Listen()
	if err != nil {
		n.T.Fatal(err)
	}
	l.counter = "http://" + listener.Addr().String() + "/"
	server := &http.Server{Handler: l}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	n.T.Cleanup(func() {
		if err := errors.Join(server.Close(), <-served); !errors.Is(err, http.ErrServerClosed) {
			n.T.Errorf("count calls: %v", err)
		}
	})
	var workers sync.WaitGroup
	for worker := range 3 {
		workers.Go(func() { l.work(worker) })
	}
	l.stop = sync.OnceFunc(func() {
		close(l.enough)
		workers.Wait()
	})
	return l
}

// ServeHTTP counts a call.
func (l *load) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls[path.Base(request.URL.Path)]++
}

// work is what one client does.
func (l *load) work(worker int) {
	for i := 0; !l.over(); i++ {
		name := fmt.Sprintf("t-%d-%d", worker, i)
		switch {
		case worker == 0 && i%4 == 3:
			l.claim(name)
		case worker == 1 && i%6 == 5:
			l.create(name, "")
		default:
			l.create(name, fmt.Sprintf("box-%d", (worker+i)%killBoxes))
		}
	}
}

func (l *load) over() bool {
	select {
	case <-l.enough:
		return true
	default:
		return false
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tasks) + l.claims
}

// awaitMore waits until so many creates more have been answered.
func (l *load) awaitMore(more int) {
	l.n.T.Helper()
	target := l.count() + more
	eventually(l.n.T, "the clients get on", func(context.Context) error {
		if count := l.count(); count < target {
			return fmt.Errorf("%d of %d creates were answered", count, target)
		}
		return nil
	})
}

// insist makes a request until it is answered. One without an answer may have
// been carried out all the same, which the next one is told then.
func (l *load) insist(what string, request func(context.Context) error) {
	ctx, cancel := context.WithTimeout(l.n.T.Context(), patience)
	defer cancel()
	err := until(ctx, func(ctx context.Context) error {
		err := request(ctx)
		if err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.failures++
		}
		return err
	})
	if err != nil {
		l.n.T.Errorf("%s: %v", what, err)
	}
}

// create makes a task that leaves a trace each time it runs: a line with its
// name or, in a sandbox that nobody can look into later, a call of the counter.
func (l *load) create(name, sandbox string) {
	trace := "echo " + name + " >>runs"
	if sandbox == "" {
		trace = "wget -q -O /dev/null " + l.counter + name
	}
	task := taskIn(sandbox, name, shell("leaves-a-trace", trace+"; sleep 0.2; echo "+name))
	if sandbox == "" {
		task.Spec.PoolRef = "pool"
	}
	l.insist("create task "+name, func(ctx context.Context) error {
		_, err := l.n.Tasks().Create(ctx, task, createNow)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks[name] = sandbox == ""
}

// claim makes a sandbox and releases it again.
func (l *load) claim(name string) {
	l.insist("create sandbox "+name, func(ctx context.Context) error {
		sandbox, err := l.n.Sandboxes().Create(ctx, sandboxOf(name, "pool"), createNow)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		if err == nil {
			l.give(sandbox.Status.PodName, name)
		}
		return err
	})
	l.insist("delete sandbox "+name, func(ctx context.Context) error {
		err := l.n.Sandboxes().Delete(ctx, name, deleteNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims++
}

// give notes who was given a pod. No pod is ever given to a second one, not even
// when the first is gone.
func (l *load) give(pod, user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, given := l.users[pod]; given && pod != "" {
		l.n.T.Errorf("pod %s was given to %s and to %s", pod, other, user)
	}
	l.users[pod] = user
}

// checkRuns waits for the end of all tasks. One that has succeeded must have
// run once; one that is said to have been lost, once at most.
func (n *tenant) checkRuns(l *load) {
	n.T.Helper()
	var tasks *v1alpha1.TaskList
	eventually(n.T, "all tasks have ended", func(ctx context.Context) (err error) {
		if tasks, err = n.Tasks().List(ctx, everything); err != nil {
			return err
		}
		if i := slices.IndexFunc(tasks.Items, func(task v1alpha1.Task) bool { return !ended(&task) }); i >= 0 {
			return fmt.Errorf("task %s is %s", tasks.Items[i].Name, outline(&tasks.Items[i]))
		}
		return nil
	})
	found := map[string]*v1alpha1.Task{}
	for i := range tasks.Items {
		found[tasks.Items[i].Name] = &tasks.Items[i]
	}
	runs := n.lines()
	l.mu.Lock()
	maps.Copy(runs, l.calls)
	l.mu.Unlock()
	lost := 0
	for name, alone := range l.tasks {
		task := found[name]
		if task != nil && alone {
			l.give(task.Status.PodName, name)
		}
		switch {
		case task == nil:
			n.T.Errorf("task %s was acknowledged and is gone", name)
		case task.Status.State == v1alpha1.TaskSucceeded:
			if task.Status.Stdout != name+"\n" || task.Status.Attempts != 1 || runs[name] != 1 {
				n.T.Errorf("task %s has run %d times and printed %q: %s", name, runs[name], task.Status.Stdout, outline(task))
			}
		case task.Status.FailureClass != v1alpha1.FailureInfrastructure || task.Status.Attempts > 1 || runs[name] > 1:
			n.T.Errorf("task %s has run %d times: %s", name, runs[name], outline(task))
		default:
			lost++
			n.T.Logf("task %s has run %d times: %s", name, runs[name], outline(task))
		}
	}
	n.T.Logf("%d tasks have run once, and %d were said to have been lost", len(l.tasks)-lost, lost)
}

// lines counts what tasks have left in the sandboxes that are there.
func (n *tenant) lines() map[string]int {
	n.T.Helper()
	lines := map[string]int{}
	for i := range killBoxes {
		for name := range strings.FieldsSeq(n.Output(fmt.Sprintf("box-%d", i), "cat runs")) {
			lines[name]++
		}
	}
	return lines
}

// checkBindings sees that the sandboxes have the pods that they had, that all
// others are gone, and that there are the pods of the sandboxes, the idle ones
// of the pool, and no others.
func (n *tenant) checkBindings(bound map[string]types.UID) {
	n.T.Helper()
	eventually(n.T, "only the first sandboxes are there", func(ctx context.Context) error {
		list, err := n.Sandboxes().List(ctx, everything)
		if err != nil {
			return err
		}
		var errs []error
		for _, sandbox := range list.Items {
			if uid, ok := bound[sandbox.Name]; !ok || sandbox.Status.Phase != v1alpha1.SandboxReady || sandbox.Status.PodUID != uid {
				errs = append(errs, fmt.Errorf("%s had pod %q and is %+v", sandbox.Name, uid, sandbox.Status))
			}
		}
		if len(list.Items) != len(bound) {
			errs = append(errs, fmt.Errorf("there are %d sandboxes, want %d", len(list.Items), len(bound)))
		}
		return errors.Join(errs...)
	})
	n.AwaitPool("pool", killIdle)
	eventually(n.T, "there are no pods too many", func(ctx context.Context) error {
		list, err := n.core.CoreV1().Pods(n.Namespace).List(ctx, everything)
		if err != nil {
			return err
		}
		if len(list.Items) != len(bound)+killIdle {
			return fmt.Errorf("there are %d pods, want %d: %v", len(list.Items), len(bound)+killIdle, podNames(list.Items))
		}
		return nil
	})
	pods := map[types.UID]bool{}
	for _, pod := range n.poolPods("pool") {
		pods[pod.UID] = true
	}
	for name, uid := range bound {
		if !pods[uid] {
			n.T.Errorf("sandbox %s has a pod %s that is not there", name, uid)
		}
	}
}

func podNames(pods []corev1.Pod) (names []string) {
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return names
}
