package validation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// TestSizeIsAnUpperBound compares the estimated size of tasks with what encoding them gives.
func TestSizeIsAnUpperBound(t *testing.T) {
	alphabets := map[string]string{
		"text": "abc 0", "escapes": "\"\\\n\t\b\f\r", "control": "\x00\x01\x1f\x7f", "html": "<>&",
		"runes": "é\u2028\u2029\uFFFD世", "broken": "\xff\xe4\xb8a\xc3",
	}
	for name, alphabet := range alphabets {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, uint64(len(alphabet))))
			for range 200 {
				task := randomTask(random, alphabet)
				estimate := sizeOfTask(task)
				stored, asJSON := encodedSizes(t, task)
				if estimate.stored < stored || estimate.asJSON < asJSON {
					t.Fatalf("estimated %+v; it takes %d stored and %d as JSON", estimate, stored, asJSON)
				}
			}
		})
	}
}

func randomTask(random *rand.Rand, alphabet string) *arl.Task {
	text := func(most int) string {
		n := random.IntN(most)
		var b strings.Builder
		for b.Len() < n {
			i := random.IntN(len(alphabet))
			b.WriteString(alphabet[i : i+1])
		}
		return b.String()
	}
	pairs := func(n int) map[string]string {
		m := map[string]string{}
		for range random.IntN(n + 1) {
			m[text(20)] = text(50)
		}
		return m
	}
	task := newTask()
	task.Annotations, task.Labels, task.Finalizers = pairs(5), pairs(5), []string{text(30)}
	task.UID, task.CreationTimestamp, task.DeletionTimestamp = types.UID(text(36)), metav1.Now(), ptr.To(metav1.Now())
	task.OwnerReferences = []metav1.OwnerReference{{APIVersion: text(20), Kind: text(9), Name: text(9), UID: types.UID(text(36)), Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}}
	task.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: text(20), Operation: "Apply", APIVersion: "arl.io/v1alpha1", Time: ptr.To(metav1.Now()),
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`), Subresource: "status"}}
	task.Spec = arl.TaskSpec{
		SandboxRef: text(63), PoolRef: text(63), Timeout: text(9), Retries: 10, RetryPolicy: arl.RetryInfrastructure,
		TTLSecondsAfterFinished: ptr.To[int32](1 << 30), TraceID: text(256), Cancel: true,
	}
	for range random.IntN(10) {
		task.Spec.Steps = append(task.Spec.Steps, arl.TaskStep{
			Name: text(63), Type: arl.StepCommand, Command: []string{text(9), text(99), ""}, Env: pairs(9), WorkDir: text(99), Stdin: text(999),
			Timeout: text(9), OnFailure: arl.FailureContinue, Path: text(99), Content: ptr.To(text(999)), Patch: ptr.To(text(999)), Mode: ptr.To[int32](0o777),
		})
	}
	return task
}

// encodedSizes returns what a task takes in the storage's encoding and in JSON as clients write it.
func encodedSizes(t *testing.T, task *arl.Task) (stored, asJSON int) {
	t.Helper()
	var external v1alpha1.Task
	if err := v1alpha1.Convert_arl_Task_To_v1alpha1_Task(task, &external, nil); err != nil {
		t.Fatal(err)
	}
	external.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Task"}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(&external); err != nil {
		t.Fatal(err)
	}
	return external.Size(), b.Len()
}

// TestTheSizeOfATaskIsBounded has tasks of which no part is too large, but the whole is.
func TestTheSizeOfATaskIsBounded(t *testing.T) {
	const advice = "so that the task's status can be stored beside them: split the task, have a step download large files, or put them into the image"
	files := func(contents ...string) func(*arl.Task) {
		return func(task *arl.Task) {
			task.Spec.Steps = nil
			for i, content := range contents {
				step := arl.TaskStep{Name: fmt.Sprintf("s%d", i), Type: arl.StepFilePatch, Path: "a", Content: &content}
				task.Spec.Steps = append(task.Spec.Steps, step)
			}
		}
	}
	two := files(strings.Repeat("a", 818750), strings.Repeat("b", 818750))
	control := files(strings.Repeat("\x01", 512<<10))
	for _, tc := range []taskCase{
		{name: "a file of the largest size", change: files(strings.Repeat("a", maxText))},
		{name: "two files that are too large together", change: two,
			want: []string{fmt.Sprintf("spec: Invalid value: metadata and spec together are %d bytes; at most %d are allowed, %s", sizeOfTask(newTask(two)).stored, maxTaskStored, advice)}},
		{name: "a file that JSON makes too large", change: control,
			want: []string{fmt.Sprintf("spec: Invalid value: metadata and spec together are %d bytes as JSON, in which control characters, quotes, '<', '>' and '&' are escaped; at most %d are allowed, %s", sizeOfTask(newTask(control)).asJSON, maxTaskJSON, advice)}},
	} {
		tc.run(t)
	}
}

// TestATaskOfBeforeCanBeCancelled changes a task that was stored before its size was bounded.
func TestATaskOfBeforeCanBeCancelled(t *testing.T) {
	large := inStep(func(s *arl.TaskStep) { s.Stdin = strings.Repeat("a", maxTaskStored) })
	wantErrors(t, ValidateTaskUpdate(newTask(large, func(task *arl.Task) { task.Spec.Cancel = true }), newTask(large)))

	const edge = maxTaskStored - 1000
	nearly := inStep(func(s *arl.TaskStep) { s.Stdin = strings.Repeat("a", edge) })
	grown := newTask(nearly, func(task *arl.Task) { task.Annotations = map[string]string{"a": strings.Repeat("a", 2000)} })
	if errs := ValidateTaskUpdate(grown, newTask(nearly)); len(errs) != 1 || !strings.Contains(errs[0].Detail, "metadata and spec together") {
		t.Errorf("an annotation that leaves no room for the status gives %v", errs)
	}
}

// TestTheSizesOfSandboxesAndPoolsAreBounded fills them with what is not bounded by itself.
func TestTheSizesOfSandboxesAndPoolsAreBounded(t *testing.T) {
	const want = "metadata and spec together are"
	finalizers := make([]string, 25000)
	for i := range finalizers {
		finalizers[i] = fmt.Sprintf("example.com/%s%d", strings.Repeat("x", 50), 100000+i)
	}
	sandbox := newSandbox(func(s *arl.Sandbox) { s.Finalizers = finalizers })
	if errs := ValidateSandbox(sandbox); len(errs) != 1 || !strings.Contains(errs[0].Detail, want) {
		t.Errorf("the sandbox gives %v", errs)
	}
	pool := newPool(func(p *arl.WarmPool) { p.Finalizers = finalizers })
	if errs := ValidateWarmPool(pool); len(errs) != 1 || !strings.Contains(errs[0].Detail, want) {
		t.Errorf("the pool gives %v", errs)
	}
	started := time.Now()
	ValidateTask(newTask(inStep(func(s *arl.TaskStep) { s.Stdin = strings.Repeat("a", maxText) })))
	t.Logf("a task of 1 MiB is validated in %s", time.Since(started))
}

// TestTheEnvironmentOfASandboxIsBounded leaves room for those of steps and images.
func TestTheEnvironmentOfASandboxIsBounded(t *testing.T) {
	_, env := bulk(maxSandboxExec)
	wantErrors(t, ValidateSandbox(newSandbox(func(s *arl.Sandbox) { s.Spec.Env = env })))
	_, env = bulk(maxSandboxExec + 1)
	wantErrors(t, ValidateSandbox(newSandbox(func(s *arl.Sandbox) { s.Spec.Env = env })),
		"spec.env: Invalid value: names and values together take 524289 bytes when a program is started; at most 524288 are allowed, "+
			"as Linux takes 2097152 with the command and the environments of the step and the image: put large values into a file")
}

// bulk returns an environment that takes so many bytes with the command, or, of at most 512 KiB, without.
func bulk(bytes int) (command []string, env map[string]string) {
	if bytes > maxSandboxExec+1 {
		command = []string{"true"}
		bytes -= execBytes(command, nil)
	}
	env = map[string]string{}
	for bytes > 0 {
		name := fmt.Sprintf("V%04d", len(env))
		value := min(bytes-len(name)-len("=")-execOverhead, 100_000)
		env[name] = strings.Repeat("x", value)
		bytes -= execBytes(nil, map[string]string{name: env[name]})
	}
	return command, env
}
