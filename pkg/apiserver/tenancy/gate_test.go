package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// rights are what users may do, as "verb resource name".
type rights map[string][]string

func (r rights) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	wanted := strings.TrimSpace(a.GetVerb() + " " + a.GetResource() + " " + a.GetName())
	if a.GetNamespace() != "team" || !a.IsResourceRequest() {
		return authorizer.DecisionNoOpinion, "", fmt.Errorf("asked about %+v", a)
	}
	if slices.Contains(r[a.GetUser().GetName()], wanted) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// seen is an object that came by the chain.
type seen struct {
	kind, name, user string
	dryRun, counted  bool
}

// chain records what it is to admit, changes sandboxes and has a quota of them.
type chain struct {
	all   []seen
	quota error
}

func (*chain) Handles(admission.Operation) bool { return true }

func (*chain) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if sandbox, ok := a.GetObject().(*arl.Sandbox); ok {
		metav1.SetMetaDataLabel(&sandbox.ObjectMeta, "changed", "yes")
	}
	return nil
}

func (c *chain) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	saw := seen{kind: a.GetKind().Kind, name: a.GetName(), user: a.GetUserInfo().GetName(), dryRun: a.IsDryRun()}
	if sandbox, ok := a.GetObject().(*arl.Sandbox); ok && sandbox.Labels["changed"] == "" {
		return errors.New("validated before it was changed")
	}
	counter := CountLater(&quota{at: &saw, err: c.quota}).(admission.ValidationInterface)
	err := counter.Validate(ctx, a, o)
	c.all = append(c.all, saw)
	return err
}

// quota is a plugin that counts what it admits, except in dry runs.
type quota struct {
	at  *seen
	err error
}

func (*quota) Handles(admission.Operation) bool { return true }

func (q *quota) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	q.at.counted = !a.IsDryRun()
	if _, ok := a.GetObject().(*arl.Sandbox); ok {
		return q.err
	}
	return nil
}

func attributes(who string, obj, old runtime.Object, dryRun bool) admission.Attributes {
	kind, resource := "Task", "tasks"
	switch obj.(type) {
	case *arl.WarmPool:
		kind, resource = "WarmPool", "warmpools"
	case *arl.Sandbox:
		kind, resource = "Sandbox", "sandboxes"
	}
	operation := admission.Create
	if old != nil {
		operation = admission.Update
	}
	return admission.NewAttributesRecord(obj, old, v1alpha1.SchemeGroupVersion.WithKind(kind), "team", obj.(metav1.Object).GetName(),
		v1alpha1.SchemeGroupVersion.WithResource(resource), "", operation, nil, dryRun, &user.DefaultInfo{Name: who})
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "team", Name: name, UID: "uid"}
}

func pool(image, workDir string, replicas int32) *arl.WarmPool {
	return &arl.WarmPool{ObjectMeta: named("pool"), Spec: arl.WarmPoolSpec{
		Replicas: ptr.To(replicas), WorkDir: workDir,
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}},
	}}
}

func sandbox(pool string) *arl.Sandbox {
	return &arl.Sandbox{ObjectMeta: named("box"), Spec: arl.SandboxSpec{PoolRef: pool}}
}

func task(poolRef, sandboxRef string) *arl.Task {
	return &arl.Task{ObjectMeta: named("task"), Spec: arl.TaskSpec{PoolRef: poolRef, SandboxRef: sandboxRef}}
}

// ofTask is a sandbox with the label of a task's.
func ofTask(name string) *arl.Sandbox {
	s := sandbox("gpu")
	s.Labels = map[string]string{"arl.io/task": name}
	return s
}

var users = rights{
	"pods":      {"create pods"},
	"sandboxes": {"create sandboxes"},
	"uses":      {"create sandboxes", "use warmpools gpu"},
}

func TestGate(t *testing.T) {
	open, restricted, unknown := map[string]string{}, map[string]string{LabelPoolAccess: AccessRestricted}, map[string]string{LabelPoolAccess: "x"}
	tests := map[string]struct {
		who      string
		obj, old runtime.Object
		labels   map[string]string
		want     string // in the error; empty: admitted
	}{
		"create a pool":                       {who: "pods", obj: pool("a", "/w", 1)},
		"create a pool without pods":          {who: "sandboxes", obj: pool("a", "/w", 1), want: `spec.template: user "sandboxes" cannot create resource "pods"`},
		"scale a pool":                        {who: "nobody", obj: pool("a", "/w", 9), old: pool("a", "/w", 1)},
		"change a template":                   {who: "pods", obj: pool("b", "/w", 1), old: pool("a", "/w", 1)},
		"change a template without pods":      {who: "nobody", obj: pool("b", "/w", 1), old: pool("a", "/w", 1), want: "spec.template"},
		"change the work directory":           {who: "nobody", obj: pool("a", "/etc", 1), old: pool("a", "/w", 1), want: "spec.template"},
		"create a sandbox":                    {who: "sandboxes", obj: sandbox("gpu"), labels: open},
		"create a restricted sandbox":         {who: "sandboxes", obj: sandbox("gpu"), labels: restricted, want: "resourceNames: [gpu], verbs: [use]"},
		"the label is not understood":         {who: "sandboxes", obj: sandbox("gpu"), labels: unknown, want: `cannot use resource "warmpools" "gpu"`},
		"use a restricted pool":               {who: "uses", obj: sandbox("gpu"), labels: restricted},
		"use another restricted pool":         {who: "uses", obj: sandbox("cpu"), labels: restricted, want: `"cpu"`},
		"change a restricted sandbox":         {who: "nobody", obj: sandbox("gpu"), old: sandbox("gpu"), labels: restricted},
		"the label of a task's sandbox":       {who: "sandboxes", obj: ofTask("t"), want: "metadata.labels[arl.io/task]: belongs to the server"},
		"the server's own":                    {who: user.APIServerUser, obj: ofTask("t")},
		"set the label":                       {who: "sandboxes", obj: ofTask("t"), old: sandbox("gpu"), want: "metadata.labels"},
		"change the label":                    {who: "sandboxes", obj: ofTask("t"), old: ofTask("u"), want: "metadata.labels"},
		"leave the label":                     {who: "sandboxes", obj: ofTask("t"), old: ofTask("t")},
		"a task with a pool":                  {who: "sandboxes", obj: task("gpu", "")},
		"a task with a pool, no sandboxes":    {who: "pods", obj: task("gpu", ""), want: `spec.poolRef: user "pods" cannot create resource "sandboxes"`},
		"a task with a restricted pool":       {who: "sandboxes", obj: task("gpu", ""), labels: restricted, want: "spec.poolRef: user"},
		"a task with a pool that it may use":  {who: "uses", obj: task("gpu", ""), labels: restricted},
		"a task in a sandbox":                 {who: "nobody", obj: task("", "box"), labels: open},
		"a task in a restricted sandbox":      {who: "sandboxes", obj: task("", "box"), labels: restricted, want: "spec.sandboxRef: user"},
		"a task in a sandbox that it may use": {who: "uses", obj: task("", "box"), labels: restricted},
		"a task in no sandbox":                {who: "uses", obj: task("", "none"), labels: restricted, want: `there is no sandbox "none"`},
		"cancel a task":                       {who: "nobody", obj: task("gpu", ""), old: task("gpu", ""), labels: restricted},
	}
	for name, tt := range tests {
		for _, dryRun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dry run %t", name, dryRun), func(t *testing.T) {
				gate := &Gate{}
				gate.Configure(Config{
					Authorizer:      users,
					NamespaceLabels: func(context.Context, string) (map[string]string, error) { return tt.labels, nil },
					Sandbox: func(_ context.Context, _, name string) (*arl.Sandbox, error) {
						if name == "box" {
							return sandbox("gpu"), nil
						}
						return nil, apierrors.NewNotFound(arl.Resource("sandboxes"), name)
					},
				})
				err := gate.Validate(t.Context(), attributes(tt.who, tt.obj, tt.old, dryRun), nil)
				switch {
				case tt.want == "" && err != nil:
					t.Errorf("refused: %v", err)
				case tt.want != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want Forbidden with %s", err, tt.want)
				}
			})
		}
	}
}

// TestSandboxOfATaskIsAdmitted: what the cluster has against sandboxes holds for that of a task with
// poolRef, too, in the name of the task's author, and the quota is not counted twice.
func TestSandboxOfATaskIsAdmitted(t *testing.T) {
	for _, dryRun := range []bool{false, true} {
		admits := &chain{}
		gate := &Gate{}
		gate.Configure(Config{Chain: admits, Authorizer: users})
		if err := gate.Validate(t.Context(), attributes("sandboxes", task("gpu", ""), nil, dryRun), nil); err != nil {
			t.Fatal(err)
		}
		if len(admits.all) != 2 || !strings.HasPrefix(admits.all[0].name, "task-") {
			t.Fatalf("the chain saw %+v", admits.all)
		}
		want := []seen{
			{kind: "Sandbox", name: admits.all[0].name, user: "sandboxes", dryRun: dryRun},
			{kind: "Task", name: "task", user: "sandboxes", dryRun: dryRun, counted: !dryRun},
		}
		if !slices.Equal(admits.all, want) {
			t.Errorf("the chain saw %+v, want %+v", admits.all, want)
		}
	}
	full := &chain{quota: apierrors.NewForbidden(arl.Resource("sandboxes"), "x", errors.New("exceeded quota: few"))}
	gate := &Gate{}
	gate.Configure(Config{Chain: full, Authorizer: users})
	err := gate.Validate(t.Context(), attributes("sandboxes", task("gpu", ""), nil, false), nil)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "spec.poolRef: the sandbox of the task: ") || !strings.Contains(err.Error(), "exceeded quota: few") {
		t.Errorf("got %v", err)
	}
	if len(full.all) != 1 {
		t.Errorf("a task that is refused was counted: %+v", full.all)
	}
}

// warnings collects those of a request.
type warnings []string

func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

// TestWarningsAboutPods go to whoever decides what the pods are, and to nobody else.
func TestWarningsAboutPods(t *testing.T) {
	tests := map[string]struct {
		old  *arl.WarmPool
		want int
	}{
		"create": {nil, 1}, "change the template": {pool("b", "/w", 1), 1}, "scale": {pool("a", "/w", 2), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			gate := &Gate{}
			gate.Configure(Config{
				Authorizer:      users,
				NamespaceLabels: func(context.Context, string) (map[string]string, error) { return map[string]string{"a": "b"}, nil },
				PodWarnings: func(labels map[string]string, p *v1alpha1.WarmPool) []string {
					return []string{labels["a"] + p.Spec.Template.Spec.Containers[0].Image}
				},
			})
			var old runtime.Object
			if tt.old != nil {
				old = tt.old
			}
			var got warnings
			ctx := warning.WithWarningRecorder(t.Context(), &got)
			if err := gate.Validate(ctx, attributes("pods", pool("a", "/w", 1), old, false), nil); err != nil {
				t.Fatal(err)
			}
			if len(got) != tt.want || tt.want > 0 && got[0] != "ba" {
				t.Errorf("got the warnings %q, want %d", got, tt.want)
			}
		})
	}
}

// TestAuthorizerThatFails: nothing is admitted that could not be asked about.
func TestAuthorizerThatFails(t *testing.T) {
	for name, gate := range map[string]*Gate{"none": {}, "broken": {config: Config{Authorizer: broken{}}}} {
		err := gate.Validate(t.Context(), attributes("pods", pool("a", "/w", 1), nil, false), nil)
		if !apierrors.IsInternalError(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

type broken struct{}

func (broken) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "", errors.New("no answer")
}
