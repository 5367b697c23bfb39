package validation

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

type taskCase struct {
	name   string
	change func(*arl.Task)
	want   []string
}

func (tc taskCase) run(t *testing.T) {
	t.Run(tc.name, func(t *testing.T) {
		wantErrors(t, ValidateTask(newTask(tc.change)), tc.want...)
	})
}

func steps(n int) []arl.TaskStep {
	steps := make([]arl.TaskStep, n)
	for i := range steps {
		steps[i] = newTask().Spec.Steps[0]
		steps[i].Name = fmt.Sprintf("s%d", i)
	}
	return steps
}

func TestValidateTask(t *testing.T) {
	for _, tc := range []taskCase{
		{name: "valid", change: func(*arl.Task) {}},
		{name: "no DNS label", change: func(k *arl.Task) { k.Name = "My_Task" },
			want: []string{`metadata.name: Invalid value: "My_Task": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`}},
		{name: "one-shot", change: func(k *arl.Task) { k.Spec.SandboxRef, k.Spec.PoolRef = "", "pool" }},
		{name: "neither reference", change: func(k *arl.Task) { k.Spec.SandboxRef = "" },
			want: []string{`spec.sandboxRef: Required value: exactly one of sandboxRef and poolRef must be set`}},
		{name: "both references", change: func(k *arl.Task) { k.Spec.PoolRef = "pool" },
			want: []string{`spec.poolRef: Forbidden: exactly one of sandboxRef and poolRef must be set`}},
		{name: "sandbox of no possible name", change: func(k *arl.Task) { k.Spec.SandboxRef = "a.b" },
			want: []string{`spec.sandboxRef: Invalid value: "a.b": must not contain dots`}},
		{name: "pool of no possible name", change: func(k *arl.Task) { k.Spec.SandboxRef, k.Spec.PoolRef = "", strings.Repeat("a", 53) },
			want: []string{`spec.poolRef: Invalid value: "` + strings.Repeat("a", 53) + `": must be no more than 52 characters`}},
		{name: "most retries", change: func(k *arl.Task) { k.Spec.Retries, k.Spec.RetryPolicy = 10, arl.RetryAlways }},
		{name: "too many retries", change: func(k *arl.Task) { k.Spec.Retries = 11 },
			want: []string{`spec.retries: Invalid value: 11: must be between 0 and 10`}},
		{name: "negative retries", change: func(k *arl.Task) { k.Spec.Retries = -1 },
			want: []string{`spec.retries: Invalid value: -1: must be between 0 and 10`}},
		{name: "unknown retry policy", change: func(k *arl.Task) { k.Spec.RetryPolicy = "Never" },
			want: []string{`spec.retryPolicy: Unsupported value: "Never": supported values: "Infrastructure", "Always"`}},
		{name: "kept for no time", change: func(k *arl.Task) { k.Spec.TTLSecondsAfterFinished = ptr.To[int32](0) }},
		{name: "kept for negative time", change: func(k *arl.Task) { k.Spec.TTLSecondsAfterFinished = ptr.To[int32](-1) },
			want: []string{`spec.ttlSecondsAfterFinished: Invalid value: -1: must be between 0 and 31536000`}},
		{name: "kept too long", change: func(k *arl.Task) { k.Spec.TTLSecondsAfterFinished = ptr.To[int32](31536001) },
			want: []string{`spec.ttlSecondsAfterFinished: Invalid value: 31536001: must be between 0 and 31536000`}},
		{name: "killed at once", change: func(k *arl.Task) { k.Spec.TerminationGracePeriodSeconds = ptr.To[int32](0) }},
		{name: "longest grace", change: func(k *arl.Task) { k.Spec.TerminationGracePeriodSeconds = ptr.To[int32](3600) }},
		{name: "grace too long", change: func(k *arl.Task) { k.Spec.TerminationGracePeriodSeconds = ptr.To[int32](3601) },
			want: []string{`spec.terminationGracePeriodSeconds: Invalid value: 3601: must be between 0 and 3600`}},
		{name: "negative grace", change: func(k *arl.Task) { k.Spec.TerminationGracePeriodSeconds = ptr.To[int32](-1) },
			want: []string{`spec.terminationGracePeriodSeconds: Invalid value: -1: must be between 0 and 3600`}},
		{name: "retained", change: func(k *arl.Task) { k.Spec.RetentionPolicy = arl.RetentionRetain }},
		{name: "retained for a time", change: func(k *arl.Task) {
			k.Spec.RetentionPolicy, k.Spec.TTLSecondsAfterFinished = arl.RetentionRetain, ptr.To[int32](60)
		}, want: []string{`spec.ttlSecondsAfterFinished: Forbidden: must not be set with retentionPolicy Retain, which keeps the task until it is deleted: leave out one of them`}},
		{name: "unknown retention policy", change: func(k *arl.Task) { k.Spec.RetentionPolicy = "Forget" },
			want: []string{`spec.retentionPolicy: Unsupported value: "Forget": supported values: "Delete", "Retain"`}},
		{name: "longest traceID", change: func(k *arl.Task) { k.Spec.TraceID = strings.Repeat("é", 256) }},
		{name: "traceID too long", change: func(k *arl.Task) { k.Spec.TraceID = strings.Repeat("x", 257) },
			want: []string{`spec.traceID: Too long: may not be more than 256 characters`}},
		{name: "traceID with line break", change: func(k *arl.Task) { k.Spec.TraceID = "a\nb" },
			want: []string{`spec.traceID: Invalid value: "a\nb": must not contain control characters`}},
		{name: "no steps", change: func(k *arl.Task) { k.Spec.Steps = nil },
			want: []string{`spec.steps: Required value: must have 1 to 256 steps`}},
		{name: "256 steps", change: func(k *arl.Task) { k.Spec.Steps = steps(256) }},
		{name: "257 steps", change: func(k *arl.Task) { k.Spec.Steps = steps(257) },
			want: []string{`spec.steps: Too many: 257: must have at most 256 items`}},
		{name: "a name twice", change: func(k *arl.Task) {
			k.Spec.Steps = steps(3)
			k.Spec.Steps[2].Name = "s0"
		}, want: []string{`spec.steps[2].name: Duplicate value: "s0"`}},
		{name: "cancelled from the start", change: func(k *arl.Task) { k.Spec.Cancel = true }},
	} {
		tc.run(t)
	}
}

func TestValidateTaskTimeout(t *testing.T) {
	const detail = `must be a Go duration string such as "90s" or "5m", more than 0 and at most 24h`
	for _, tc := range []struct {
		timeout string
		valid   bool
	}{
		{timeout: "1ns", valid: true},
		{timeout: "90s", valid: true},
		{timeout: "1h30m", valid: true},
		{timeout: "24h", valid: true},
		{timeout: ""},
		{timeout: "0"},
		{timeout: "0s"},
		{timeout: "-1s"},
		{timeout: "24h0m1s"},
		{timeout: "60"},
		{timeout: "soon"},
		{timeout: "9999999999h"},
	} {
		t.Run("task "+tc.timeout, func(t *testing.T) {
			var want []string
			if !tc.valid {
				want = []string{fmt.Sprintf("spec.timeout: Invalid value: %q: %s", tc.timeout, detail)}
			}
			wantErrors(t, ValidateTask(newTask(func(k *arl.Task) { k.Spec.Timeout = tc.timeout })), want...)
		})
		t.Run("step "+tc.timeout, func(t *testing.T) {
			var want []string
			if !tc.valid && tc.timeout != "" {
				want = []string{fmt.Sprintf("spec.steps[0].timeout: Invalid value: %q: %s", tc.timeout, detail)}
			}
			wantErrors(t, ValidateTask(newTask(inStep(func(s *arl.TaskStep) { s.Timeout = tc.timeout }))), want...)
		})
	}
}

func TestValidateTaskUpdate(t *testing.T) {
	const immutable = `: Invalid value: is immutable: delete the object and create another to change it`
	for _, tc := range []struct {
		name     string
		old, now func(*arl.Task)
		want     []string
	}{
		{name: "nothing", old: func(*arl.Task) {}, now: func(*arl.Task) {}},
		{name: "cancel", old: func(*arl.Task) {}, now: func(k *arl.Task) { k.Spec.Cancel = true }},
		{name: "cancel still set", old: func(k *arl.Task) { k.Spec.Cancel = true }, now: func(k *arl.Task) { k.Spec.Cancel = true }},
		{name: "cancel taken back", old: func(k *arl.Task) { k.Spec.Cancel = true }, now: func(*arl.Task) {},
			want: []string{`spec.cancel: Invalid value: false: must stay true once set: a cancelled task cannot be resumed`}},
		{name: "one field of one step", old: func(*arl.Task) {}, now: inStep(func(s *arl.TaskStep) { s.Command = []string{"false"} }),
			want: []string{`spec.steps` + immutable}},
		{name: "unset or empty is the same", old: func(*arl.Task) {}, now: inStep(func(s *arl.TaskStep) { s.Env = map[string]string{} })},
		{name: "everything", old: func(*arl.Task) {}, now: func(k *arl.Task) {
			k.Spec = arl.TaskSpec{PoolRef: "pool", Timeout: "1m", Retries: 1, RetryPolicy: arl.RetryAlways,
				TTLSecondsAfterFinished: ptr.To[int32](1), TerminationGracePeriodSeconds: ptr.To[int32](1),
				RetentionPolicy: arl.RetentionRetain, TraceID: "x"}
		}, want: []string{
			`spec.sandboxRef` + immutable, `spec.poolRef` + immutable, `spec.steps` + immutable, `spec.timeout` + immutable,
			`spec.retries` + immutable, `spec.retryPolicy` + immutable, `spec.ttlSecondsAfterFinished` + immutable,
			`spec.terminationGracePeriodSeconds` + immutable, `spec.retentionPolicy` + immutable, `spec.traceID` + immutable,
		}},
		{name: "labels", old: func(*arl.Task) {}, now: func(k *arl.Task) { k.Labels = map[string]string{"a": "b c"} },
			want: []string{`metadata.labels: Invalid value: "b c": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantErrors(t, ValidateTaskUpdate(newTask(tc.now), newTask(tc.old)), tc.want...)
		})
	}
}
