package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// post creates an object from its YAML, as it stands.
func (n *tenant) post(resource, manifest string) error {
	return n.server.client.ArlV1alpha1().RESTClient().Post().
		Namespace(n.Namespace).Resource(resource).
		SetHeader("Content-Type", "application/yaml").Body([]byte(manifest)).
		Do(n.T.Context()).Error()
}

// manifest is an object of a kind with a name and a spec in YAML's flow style.
func manifest(kind, name, spec string) string {
	return fmt.Sprintf("{apiVersion: arl.io/v1alpha1, kind: %s, metadata: {name: %s}, spec: %s}", kind, name, spec)
}

// wantCause fails unless err is a refusal with this status code that names the
// field and says all the words.
func wantCause(t *testing.T, err error, code int32, fieldPath string, words ...string) {
	t.Helper()
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		t.Errorf("got %v, want a refusal", err)
		return
	}
	if status.ErrStatus.Code != code {
		t.Errorf("status code is %d, want %d: %v", status.ErrStatus.Code, code, err)
	}
	if fieldPath == "" {
		wantWords(t, err.Error(), words...)
		return
	}
	if status.ErrStatus.Details == nil {
		t.Errorf("%s is not named: %v", fieldPath, err)
		return
	}
	causes := status.ErrStatus.Details.Causes
	if !slices.ContainsFunc(causes, func(cause metav1.StatusCause) bool {
		return cause.Field == fieldPath && len(missingWords(cause.Message, words)) == 0
	}) {
		t.Errorf("no cause of field %s says %q: %+v", fieldPath, words, causes)
	}
}

// step is a step in YAML's flow style that is right.
const step = "{name: s, type: Command, command: [echo]}"

// manySteps are so many right steps.
func manySteps(count int) string {
	steps := make([]string, count)
	for i := range steps {
		steps[i] = fmt.Sprintf("{name: s%d, type: Command, command: [echo]}", i)
	}
	return "[" + strings.Join(steps, ",") + "]"
}

// badTasks are specs of tasks, and what is said of them.
var badTasks = []struct{ name, spec, field, words string }{
	{"no steps", "{sandboxRef: x, steps: []}", "spec.steps", "1 to 256"},
	{"steps missing", "{sandboxRef: x}", "spec.steps", "1 to 256"},
	{"257 steps", "{sandboxRef: x, steps: " + manySteps(257) + "}", "spec.steps", "256"},
	{"same name twice", "{sandboxRef: x, steps: [" + step + "," + step + "]}", "spec.steps[1].name", "Duplicate"},
	{"neither sandboxRef nor poolRef", "{steps: [" + step + "]}", "spec.sandboxRef", "exactly one of sandboxRef and poolRef"},
	{"both sandboxRef and poolRef", "{sandboxRef: x, poolRef: p, steps: [" + step + "]}", "spec.poolRef", "exactly one of sandboxRef and poolRef"},
	{"sandboxRef no DNS label", "{sandboxRef: X_1, steps: [" + step + "]}", "spec.sandboxRef", "lower case"},
	{"timeout 0", "{sandboxRef: x, timeout: 0s, steps: [" + step + "]}", "spec.timeout", "more than 0 and at most 24h"},
	{"timeout beyond 24h", "{sandboxRef: x, timeout: 24h1s, steps: [" + step + "]}", "spec.timeout", "more than 0 and at most 24h"},
	{"timeout negative", "{sandboxRef: x, timeout: -5s, steps: [" + step + "]}", "spec.timeout", "more than 0"},
	{"timeout no duration", "{sandboxRef: x, timeout: soon, steps: [" + step + "]}", "spec.timeout", "Go duration string"},
	{"retries negative", "{sandboxRef: x, retries: -1, steps: [" + step + "]}", "spec.retries", "between 0 and 10"},
	{"retries 11", "{sandboxRef: x, retries: 11, steps: [" + step + "]}", "spec.retries", "between 0 and 10"},
	{"retryPolicy unknown", "{sandboxRef: x, retryPolicy: Never, steps: [" + step + "]}", "spec.retryPolicy", `"Infrastructure", "Always"`},
	{"ttl negative", "{sandboxRef: x, ttlSecondsAfterFinished: -1, steps: [" + step + "]}", "spec.ttlSecondsAfterFinished", "between 0 and"},
	{"step without type", "{sandboxRef: x, steps: [{name: s}]}", "spec.steps[0].type", "Command"},
	{"step of another type", "{sandboxRef: x, steps: [{name: s, type: Sleep}]}", "spec.steps[0].type", `"Command", "FilePatch"`},
	{"step without name", "{sandboxRef: x, steps: [{type: Command, command: [a]}]}", "spec.steps[0].name", "Required"},
	{"step of a bad name", "{sandboxRef: x, steps: [{name: 'a b', type: Command, command: [a]}]}", "spec.steps[0].name", "letters, digits"},
	{"Command without command", "{sandboxRef: x, steps: [{name: s, type: Command}]}", "spec.steps[0].command", "program"},
	{"Command with a path", "{sandboxRef: x, steps: [{name: s, type: Command, command: [a], path: b}]}", "spec.steps[0].path", "only for steps of type FilePatch"},
	{"step timeout 0", "{sandboxRef: x, steps: [{name: s, type: Command, command: [a], timeout: 0s}]}", "spec.steps[0].timeout", "more than 0"},
	{"step timeout beyond 24h", "{sandboxRef: x, steps: [{name: s, type: Command, command: [a], timeout: 25h}]}", "spec.steps[0].timeout", "at most 24h"},
	{"FilePatch without path", "{sandboxRef: x, steps: [{name: s, type: FilePatch, content: a}]}", "spec.steps[0].path", "file to write"},
	{"FilePatch with content and patch", "{sandboxRef: x, steps: [{name: s, type: FilePatch, path: a, content: a, patch: b}]}", "spec.steps[0].patch", "exactly one of content and patch"},
	{"FilePatch without content and patch", "{sandboxRef: x, steps: [{name: s, type: FilePatch, path: a}]}", "spec.steps[0].content", "exactly one of content and patch"},
	{"FilePatch with a command", "{sandboxRef: x, steps: [{name: s, type: FilePatch, path: a, content: a, command: [b]}]}", "spec.steps[0].command", "only for steps of type Command"},
	{"mode negative", "{sandboxRef: x, steps: [{name: s, type: FilePatch, path: a, content: a, mode: -1}]}", "spec.steps[0].mode", "between 0 and 511"},
	{"mode beyond 0777", "{sandboxRef: x, steps: [{name: s, type: FilePatch, path: a, content: a, mode: 512}]}", "spec.steps[0].mode", "between 0 and 511"},
}

func TestBadTasksAreRefused(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	for _, test := range badTasks {
		t.Run(test.name, func(t *testing.T) {
			wantCause(t, n.post("tasks", manifest("Task", "bad", test.spec)), http.StatusUnprocessableEntity, test.field, test.words)
		})
	}
	tasks, err := n.Tasks().List(t.Context(), everything)
	if err != nil || len(tasks.Items) != 0 {
		t.Errorf("%d tasks were stored all the same (%v)", len(tasks.Items), err)
	}
}

func TestBadPoolsAndSandboxesAreRefused(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	const template = "template: {spec: {containers: [{name: executor, image: host}]}}"
	for _, test := range []struct{ name, resource, manifest, field, words string }{
		{"replicas negative", "warmpools", manifest("WarmPool", "bad", "{replicas: -1, "+template+"}"), "spec.replicas", "between 0 and 10000"},
		{"replicas 10001", "warmpools", manifest("WarmPool", "bad", "{replicas: 10001, "+template+"}"), "spec.replicas", "between 0 and 10000"},
		{"maxPods 0", "warmpools", manifest("WarmPool", "bad", "{maxPods: 0, "+template+"}"), "spec.maxPods", "at least 1"},
		{"no container", "warmpools", manifest("WarmPool", "bad", "{template: {spec: {containers: []}}}"), "spec.template.spec.containers", "at least one"},
		{"no image", "warmpools", manifest("WarmPool", "bad", "{template: {spec: {containers: [{name: a}]}}}"), "spec.template.spec.containers[0].image", "image"},
		{"relative workDir", "warmpools", manifest("WarmPool", "bad", "{workDir: here, "+template+"}"), "spec.workDir", "absolute path"},
		{"idle timeout negative", "warmpools", manifest("WarmPool", "bad", "{idleTimeoutSeconds: -1, "+template+"}"), "spec.idleTimeoutSeconds", "between 1 and 604800"},
		{"unknown reclaim policy", "warmpools", manifest("WarmPool", "bad", "{reclaimPolicy: Recycle, "+template+"}"), "spec.reclaimPolicy", `"Delete"`},
		{"unknown update strategy", "warmpools", manifest("WarmPool", "bad", "{updateStrategy: {type: RollingUpdate}, "+template+"}"), "spec.updateStrategy.type", `"OnReplenish", "Recreate"`},
		{"pool name no DNS label", "warmpools", manifest("WarmPool", "Bad_Name", "{"+template+"}"), "metadata.name", "lower case"},
		{"pool name too long", "warmpools", manifest("WarmPool", strings.Repeat("a", 53), "{"+template+"}"), "metadata.name", "52 characters"},
		{"sandbox name no DNS label", "sandboxes", manifest("Sandbox", "a.b", "{poolRef: p}"), "metadata.name", "dots"},
		{"task name too long", "tasks", manifest("Task", strings.Repeat("a", 64), "{sandboxRef: x, steps: ["+step+"]}"), "metadata.name", "63"},
		{"no poolRef", "sandboxes", manifest("Sandbox", "bad", "{}"), "spec.poolRef", "WarmPool"},
		{"poolRef no DNS label", "sandboxes", manifest("Sandbox", "bad", "{poolRef: A/b}"), "spec.poolRef", "lower case"},
		{"idle timeout 0", "sandboxes", manifest("Sandbox", "bad", "{poolRef: p, idleTimeoutSeconds: 0}"), "spec.idleTimeoutSeconds", "between 1 and 604800"},
		{"lifetime negative", "sandboxes", manifest("Sandbox", "bad", "{poolRef: p, maxLifetimeSeconds: -1}"), "spec.maxLifetimeSeconds", "between 1 and 2592000"},
		{"allocation timeout negative", "sandboxes", manifest("Sandbox", "bad", "{poolRef: p, allocationTimeoutSeconds: -1}"), "spec.allocationTimeoutSeconds", "between 0 and 86400"},
		{"maxConcurrentTasks 0", "sandboxes", manifest("Sandbox", "bad", "{poolRef: p, maxConcurrentTasks: 0}"), "spec.maxConcurrentTasks", "between 1 and 64"},
		{"priority too low", "sandboxes", manifest("Sandbox", "bad", "{poolRef: p, priority: -1000001}"), "spec.priority", "between -1000000 and 1000000"},
		{"limits in a sandbox", "sandboxes", manifest("Sandbox", "bad", "{poolRef: p, resources: {limits: {cpu: 1}}}"), "spec.resources.limits", "only requests"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantCause(t, n.post(test.resource, test.manifest), http.StatusUnprocessableEntity, test.field, test.words)
		})
	}
	t.Run("a word for a number", func(t *testing.T) {
		wantCause(t, n.post("warmpools", manifest("WarmPool", "bad", "{replicas: three, "+template+"}")), http.StatusBadRequest, "", "replicas")
	})
}

func TestTooLargeObjectsAreRefused(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	create := func(files int) error {
		task := taskIn("x", "large")
		for i := range files {
			task.Spec.Steps = append(task.Spec.Steps, write(fmt.Sprintf("s%d", i), "file", strings.Repeat("x", 1<<20)))
		}
		_, err := n.Tasks().Create(t.Context(), task, createNow)
		return err
	}
	t.Run("above what is stored", func(t *testing.T) {
		wantCause(t, create(2), http.StatusUnprocessableEntity, "spec", "so that the task's status can be stored")
	})
	t.Run("above what is read", func(t *testing.T) {
		if err := create(8); !apierrors.IsRequestEntityTooLargeError(err) {
			t.Errorf("got %v, want 413", err)
		}
	})
	t.Run("one file", func(t *testing.T) {
		task := taskIn("x", "large", write("s", "file", strings.Repeat("x", 1<<20+1)))
		_, err := n.Tasks().Create(t.Context(), task, createNow)
		wantCause(t, err, http.StatusUnprocessableEntity, "spec.steps[0].content", "1048576")
	})
}

func TestImmutableFieldsStay(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	n.CreateSandbox(sandboxOf("x", "nowhere"))
	task := taskIn("", "x", shell("step", "true"))
	task.Spec.PoolRef = "nowhere"
	n.CreateTask(task)
	cancelled := task.DeepCopy()
	cancelled.Name, cancelled.Spec.Cancel = "cancelled", true
	n.CreateTask(cancelled)

	sandboxes := func(patch string) error {
		_, err := n.Sandboxes().Patch(t.Context(), "x", types.MergePatchType, []byte(patch), patchNow)
		return err
	}
	tasks := func(name, patch string) error {
		_, err := n.Tasks().Patch(t.Context(), name, types.MergePatchType, []byte(patch), patchNow)
		return err
	}
	for _, test := range []struct {
		err   error
		field string
	}{
		{sandboxes(`{"spec":{"poolRef":"other"}}`), "spec.poolRef"},
		{sandboxes(`{"spec":{"env":{"A":"b"}}}`), "spec.env"},
		{sandboxes(`{"spec":{"priority":1}}`), "spec.priority"},
		{sandboxes(`{"spec":{"allocationTimeoutSeconds":1}}`), "spec.allocationTimeoutSeconds"},
		{sandboxes(`{"spec":{"resources":{"requests":{"cpu":"1"}}}}`), "spec.resources"},
		{tasks("x", `{"spec":{"steps":[{"name":"s","type":"Command","command":["true"]}]}}`), "spec.steps"},
		{tasks("x", `{"spec":{"poolRef":"other"}}`), "spec.poolRef"},
		{tasks("x", `{"spec":{"timeout":"1s"}}`), "spec.timeout"},
		{tasks("x", `{"spec":{"retries":1}}`), "spec.retries"},
		{tasks("x", `{"spec":{"retryPolicy":"Always"}}`), "spec.retryPolicy"},
		{tasks("x", `{"spec":{"ttlSecondsAfterFinished":1}}`), "spec.ttlSecondsAfterFinished"},
		{tasks("x", `{"spec":{"traceID":"t"}}`), "spec.traceID"},
	} {
		wantCause(t, test.err, http.StatusUnprocessableEntity, test.field, "immutable")
	}
	wantCause(t, tasks("cancelled", `{"spec":{"cancel":false}}`), http.StatusUnprocessableEntity, "spec.cancel", "must stay true")
}

func TestScaleIsBounded(t *testing.T) {
	t.Parallel()
	k := newKubectl(t)
	k.CreatePool(hostPool("pool", 0))
	k.Fail("", words("scale", "warmpool/pool", "--replicas=10001"), "spec.replicas", "between 0 and 10000")
	k.Want("warmpool/pool", "{.spec.replicas}", "0")
}

func TestSandboxOfAMissingPoolWaits(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	created := n.CreateSandbox(sandboxOf("x", "later"))
	if created.Status.Phase != v1alpha1.SandboxPending {
		t.Errorf("phase is %q, want Pending", created.Status.Phase)
	}
	eventually(t, "a reason", func(ctx context.Context) error {
		sandbox, err := n.Sandboxes().Get(ctx, "x", getNow)
		if err != nil {
			return err
		}
		if got := sandbox.Status; got.Phase != v1alpha1.SandboxPending || got.Reason != v1alpha1.SandboxReasonPoolNotFound || !strings.Contains(got.Message, "later") {
			return fmt.Errorf("status is %+v", got)
		}
		return nil
	})
	n.CreatePool(hostPool("later", 1))
	n.AwaitSandbox("x", v1alpha1.SandboxReady)
}

func TestPoolSaysWhyItHasNoPods(t *testing.T) {
	t.Parallel()
	n := newTenant(t, shared(t))
	for _, test := range []struct{ name, image, words string }{
		{"no-file", "oci-archive:/nowhere/image.tar", "/nowhere/image.tar"},
		{"no-registry", "127.0.0.1:1/none:latest", "127.0.0.1:1"},
	} {
		pool := hostPool(test.name, 1)
		pool.Spec.Template.Spec.Containers[0].Image = test.image
		n.CreatePool(pool)
		eventually(t, "a condition with the reason", func(ctx context.Context) error {
			pool, err := n.Pools().Get(ctx, test.name, getNow)
			if err != nil {
				return err
			}
			c := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.WarmPoolConditionReplicaFailure)
			if c == nil || c.Status != metav1.ConditionTrue || c.Reason == "" || !strings.Contains(c.Message, test.words) {
				return fmt.Errorf("condition is %+v", c)
			}
			if pool.Status.Phase != v1alpha1.WarmPoolDegraded {
				return fmt.Errorf("phase is %s", pool.Status.Phase)
			}
			return nil
		})
	}

	// A template that is mended is tried at once.
	pool, err := n.Pools().Get(t.Context(), "no-file", getNow)
	if err != nil {
		t.Fatal(err)
	}
	patch := `{"spec":{"template":{"spec":{"containers":[{"name":"executor","image":"host"}]}}}}`
	if _, err := n.Pools().Patch(t.Context(), pool.Name, types.MergePatchType, []byte(patch), patchNow); err != nil {
		t.Fatal(err)
	}
	n.AwaitPool(pool.Name, ptr.Deref(pool.Spec.Replicas, 0))
}
