package plan

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func sandboxOf(change func(*v1alpha1.Sandbox)) *v1alpha1.Sandbox {
	s := &v1alpha1.Sandbox{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: "7", CreationTimestamp: metav1.NewTime(noon)}}
	change(s)
	return s
}

func TestTheQueueIsInOrder(t *testing.T) {
	position := func(n int32) func(*v1alpha1.Sandbox) {
		return func(s *v1alpha1.Sandbox) { s.Status.QueuePosition = &n }
	}
	want := []Place{
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) {
			s.Spec.Priority = 5
			s.CreationTimestamp = metav1.NewTime(noon.Add(time.Hour))
		})),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { s.CreationTimestamp = metav1.NewTime(noon.Add(-time.Second)) })),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { position(1)(s); s.ResourceVersion = "90" })),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { position(2)(s); s.ResourceVersion = "80" })),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { s.ResourceVersion = "9" })),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { s.ResourceVersion = "10" })),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { s.ResourceVersion = "10"; s.UID = "v" })),
		PlaceOf(sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.Priority = -1 })),
	}
	got := slices.Clone(want)
	for range 20 {
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, func(a, b Place) int {
			if a.Before(b) {
				return -1
			}
			return 1
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
	if MayOvertake(0, want[7]) != true || MayOvertake(0, want[1]) != false {
		t.Error("only a higher priority overtakes")
	}
}

func TestTasksTakeTheirTurn(t *testing.T) {
	task := func(change func(*v1alpha1.Task)) Turn {
		made := &v1alpha1.Task{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: "50", CreationTimestamp: metav1.NewTime(noon)}}
		change(made)
		return TurnOf(made)
	}
	want := []Turn{
		task(func(t *v1alpha1.Task) { t.CreationTimestamp = metav1.NewTime(noon.Add(-time.Second)) }),
		task(func(t *v1alpha1.Task) { t.Status.State = v1alpha1.TaskRunning; t.ResourceVersion = "99" }),
		task(func(t *v1alpha1.Task) { t.Status.Attempts = 1; t.ResourceVersion = "100" }),
		task(func(t *v1alpha1.Task) { t.Status.ObservedGeneration = 1; t.ResourceVersion = "70" }),
		task(func(t *v1alpha1.Task) { t.Status.ObservedGeneration = 1; t.ResourceVersion = "71" }),
		task(func(t *v1alpha1.Task) { t.ResourceVersion = "9" }),
		task(func(t *v1alpha1.Task) { t.ResourceVersion = "10" }),
		task(func(t *v1alpha1.Task) { t.ResourceVersion = "10"; t.UID = "v" }),
	}
	got := slices.Clone(want)
	for range 20 {
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, func(a, b Turn) int {
			if a.Before(b) {
				return -1
			}
			return 1
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
}

func TestArrival(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "0": 0, "42": 42, "x": 0, "4x": 0, "99999999999999999999999": 0} {
		if got := Arrival(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestStartable(t *testing.T) {
	for _, test := range []struct {
		limit            *int32
		running, pending int
		want             int
	}{
		{nil, 0, 5, 1}, {nil, 1, 5, 0}, {ptr.To[int32](3), 1, 5, 2}, {ptr.To[int32](3), 1, 1, 1}, {ptr.To[int32](1), 4, 1, 0},
	} {
		if got := Startable(test.limit, test.running, test.pending); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}

func TestDeadlines(t *testing.T) {
	at := func(when time.Time, bounded bool) *time.Time {
		if !bounded {
			return nil
		}
		return &when
	}
	seconds := func(n int32) *int32 { return &n }
	pool := &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{
		AllocationTimeoutSeconds: seconds(30), IdleTimeoutSeconds: seconds(20), MaxLifetimeSeconds: seconds(10),
	}}
	plain := sandboxOf(func(*v1alpha1.Sandbox) {})
	allocated := func(change func(*v1alpha1.Sandbox)) *v1alpha1.Sandbox {
		return sandboxOf(func(s *v1alpha1.Sandbox) {
			s.Status.AllocatedTime = ptr.To(metav1.NewMicroTime(noon))
			change(s)
		})
	}
	tests := map[string]struct{ got, want *time.Time }{
		"allocation: none":             {at(AllocationDeadline(plain, nil)), nil},
		"allocation: the pool's":       {at(AllocationDeadline(plain, pool)), ptr.To(noon.Add(31 * time.Second))},
		"allocation: its own":          {at(AllocationDeadline(sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.AllocationTimeoutSeconds = seconds(5) }), pool)), ptr.To(noon.Add(6 * time.Second))},
		"allocation: not at all":       {at(AllocationDeadline(sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.AllocationTimeoutSeconds = seconds(0) }), pool)), ptr.To(noon)},
		"idle: the server's":           {at(IdleDeadline(plain, nil, noon)), ptr.To(noon.Add(time.Minute))},
		"idle: the pool's":             {at(IdleDeadline(plain, pool, noon)), ptr.To(noon.Add(20 * time.Second))},
		"idle: the pool has none":      {at(IdleDeadline(plain, &v1alpha1.WarmPool{}, noon)), ptr.To(noon.Add(time.Minute))},
		"idle: its own":                {at(IdleDeadline(sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.IdleTimeoutSeconds = seconds(3) }), pool, noon)), ptr.To(noon.Add(3 * time.Second))},
		"idle: kept alive":             {at(IdleDeadline(sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.KeepAlive = true }), pool, noon)), nil},
		"idle: kept alive, its own":    {at(IdleDeadline(sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.KeepAlive = true; s.Spec.IdleTimeoutSeconds = seconds(3) }), pool, noon)), ptr.To(noon.Add(3 * time.Second))},
		"lifetime: none":               {at(LifetimeDeadline(allocated(func(*v1alpha1.Sandbox) {}), nil)), nil},
		"lifetime: not allocated":      {at(LifetimeDeadline(plain, pool)), nil},
		"lifetime: the pool's":         {at(LifetimeDeadline(allocated(func(*v1alpha1.Sandbox) {}), pool)), ptr.To(noon.Add(10 * time.Second))},
		"lifetime: its own":            {at(LifetimeDeadline(allocated(func(s *v1alpha1.Sandbox) { s.Spec.MaxLifetimeSeconds = seconds(4) }), pool)), ptr.To(noon.Add(4 * time.Second))},
		"expiry: the server's":         {expiry(finished(nil, noon)), ptr.To(noon.Add(time.Hour))},
		"expiry: its own":              {expiry(finished(seconds(9), noon)), ptr.To(noon.Add(9 * time.Second))},
		"expiry: at once":              {expiry(finished(seconds(0), noon)), ptr.To(noon)},
		"expiry: retained":             {expiry(retained(finished(nil, noon))), nil},
		"expiry: without an end in it": {expiry(&v1alpha1.Task{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(noon)}}), ptr.To(noon.Add(time.Hour))},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func finished(ttl *int32, end time.Time) *v1alpha1.Task {
	return &v1alpha1.Task{
		Spec:   v1alpha1.TaskSpec{TTLSecondsAfterFinished: ttl},
		Status: v1alpha1.TaskStatus{State: v1alpha1.TaskFailed, CompletionTime: ptr.To(metav1.NewMicroTime(end))},
	}
}

func TestTimeouts(t *testing.T) {
	for text, want := range map[string]time.Duration{"": DefaultTaskTimeout, "90s": 90 * time.Second, "bad": DefaultTaskTimeout} {
		if got := TaskTimeout(&v1alpha1.Task{Spec: v1alpha1.TaskSpec{Timeout: text}}); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if Finished(&v1alpha1.Task{}) || !Finished(finished(nil, noon)) {
		t.Error("only Succeeded and Failed are final")
	}
}

func TestAttempt(t *testing.T) {
	tests := map[string]struct {
		status v1alpha1.TaskStatus
		want   int32
	}{
		"never begun":            {v1alpha1.TaskStatus{State: v1alpha1.TaskPending}, 1},
		"runs":                   {v1alpha1.TaskStatus{State: v1alpha1.TaskRunning, Attempts: 1}, 1},
		"is to be tried again":   {v1alpha1.TaskStatus{State: v1alpha1.TaskPending, Attempts: 1}, 2},
		"runs for a second time": {v1alpha1.TaskStatus{State: v1alpha1.TaskRunning, Attempts: 2}, 2},
		"runs, it says":          {v1alpha1.TaskStatus{State: v1alpha1.TaskRunning}, 1},
	}
	for name, test := range tests {
		if got := Attempt(&test.status); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestRetry(t *testing.T) {
	infra := Failure{Class: v1alpha1.FailureInfrastructure, Reason: v1alpha1.TaskReasonAgentLost}
	user := Failure{Class: v1alpha1.FailureUser, Reason: v1alpha1.TaskReasonStepFailed}
	tests := map[string]struct {
		spec     v1alpha1.TaskSpec
		attempts int32
		failure  Failure
		wait     time.Duration
		again    bool
	}{
		"none asked for":        {v1alpha1.TaskSpec{}, 1, infra, 0, false},
		"the first":             {v1alpha1.TaskSpec{Retries: 2}, 1, infra, 500 * time.Millisecond, true},
		"the second":            {v1alpha1.TaskSpec{Retries: 2}, 2, infra, time.Second, true},
		"no more":               {v1alpha1.TaskSpec{Retries: 2}, 3, infra, 0, false},
		"a failed step":         {v1alpha1.TaskSpec{Retries: 2}, 1, user, 0, false},
		"a failed step, always": {v1alpha1.TaskSpec{Retries: 2, RetryPolicy: v1alpha1.RetryAlways}, 1, user, 500 * time.Millisecond, true},
		"cancelled":             {v1alpha1.TaskSpec{Retries: 2, RetryPolicy: v1alpha1.RetryAlways}, 1, Failure{Reason: v1alpha1.TaskReasonCancelled}, 0, false},
		"invalid":               {v1alpha1.TaskSpec{Retries: 2, RetryPolicy: v1alpha1.RetryAlways}, 1, Failure{Reason: v1alpha1.TaskReasonInvalidStep}, 0, false},
		"its sandbox is gone":   {v1alpha1.TaskSpec{Retries: 2, SandboxRef: "box"}, 1, Failure{Class: infra.Class, SandboxGone: true}, 0, false},
		"another sandbox":       {v1alpha1.TaskSpec{Retries: 2, PoolRef: "pool"}, 1, Failure{Class: infra.Class, SandboxGone: true}, 500 * time.Millisecond, true},
		"the tenth":             {v1alpha1.TaskSpec{Retries: 10}, 10, infra, 30 * time.Second, true},
	}
	for name, test := range tests {
		if wait, again := Retry(&test.spec, test.attempts, test.failure); wait != test.wait || again != test.again {
			t.Errorf("%s: %s %v, want %s %v", name, wait, again, test.wait, test.again)
		}
	}
}

func TestInsufficient(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	pool := func(containers ...corev1.Container) *v1alpha1.WarmPool {
		return &v1alpha1.WarmPool{Spec: v1alpha1.WarmPoolSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: containers}}}}
	}
	asks := func(list corev1.ResourceList) *v1alpha1.Sandbox {
		return sandboxOf(func(s *v1alpha1.Sandbox) { s.Spec.Resources = &corev1.ResourceRequirements{Requests: list} })
	}
	small := corev1.Container{Name: "main", Resources: corev1.ResourceRequirements{Requests: list("1", "1Gi")}}
	large := corev1.Container{Name: "executor", Resources: corev1.ResourceRequirements{Requests: list("4", "8Gi")}}
	tests := map[string]struct {
		sandbox *v1alpha1.Sandbox
		pool    *v1alpha1.WarmPool
		want    string
	}{
		"asks nothing":       {sandboxOf(func(*v1alpha1.Sandbox) {}), pool(small), ""},
		"large enough":       {asks(list("1", "1Gi")), pool(small), ""},
		"too small":          {asks(list("2", "2Gi")), pool(small), "cpu: 2 asked, 1 offered; memory: 2Gi asked, 1Gi offered"},
		"the executor":       {asks(list("2", "2Gi")), pool(small, large), ""},
		"not the first":      {asks(list("2", "2Gi")), pool(corev1.Container{Name: "a"}, small), "cpu: 2 asked, 0 offered; memory: 2Gi asked, 0 offered"},
		"without containers": {asks(list("2", "2Gi")), pool(), ""},
	}
	for name, test := range tests {
		if got := Insufficient(test.sandbox, test.pool); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// expiry returns when a task is deleted with a retention of an hour, or nil if never.
func expiry(task *v1alpha1.Task) *time.Time {
	at, ok := Expiry(task, time.Hour)
	if !ok {
		return nil
	}
	return &at
}

func retained(task *v1alpha1.Task) *v1alpha1.Task {
	task.Spec.RetentionPolicy = v1alpha1.RetentionRetain
	return task
}

// TestWhatTheUserEndsIsFinal has no attempt made after a limit or a decision of the user.
func TestWhatTheUserEndsIsFinal(t *testing.T) {
	for _, policy := range []v1alpha1.RetryPolicy{v1alpha1.RetryInfrastructure, v1alpha1.RetryAlways} {
		spec := v1alpha1.TaskSpec{PoolRef: "pool", Retries: 3, RetryPolicy: policy}
		for _, class := range []v1alpha1.FailureClass{v1alpha1.FailureUser, v1alpha1.FailureInfrastructure} {
			if _, again := Retry(&spec, 1, Failure{Class: class, SandboxGone: true, Final: true}); again {
				t.Errorf("a final failure of class %s is retried by policy %s", class, policy)
			}
		}
	}
}
