package integration

import (
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
)

// file is a step that writes a file.
func file(name, path, content string) v1alpha1.TaskStep {
	return v1alpha1.TaskStep{Name: name, Type: v1alpha1.StepFilePatch, Path: path, Content: &content}
}

// TestATaskThatLeavesNoRoomForItsStatusIsRefused creates one that was once accepted and never ended.
func TestATaskThatLeavesNoRoomForItsStatusIsRefused(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.readySandboxes("x")
	half := strings.Repeat("a", 1_637_500/2)
	_, err := n.Tasks().Create(t.Context(), taskIn("x", "large", file("one", "1", half), file("two", "2", half)), createNow)
	if !apierrors.IsInvalid(err) {
		t.Fatalf("it gives %v", err)
	}
	wantWords(t, err.Error(), "metadata and spec together are 163", "at most 1214976 are allowed", "split the task")
}

// TestTheLargestTasksEnd has tasks of nearly the largest size, of plain text and of text that JSON
// escapes, run with as much output as is kept. Both encodings of a client are served.
func TestTheLargestTasksEnd(t *testing.T) {
	t.Parallel()
	s := shared(t)
	n := newTenant(t, s)
	n.readySandboxes("x")
	for _, encoding := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		config := rest.CopyConfig(s.config)
		config.ContentType = encoding
		client, err := versioned.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{
			"plain":  strings.Repeat("a", 1<<20),
			"quotes": strings.Repeat("\"", 900<<10),
			"tags":   strings.Repeat("<", 300<<10),
		} {
			name += strings.ReplaceAll(encoding[len("application/"):], ".", "-")
			loud := shell("loud", fmt.Sprintf(`test $(wc -c <f) = %d; head -c 100000 /dev/zero | tr '\0' '\1'; head -c 100000 /dev/zero | tr '\0' '\377' >&2; exit 3`, len(content)))
			if _, err := client.ArlV1alpha1().Tasks(n.Namespace).Create(t.Context(), taskIn("x", name, file("write", "f", content), loud), createNow); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			done := n.AwaitEnd(name)
			n.wantFailed(done, v1alpha1.TaskReasonStepFailed, v1alpha1.FailureUser)
			out := done.Status.Output
			if out == nil || out.Stdout.Bytes != 100000 || !out.Stdout.Truncated || out.Stderr.Bytes != 100000 || !out.Stderr.Truncated || len(out.Stderr.Data) == 0 || out.Stdout.Data != nil {
				t.Errorf("%s: the output is %d and %d bytes, described as %+v", name, len(done.Status.Stdout), len(done.Status.Stderr), out)
			}
			// What a client has read it can write.
			done.Labels = map[string]string{"seen": "yes"}
			if _, err := client.ArlV1alpha1().Tasks(n.Namespace).Update(t.Context(), done, updateNow); err != nil {
				t.Errorf("%s: update: %v", name, err)
			}
		}
	}
}
