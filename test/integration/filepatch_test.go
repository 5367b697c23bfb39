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

// A whole git diff, as a model writes it: the hunks are elsewhere than it says, a count is wrong, and one
// of the files has CRLF. The status of the step says what was corrected.
func TestGitDiffOfADirectory(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	n.Succeed(taskIn("x", "writes",
		write("app", "src/app.sh", "#!/bin/sh\n\n\nname=$1\necho hello $name\n"), write("dos", "src/dos.txt", "one\r\ntwo\r\n"),
		write("old", "old/name.txt", "kept\n"), write("gone", "gone/deep/file", "x\n")))
	diff := `diff --git a/src/app.sh b/src/app.sh
old mode 100644
new mode 100755
--- a/src/app.sh
+++ b/src/app.sh
@@ -1,9 +1,9 @@
 name=$1
-echo hello $name
+echo "hello, $name"
diff --git a/src/dos.txt b/src/dos.txt
--- a/src/dos.txt
+++ b/src/dos.txt
@@ -1,2 +1,3 @@
 one
-two
+2
+3
diff --git a/old/name.txt b/new/name.txt
similarity index 100%
rename from old/name.txt
rename to new/name.txt
diff --git a/gone/deep/file b/gone/deep/file
deleted file mode 100644
--- a/gone/deep/file
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/link b/link
new file mode 120000
--- /dev/null
+++ b/link
@@ -0,0 +1 @@
+src/app.sh
\ No newline at end of file
`
	done := n.Succeed(taskIn("x", "patches", patch("step", ".", diff)))
	wantWords(t, done.Status.Steps[0].Message, "files changed: 2, created: 2, deleted: 2",
		"src/app.sh: hunk 1 of 1 (@@ -1,9 +1,9 @@) moved +3 lines to line 4, has 2 old and 2 new lines",
		"src/dos.txt: hunk 1 of 1 (@@ -1,2 +1,3 @@) keeps the CRLF line ends of the file")
	const want = "hello, you\none\\r\n2\\r\n3\\r\nkept\nlink\nnew\nsrc\nsrc/app.sh\n"
	if got := n.Output("x", "./link you; sed 's/\r/\\\\r/' src/dos.txt; cat new/name.txt; ls; readlink link"); got != want {
		t.Errorf("after the patch: %q, want %q", got, want)
	}

	// The last of the files does not fit: none is changed.
	failed := n.Perform(taskIn("x", "fails", patch("step", "./", `diff --git a/made b/made
new file mode 100644
--- /dev/null
+++ b/made
@@ -0,0 +1 @@
+made
diff --git a/new/name.txt b/new/name.txt
deleted file mode 100644
--- a/new/name.txt
+++ /dev/null
@@ -1 +0,0 @@
-kept
diff --git a/src/app.sh b/src/app.sh
--- a/src/app.sh
+++ b/src/app.sh
@@ -4,2 +4,2 @@
 name=$1
-echo goodbye
+echo farewell
`)))
	n.wantFailed(failed, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
	wantWords(t, failed.Status.Steps[0].Message, "src/app.sh", "hunk 1 of 1", "line 5", "echo goodbye", "hello, $name")
	if got := n.Output("x", "./link you; cat new/name.txt; ls"); got != "hello, you\nkept\nlink\nnew\nsrc\n" {
		t.Errorf("after the patch that failed: %q", got)
	}
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
