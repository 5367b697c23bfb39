package registry

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	registrytest "k8s.io/apiserver/pkg/registry/generic/testing"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/registry/kind"
	sandboxregistry "arl.io/arl/pkg/registry/sandbox"
	taskregistry "arl.io/arl/pkg/registry/task"
	poolregistry "arl.io/arl/pkg/registry/warmpool"
)

// resource is what the suite needs to know of a kind.
type resource struct {
	store   func(kind.Config) (*kind.REST, error)
	valid   func() runtime.Object
	invalid runtime.Object
	// change makes a valid object another valid one, spoil an invalid one.
	change, spoil registrytest.UpdateFunc
	// matching and other are field selectors that match the valid object, and do not.
	matching, other fields.Set
}

// foo is the name that the suite expects of valid objects.
var foo = metav1.ObjectMeta{Name: "foo", Namespace: "test"}

func changeOf[T runtime.Object](change func(T)) registrytest.UpdateFunc {
	return func(obj runtime.Object) runtime.Object {
		change(obj.(T))
		return obj
	}
}

var resources = map[string]resource{
	"warmpools": {
		store: func(cfg kind.Config) (*kind.REST, error) {
			s, err := poolregistry.NewStorage(cfg, nil)
			if err != nil {
				return nil, err
			}
			return s.WarmPool.REST, nil
		},
		valid: func() runtime.Object {
			p := &arl.WarmPool{ObjectMeta: foo}
			p.Spec = arl.WarmPoolSpec{
				Replicas: ptr.To[int32](1), WorkDir: "/w", ReclaimPolicy: arl.ReclaimDelete,
				UpdateStrategy: arl.WarmPoolUpdateStrategy{Type: arl.UpdateOnReplenish},
				SandboxLabel:   arl.SandboxLabelNone,
			}
			p.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
			return p
		},
		invalid:  &arl.WarmPool{},
		change:   changeOf(func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](2) }),
		spoil:    changeOf(func(p *arl.WarmPool) { p.Spec.Replicas = ptr.To[int32](-1) }),
		matching: fields.Set{"metadata.name": "foo"},
		other:    fields.Set{"metadata.name": "bar"},
	},
	"sandboxes": {
		store: func(cfg kind.Config) (*kind.REST, error) {
			s, err := sandboxregistry.NewStorage(cfg, newAllocator(0))
			if err != nil {
				return nil, err
			}
			return s.Sandbox, nil
		},
		valid: func() runtime.Object {
			return &arl.Sandbox{ObjectMeta: foo, Spec: arl.SandboxSpec{PoolRef: "p", MaxConcurrentTasks: ptr.To[int32](1)}}
		},
		invalid:  &arl.Sandbox{},
		change:   changeOf(func(s *arl.Sandbox) { s.Spec.KeepAlive = true }),
		spoil:    changeOf(func(s *arl.Sandbox) { s.Spec.PoolRef = "q" }),
		matching: fields.Set{"spec.poolRef": "p"},
		other:    fields.Set{"spec.poolRef": "q"},
	},
	"tasks": {
		store: func(cfg kind.Config) (*kind.REST, error) {
			s, err := taskregistry.NewStorage(cfg)
			if err != nil {
				return nil, err
			}
			return s.Task, nil
		},
		valid: func() runtime.Object {
			return &arl.Task{ObjectMeta: foo, Spec: arl.TaskSpec{
				SandboxRef: "box", Timeout: "5m", RetryPolicy: arl.RetryInfrastructure,
				Steps: []arl.TaskStep{{Name: "one", Type: arl.StepCommand, Command: []string{"true"}, OnFailure: arl.FailureStop}},
			}}
		},
		invalid:  &arl.Task{},
		change:   changeOf(func(t *arl.Task) { t.Spec.Cancel = true }),
		spoil:    changeOf(func(t *arl.Task) { t.Spec.Timeout = "1m" }),
		matching: fields.Set{"spec.sandboxRef": "box"},
		other:    fields.Set{"spec.sandboxRef": "tin"},
	},
}

// TestConformance runs Kubernetes' own suite for registries on every kind, over
// our storage.
func TestConformance(t *testing.T) {
	for name, r := range resources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cases := map[string]func(*registrytest.Tester){
				"Create": func(x *registrytest.Tester) { x.TestCreate(r.valid(), r.invalid.DeepCopyObject()) },
				"Update": func(x *registrytest.Tester) { x.TestUpdate(r.valid(), r.change, r.spoil) },
				"Delete": func(x *registrytest.Tester) { x.TestDelete(r.valid()) },
				"Get":    func(x *registrytest.Tester) { x.TestGet(r.valid()) },
				"List":   func(x *registrytest.Tester) { x.TestList(r.valid()) },
				"Watch": func(x *registrytest.Tester) {
					x.TestWatch(r.valid(),
						[]labels.Set{}, []labels.Set{{"foo": "bar"}},
						[]fields.Set{r.matching}, []fields.Set{r.other})
				},
			}
			for verb, run := range cases {
				t.Run(verb, func(t *testing.T) {
					t.Parallel()
					rest, err := r.store(kind.Config{Typer: apiserver.Scheme, RESTOptions: openStorage(t)})
					if err != nil {
						t.Fatal(err)
					}
					defer rest.Destroy()
					run(registrytest.New(t, rest.Store))
				})
			}
		})
	}
}
