package execute

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/generated/clientset/versioned/fake"
	"arl.io/arl/pkg/podruntime"
)

const testOutputLimit = 32 << 10

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456000, time.UTC)

func reporter() *Executor {
	return &Executor{config: Config{Clock: testingclock.NewFakeClock(noon), OutputLimit: testOutputLimit}}
}

// filled returns a text of so many bytes that repeats the unit.
func filled(unit string, size int) string {
	return strings.Repeat(unit, size/len(unit)+1)[:size]
}

// largestStatus returns the status of a task of 256 steps that have written as much as they can, in
// units that take the most space in one encoding or another.
func largestStatus(task *v1alpha1.Task, unit string) *v1alpha1.TaskStatus {
	result := &wire.ExecutionResult{
		State: wire.Failed, ExitCode: ptr.To[int32](-1 << 31), DurationMicros: 1<<63 - 1,
		Stdout: []byte(filled(unit, testOutputLimit+markerSlack)), Stderr: []byte(filled(unit, testOutputLimit+markerSlack)),
		StdoutBytes: 1<<63 - 1, StderrBytes: 1<<63 - 1, StdoutTruncated: true, StderrTruncated: true,
	}
	for range task.Spec.Steps {
		result.Steps = append(result.Steps, wire.StepResult{
			State: wire.Failed, Reason: wire.ReasonInvalidStep, Message: filled(unit, 1<<20), ExitCode: ptr.To[int32](-1 << 31),
			StdoutBytes: 1 << 40, StderrBytes: 1 << 40, StartTime: noon, DurationMicros: 1<<63 - 1,
		})
	}
	name := strings.Repeat("n", 63)
	x := &execution{
		sandbox: &v1alpha1.Sandbox{ObjectMeta: metav1.ObjectMeta{Name: name}},
		id:      execID{pod: podruntime.Key{Name: name}}, attempt: 11, startedAt: noon,
	}
	v := resultVerdict(*result)
	v.message = filled(unit, 1<<20)
	status := &v1alpha1.TaskStatus{ObservedGeneration: 1<<63 - 1}
	reporter().report(status, task, x, v, full)
	return status
}

// units are texts that take the most space: plain, escaped in JSON, and not UTF-8.
var units = map[string]string{
	"text": "x", "quotes": "\"", "control": "\x01", "broken": "\xff", "broken control": "\x01\xff", "broken text": "x\xff", "runes": "世", "cut": "\xe4\xb8",
}

// TestEveryStatusFitsBesideTheLargestTask has the largest tasks that are accepted get the largest status.
func TestEveryStatusFitsBesideTheLargestTask(t *testing.T) {
	for _, content := range []string{"x", "\"", "<", "\x01", "\xff", "世"} {
		task := largestTask(t, content)
		for name, unit := range units {
			t.Run(fmt.Sprintf("%q, %s", content, name), func(t *testing.T) {
				status := largestStatus(task, unit)
				whole := *task
				whole.Status = *status
				stored, asJSON := whole.Size(), sizeInJSON(t, &whole)
				if stored > validation.StorageLimit || asJSON > validation.RequestLimit {
					t.Errorf("it takes %d bytes stored of %d, and %d as JSON of %d", stored, validation.StorageLimit, asJSON, validation.RequestLimit)
				}
				if size := status.Size(); size > validation.TaskStatusReserve {
					t.Errorf("the status takes %d bytes, of %d kept for it", size, validation.TaskStatusReserve)
				}
				if size := sizeInJSON(t, status); size > validation.TaskStatusReserveJSON {
					t.Errorf("the status takes %d bytes as JSON, of %d kept for it", size, validation.TaskStatusReserveJSON)
				}
			})
		}
	}
}

func sizeInJSON(t *testing.T, obj any) int {
	t.Helper()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(obj); err != nil {
		t.Fatal(err)
	}
	return b.Len()
}

// largestTask returns a task of 256 steps whose files hold as much of a text as validation accepts.
func largestTask(t *testing.T, unit string) *v1alpha1.Task {
	t.Helper()
	build := func(size int) *v1alpha1.Task {
		task := &v1alpha1.Task{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Task"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "task", ResourceVersion: "1"},
			Spec:       v1alpha1.TaskSpec{SandboxRef: "box"},
		}
		v1alpha1.SetDefaults_TaskSpec(&task.Spec)
		for i := range validation.MaxTaskSteps {
			content := filled(unit, min(size, 1<<20))
			size -= len(content)
			task.Spec.Steps = append(task.Spec.Steps, v1alpha1.TaskStep{
				Name: fmt.Sprintf("%s%d", strings.Repeat("s", 60), i), Type: v1alpha1.StepFilePatch, Path: "p", Content: &content,
			})
		}
		return task
	}
	accepted := func(size int) bool {
		var internal arl.Task
		if err := v1alpha1.Convert_v1alpha1_Task_To_arl_Task(build(size), &internal, nil); err != nil {
			t.Fatal(err)
		}
		return len(validation.ValidateTask(&internal)) == 0
	}
	low, high := 0, 4<<20
	for high-low > 1 {
		if middle := (low + high) / 2; accepted(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	if low < 100<<10 {
		t.Fatalf("no more than %d bytes are accepted", low)
	}
	return build(low)
}

// TestMessagesAndOutputAreCutBetweenCharacters cuts at every place.
func TestMessagesAndOutputAreCutBetweenCharacters(t *testing.T) {
	text := strings.Repeat("aé世😀", 100)
	for limit := range 40 {
		if got := clip(text, limit); !utf8.ValidString(got) || len(got) > limit || strings.ContainsRune(got, utf8.RuneError) {
			t.Errorf("cut to %d bytes it is %q", limit, got)
		}
		if got := cut([]byte(text), limit); !utf8.Valid(got) || bytes.ContainsRune(got, utf8.RuneError) {
			t.Errorf("output cut to %d bytes is %q", limit, got)
		}
	}
	if got := clip(strings.Repeat("\xff", 100), 50); len(got) > 50 {
		t.Errorf("%d bytes of what is no text", len(got))
	}
}

// TestOutputIsDescribed compares what the status says of output that is whole, cut, not UTF-8, or
// left out, by agents of this version and of earlier ones.
func TestOutputIsDescribed(t *testing.T) {
	tests := map[string]struct {
		stream   stream
		leaveOut bool
		want     v1alpha1.TaskStream
		text     string
	}{
		"nothing":                 {stream{}, false, v1alpha1.TaskStream{}, ""},
		"text":                    {stream{kept: []byte("a\n"), bytes: 2}, false, v1alpha1.TaskStream{Bytes: 2}, "a\n"},
		"cut":                     {stream{kept: []byte("a..b"), bytes: 9000, truncated: true}, false, v1alpha1.TaskStream{Bytes: 9000, Truncated: true}, "a..b"},
		"not UTF-8":               {stream{kept: []byte("a\xffb"), bytes: 3}, false, v1alpha1.TaskStream{Bytes: 3, Data: []byte("a\xffb")}, "a\uFFFDb"},
		"left out":                {stream{kept: []byte("a"), bytes: 1}, true, v1alpha1.TaskStream{Bytes: 1, Truncated: true}, ""},
		"left out, but nothing":   {stream{}, true, v1alpha1.TaskStream{}, ""},
		"an earlier agent":        {stream{kept: []byte("ab"), steps: 2}, false, v1alpha1.TaskStream{Bytes: 2}, "ab"},
		"an earlier agent, cut":   {stream{kept: []byte("ab"), steps: 7}, false, v1alpha1.TaskStream{Bytes: 7, Truncated: true}, "ab"},
		"an agent without sense":  {stream{kept: []byte("ab"), bytes: -4}, false, v1alpha1.TaskStream{Bytes: 2}, "ab"},
		"an agent without bounds": {stream{kept: []byte(strings.Repeat("é", 4000)), bytes: 8000}, false, v1alpha1.TaskStream{Bytes: 8000, Truncated: true}, strings.Repeat("é", 25) + "\n[... 7900 bytes are missing here ...]\n" + strings.Repeat("é", 25)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got v1alpha1.TaskStream
			text := test.stream.report(&got, 100, test.leaveOut)
			if diff := cmp.Diff(test.want, got); diff != "" || text != test.text {
				t.Errorf("the text is %q; -want +got:\n%s", text, diff)
			}
		})
	}
}

// TestConditionsSayHowATaskStands follows a task through its life.
func TestConditionsSayHowATaskStands(t *testing.T) {
	status := &v1alpha1.TaskStatus{Reason: "Some"}
	for _, test := range []struct {
		succeeded metav1.ConditionStatus
		want      string
	}{
		{metav1.ConditionUnknown, "Succeeded=Unknown Reconciling=True"},
		{metav1.ConditionFalse, "Succeeded=False Stalled=True"},
		{metav1.ConditionUnknown, "Succeeded=Unknown Reconciling=True"},
		{metav1.ConditionTrue, "Succeeded=True"},
	} {
		setConditions(status, test.succeeded, noon)
		var got []string
		for _, condition := range status.Conditions {
			got = append(got, condition.Type+"="+string(condition.Status))
		}
		if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// TestConflictsOfAStatusWriteAreBounded has somebody else always be first.
func TestConflictsOfAStatusWriteAreBounded(t *testing.T) {
	task := &v1alpha1.Task{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "task", UID: "1"}}
	clientset := fake.NewSimpleClientset(task)
	writes := 0
	clientset.PrependReactor("update", "tasks", func(clienttesting.Action) (bool, runtime.Object, error) {
		writes++
		return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "tasks"}, "task", nil)
	})
	e := &Executor{config: Config{Client: clientset.ArlV1alpha1()}}
	_, err := e.update(context.Background(), task, func(*v1alpha1.TaskStatus) {})
	if err == nil || !strings.Contains(err.Error(), "default/task: changed by others") || writes != conflictRetries {
		t.Errorf("after %d writes: %v", writes, err)
	}
}
