package integration

import (
	"strings"
	"testing"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

func TestPatchThatDoesNotApplyChangesNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	n.Succeed(taskIn("x", "writes", write("step", "file", "one\ntwo\nthree\nfour\nfive\n")))

	// The first hunk fits, the second does not.
	diff := "--- a/file\n+++ b/file\n@@ -1,2 +1,2 @@\n-one\n+ONE\n two\n@@ -4,2 +4,2 @@\n four\n-six\n+SIX\n"
	failed := n.Perform(taskIn("x", "patches", patch("step", "file", diff), shell("never", "touch reached")))
	n.wantFailed(failed, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
	step := failed.Status.Steps[0]
	if step.State != v1alpha1.StepFailed {
		t.Errorf("the step is %+v", step)
	}
	wantWords(t, step.Message, "file", "hunk 2 of 2", "-4,2 +4,2", "six")
	if got := n.Output("x", "cat file; ls"); got != "one\ntwo\nthree\nfour\nfive\nfile\n" {
		t.Errorf("after the patch that failed, the file and the directory are %q", got)
	}

	missing := n.Perform(taskIn("x", "patches-nothing", patch("step", "nothing", diff)))
	n.wantFailed(missing, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
	wantWords(t, missing.Status.Message, "nothing", "does not exist")
}

func TestPathOutOfTheRootWritesNothing(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	up := strings.Repeat("../", 12)
	n.Output("x", "ln -s "+up+"tmp link; ln -s "+up+"tmp/arl-target file-link; touch /tmp/arl-patched")
	const diff = "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+patched\n"
	for name, step := range map[string]v1alpha1.TaskStep{
		"relative":      write("step", up+"tmp/arl-relative", "out"),
		"absolute":      write("step", "/../tmp/arl-absolute", "out"),
		"inside-out":    write("step", "sub/../"+up+"tmp/arl-inside-out", "out"),
		"by-link":       write("step", "link/arl-by-link", "out"),
		"to-link":       write("step", "file-link", "out"),
		"patch":         patch("step", up+"tmp/arl-patched", diff),
		"patch-by-link": patch("step", "link/arl-patched", diff),
	} {
		failed := n.Perform(taskIn("x", name, step))
		n.wantFailed(failed, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
		wantWords(t, failed.Status.Steps[0].Message, "leads out of the container's root")
	}
	if got := n.Output("x", "cat /tmp/arl-patched; find / -maxdepth 1 -name 'arl-*'; ls /tmp; ls"); got != "arl-patched\nfile-link\nlink\n" {
		t.Errorf("what there is afterwards: %q", got)
	}
	// A link that stays inside is followed.
	n.Output("x", "mkdir real && ln -s real inside && ln -s /tmp abs")
	n.Succeed(taskIn("x", "inside", write("a", "inside/note", "in\n"), write("b", "abs/note", "abs\n")))
	if got := n.Output("x", "cat real/note /tmp/note"); got != "in\nabs\n" {
		t.Errorf("through links that stay inside was written %q", got)
	}
}
