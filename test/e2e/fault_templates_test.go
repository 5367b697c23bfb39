package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/hack/image/archive"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// probeImage holds one program, without a shell or anything else; the source
// is in the folder "probe".
const (
	probeImage   = "arl.io/e2e/probe:latest"
	probeProgram = "/probe"
)

// importProbe builds probeImage and gives it to the node.
var importProbe = sync.OnceValue(func() error {
	file := filepath.Join(shared.TempDir(), "probe")
	build := exec.Command("go", "build", "-o", file, "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the probe: %w\n%s", err, out)
	}
	return shared.BuildImage(context.Background(), probeImage, archive.Image{
		Files: []archive.File{{Path: probeProgram, Source: file, Mode: 0o755}},
	})
})

// probePool is a pool of pods with nothing but the probe in them.
func probePool(t *testing.T, name string, replicas int32) *v1alpha1.WarmPool {
	t.Helper()
	if err := importProbe(); err != nil {
		t.Fatal(err)
	}
	pool := cappedPool(name, replicas)
	executorOf(pool).Image = probeImage
	return pool
}

// TestTemplates makes pods from templates that ask something of the agent.
func TestTemplates(t *testing.T) {
	n := newTenant(t)
	bare, serving, old := cappedPool("bare", 1), cappedPool("serving", 1), cappedPool("old", 1)
	container := executorOf(serving)
	container.Name = "web"
	container.Command = []string{"sh", "-c", `printf "$0 $GREETED" >/tmp/index.html && exec httpd -f -p 8080 -h /tmp`}
	container.Args = []string{"hello"}
	container.Env = []corev1.EnvVar{{Name: "GREETED", Value: "world"}}
	old.Spec.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	old.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "sidecar", Image: testImage, ImagePullPolicy: corev1.PullNever, Command: []string{"httpd", "-f", "-p", "8080", "-h", "/etc"}},
		{Name: "executor", Image: testImage, ImagePullPolicy: corev1.PullNever, Command: []string{"sleep"}, Args: []string{"infinity"}},
	}
	for _, pool := range []*v1alpha1.WarmPool{bare, probePool(t, "shell-less", 1), serving, old} {
		n.CreatePool(pool)
	}
	t.Run("without a command", func(t *testing.T) { n.in(t).testNoCommand() })
	t.Run("without a shell", func(t *testing.T) { n.in(t).testNoShell() })
	t.Run("with a command and arguments", func(t *testing.T) { n.in(t).testCommand() })
	t.Run("with containers named executor and sidecar", func(t *testing.T) { n.in(t).testOldTemplate() })
}

// templateCondition is what a pool says of its template.
func templateCondition(pool *v1alpha1.WarmPool) *metav1.Condition {
	return meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionTemplateAccepted)
}

// testNoCommand shows that the agent runs alone where nothing else is asked
// for, and that the pool says so.
func (n *tenant) testNoCommand() {
	if c := templateCondition(n.AwaitPool("bare", 1)); c.Status != metav1.ConditionTrue || c.Reason != "NoCommand" {
		n.T.Errorf("the pool says %+v", c)
	}
	n.kubectl().Run(words("describe", "warmpool", "bare"), "NoCommand", `container "executor" has no command`)
	n.ReadySandbox("bare", "bare")
	task := n.Perform(taskIn("bare", "bare", command("lists", "ps", "-o", "pid,args")))
	wantSucceeded(n.T, task)
	processes := task.Status.Stdout
	wantWords(n.T, processes, "1 /.arl/arl-agent serve")
	if lines := strings.Count(processes, "\n"); lines != 3 { // a head, the agent and ps
		n.T.Errorf("%d lines of processes, want 3:\n%s", lines, processes)
	}
}

// testNoShell runs a program, and patches files, in an image that has nothing else.
func (n *tenant) testNoShell() {
	n.AwaitPool("shell-less", 1)
	n.ReadySandbox("shell-less", "shell-less")
	content := "kept\n"
	task := n.Perform(taskIn("shell-less", "shell-less",
		command("says", probeProgram, "say", "no", "shell"),
		v1alpha1.TaskStep{Name: "writes", Type: v1alpha1.StepFilePatch, Path: "note", Content: &content}))
	wantSucceeded(n.T, task)
	if task.Status.Stdout != "no shell\n" {
		n.T.Errorf("the program printed %q", task.Status.Stdout)
	}
	missing := n.Perform(taskIn("shell-less", "shell-asked-for", shell("script", "true")))
	if s := missing.Status; s.State != v1alpha1.TaskFailed || s.FailureClass != v1alpha1.FailureUser {
		n.T.Errorf("a task that wants a shell is %s", outline(missing))
	}
	wantWords(n.T, outline(missing), "sh: command not found")
	n.T.Logf("a task that wants a shell is %s", outline(missing))
}

// testCommand shows that the template's command runs beneath the agent, with
// its arguments and environment, and is not disturbed by tasks.
func (n *tenant) testCommand() {
	if c := templateCondition(n.AwaitPool("serving", 1)); c.Status != metav1.ConditionTrue || c.Reason != "Accepted" {
		n.T.Errorf("the pool says %+v", c)
	}
	sandbox := n.ReadySandbox("serving", "serving")
	home := "http://" + sandbox.Status.PodIP + ":8080/"
	eventually(n.T, "the template's command serves", func(context.Context) error { return check(home, "hello world") })
	wantWords(n.T, n.Output("serving", "ps -o pid,ppid,args"), "1     0 /.arl/arl-agent serve", "1 httpd -f -p 8080")
	n.Output("serving", "true")
	if err := check(home, "hello world"); err != nil {
		n.T.Errorf("after a task: %v", err)
	}
}

// testOldTemplate runs steps in the container named executor, which is not the
// first, beside a sidecar that is left as it is.
func (n *tenant) testOldTemplate() {
	n.AwaitPool("old", 1)
	sandbox := n.ReadySandbox("old", "old")
	if got := n.Output("old", "cat "+markFile+"; ps -o args"); !strings.HasPrefix(got, markText) ||
		!strings.Contains(got, "sleep infinity") || strings.Contains(got, "httpd") {
		n.T.Errorf("a step in the executor printed %q", got)
	}
	sidecar := "http://" + sandbox.Status.PodIP + ":8080/" + strings.TrimPrefix(markFile, "/etc/")
	if err := check(sidecar, markText); err != nil {
		n.T.Errorf("the sidecar: %v", err)
	}
}
