package hostile

import (
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/hostile/step"
	"arl.io/arl/test/space"
)

// attack is a step that runs the program of package step.
func attack(args ...string) v1alpha1.TaskStep {
	return space.Command("attack", append([]string{step.Program, step.Subcommand}, args...)...)
}

// TestEscapes makes every attempt to leave a pod or to take over its agent, as root of the pod and as
// another user.
func TestEscapes(t *testing.T) {
	s := startServer(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	abstract := "arl-hostile-" + rand.String(8)
	socket, err := net.Listen("unix", "@"+abstract)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	n := s.tenant(t, "escapes")
	for user, context := range map[string]*corev1.SecurityContext{
		"root": nil,
		"user": {RunAsUser: ptr.To[int64](1000)},
	} {
		t.Run(user, func(t *testing.T) {
			n := n.In(t)
			pool := pool(user, 1)
			pool.Spec.Template.Spec.Containers[0].SecurityContext = context
			n.FillPool(pool)
			n.ReadySandbox(user, user)
			s.note(t)
			attempt := attack("escape")
			attempt.Env = map[string]string{step.PortVariable: port, step.SocketVariable: abstract}
			done := n.Perform(space.TaskIn(user, user, attempt))
			wantOutcomes(t, done)
			wantEcho(n, user, "after-"+user)
		})
	}
}

// wantOutcomes makes a subtest of each line of outcome that a hostile step has printed.
func wantOutcomes(t *testing.T, task *v1alpha1.Task) {
	t.Helper()
	found := 0
	for line := range strings.Lines(task.Status.Stdout) {
		outcome, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if outcome != step.Held && outcome != step.Broke {
			continue
		}
		found++
		name, why, _ := strings.Cut(rest, ":")
		t.Run(name, func(t *testing.T) {
			if outcome == step.Broke {
				t.Errorf("%s:%s", outcome, why)
			}
		})
	}
	if found == 0 || task.Status.ExitCode == nil {
		t.Fatalf("the attack did not go through: %s\n%s", space.Outline(task), task.Status.Stdout)
	}
}
