package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/hack/image/archive"
	"arl.io/arl/test/e2e/cluster"
	"arl.io/arl/test/hostile/falseagent"
	"arl.io/arl/test/space"
)

// falseImage holds an agent that lies in pods whose template asks for it.
const falseImage = "arl.io/e2e/false-agent:latest"

// hook makes a build of cmd/agent one that can lie; both are named as seen from the root module.
const hook = `{"Replace": {"cmd/agent/hostile.go": "test/hostile/falseagent/testdata/hook.go"}}`

// importFalseAgent builds falseImage and gives it to the node.
var importFalseAgent = sync.OnceValue(func() error {
	file := filepath.Join(shared.TempDir(), "false-agent")
	overlay := file + ".json"
	if err := os.WriteFile(overlay, []byte(hook), 0o600); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", file, "./cmd/agent")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the false agent: %w\n%s", err, out)
	}
	return shared.BuildImage(context.Background(), falseImage, archive.Image{
		Files: []archive.File{{Path: "/arl-agent", Source: file, Mode: 0o755}},
	})
})

// liesInCluster are those that can differ by how an agent is reached, and the gravest of the others;
// test/hostile tells all of them to a standalone server.
var liesInCluster = []string{
	"bytes-negative", "duration-max", "error-long", "frozen", "h2-continuation", "h2-goaway", "h2-pings", "h2-resets",
	"h2-settings", "headers-many", "health-flaps", "health-huge", "invalid-utf8", "never-ends", "no-newline", "output-flood",
	"pings", "redirect", "sequence", "silent", "start-year-10000", "start-year-minus-1", "state-unknown", "step-events",
	"steps-huge", "strings-long",
}

// TestLiesOfAgents has agents lie to the server from pods of the cluster, all at once. Each task ends
// with a status that can be stored and read, nobody is called whom an agent names, and an honest
// sandbox beside them works all the while.
func TestLiesOfAgents(t *testing.T) {
	n := newTenant(t)
	n.useFalseAgents()
	target, calls := listenForCalls(t)
	n.FillPool(cappedPool("honest", 1))
	n.ReadySandbox("honest", "honest")
	wantSucceeded(t, n.Perform(taskIn("honest", "before", command("says", "echo", "here"))))
	for _, lie := range liesInCluster {
		pool := cappedPool(lie, 1)
		executorOf(pool).Env = []corev1.EnvVar{
			{Name: falseagent.LieVariable, Value: lie}, {Name: falseagent.TargetVariable, Value: target},
		}
		n.CreatePool(pool)
	}
	restarts := serverPod(t).Status.ContainerStatuses[0].RestartCount
	begin := time.Now()
	for _, lie := range liesInCluster {
		n.AwaitPool(lie, 1)
		n.ReadySandbox(lie, lie)
		task := taskIn(lie, lie, command("echo", "echo", "hello"))
		task.Spec.Timeout = "5s"
		n.CreateTask(task)
	}
	for _, lie := range liesInCluster {
		t.Run(lie, func(t *testing.T) {
			done := n.in(t).AwaitEnd(lie)
			t.Logf("%.200s", outline(done))
			if err := space.Plausible(done, begin, time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
	wantSucceeded(t, n.Perform(taskIn("honest", "after", command("says", "echo", "here"))))
	if got := calls.Load(); got > 0 {
		t.Errorf("the server made %d connections to the host that an agent named", got)
	}
	if got := serverPod(t).Status.ContainerStatuses[0].RestartCount; got != restarts {
		t.Errorf("the server has been started %d times, and had been %d times", got, restarts)
	}
}

// useFalseAgents has the server take the agents of new pods from falseImage, until the test's end.
func (n *tenant) useFalseAgents() {
	n.T.Helper()
	if err := importFalseAgent(); err != nil {
		n.T.Fatal(err)
	}
	set, err := clientOf(n.T, cluster.Admin).AppsV1().StatefulSets(systemNamespace).Get(n.T.Context(), serverName, getNow)
	if err != nil {
		n.T.Fatal(err)
	}
	args := set.Spec.Template.Spec.Containers[0].Args
	n.T.Cleanup(func() { n.setServerArgs(args...) })
	n.setServerArgs(append(slices.Clone(args), "--agent-image="+falseImage, "--agent-image-pull-policy=Never")...)
}

// setServerArgs starts the server anew with these arguments.
func (n *tenant) setServerArgs(args ...string) {
	n.T.Helper()
	// The test's context has ended when a cleanup calls this.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin := clientOf(n.T, cluster.Admin)
	before, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, serverPodName, getNow)
	if err != nil {
		n.T.Fatal(err)
	}
	list, err := json.Marshal(args)
	if err != nil {
		n.T.Fatal(err)
	}
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/containers/0/args","value":%s}]`, list)
	if _, err := admin.AppsV1().StatefulSets(systemNamespace).Patch(ctx, serverName, types.JSONPatchType, []byte(patch), patchNow); err != nil {
		n.T.Fatal(err)
	}
	err = until(ctx, func(ctx context.Context) error {
		now, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, serverPodName, getNow)
		if err != nil {
			return err
		}
		if now.UID == before.UID {
			return fmt.Errorf("the server's pod has not been replaced")
		}
		return served(ctx, admin)
	})
	if err != nil {
		n.T.Fatalf("start the server with %q: %v", args, err)
	}
}

// listenForCalls listens on the node and counts connections.
func listenForCalls(t *testing.T) (address string, calls *atomic.Int64) {
	t.Helper()
	listener, err := shared.Listen()
	if err != nil {
		t.Fatal(err)
	}
	calls = new(atomic.Int64)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		accepting.Wait()
	})
	return net.JoinHostPort(cluster.NodeIP, portOf(listener)), calls
}

func portOf(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
