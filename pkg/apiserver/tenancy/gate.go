// Package tenancy checks what a write to arl.io does beyond the object that is written, because the
// server does it later with rights of its own: a WarmPool creates pods, and a Task with spec.poolRef
// creates a sandbox. It also checks who may use the pools of a namespace, where the namespace asks for it.
//
//	write                                     the user needs, in the same namespace
//	create a WarmPool, change its template    create pods
//	create a Task with spec.poolRef           create sandboxes; and the sandbox is admitted
//	create a Sandbox or a Task                use the warm pool, in a restricted namespace
//	set the label of a task's sandbox         to be the server
//
// The checks are a part of admission: they hold for every way to create an object, dry runs included.
// They ask the server's authorizer, which lets the server itself and the group system:masters do all.
//
// Nothing here has state or goroutines. Read gate.go first, then task.go, sandbox.go, pool.go and use.go.
package tenancy

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Resources, as requests name them.
const (
	warmPools = "warmpools"
	sandboxes = "sandboxes"
)

// Config is what a Gate needs. Authorizer is needed.
type Config struct {
	// Chain admits objects besides the gate, and the sandboxes of tasks. Nil: all are admitted.
	Chain admission.Interface
	// Authorizer says what users may do.
	Authorizer authorizer.UnconditionalAuthorizer
	// NamespaceLabels returns the labels of a namespace; none, and no error, if it does not exist.
	// Nil: no namespace has labels.
	NamespaceLabels func(ctx context.Context, namespace string) (map[string]string, error)
	// Sandbox returns a sandbox, or a NotFound error.
	Sandbox func(ctx context.Context, namespace, name string) (*arl.Sandbox, error)
	// PodWarnings says what the namespace, which has these labels, has against pods of a pool. Nil: nothing.
	PodWarnings func(namespace map[string]string, pool *v1alpha1.WarmPool) []string
}

// Gate is an admission plugin around a chain of others. The zero Gate refuses everything that it checks.
type Gate struct {
	config Config
}

var (
	_ admission.MutationInterface   = (*Gate)(nil)
	_ admission.ValidationInterface = (*Gate)(nil)
)

// Configure sets what the gate asks. It is called once, before the first request.
func (g *Gate) Configure(config Config) { g.config = config }

// Handles says that creates and updates are checked, and what the chain handles.
func (g *Gate) Handles(operation admission.Operation) bool {
	return operation == admission.Create || operation == admission.Update ||
		g.config.Chain != nil && g.config.Chain.Handles(operation)
}

// Admit has the chain change the object.
func (g *Gate) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return admit(ctx, g.config.Chain, a, o)
}

// Validate checks the object that comes out of that. The gate comes first: quotas, at the end of the
// chain, count what they let pass.
func (g *Gate) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if err := g.check(ctx, a, o); err != nil {
		return err
	}
	return validate(ctx, g.config.Chain, a, o)
}

func (g *Gate) check(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if a.GetResource().Group != arl.GroupName || a.GetSubresource() != "" {
		return nil
	}
	create := a.GetOperation() == admission.Create
	switch obj := a.GetObject().(type) {
	case *arl.WarmPool:
		return g.checkPool(ctx, a, obj)
	case *arl.Sandbox:
		return g.checkSandbox(ctx, a, obj)
	case *arl.Task:
		if create {
			return g.checkTask(ctx, a, o, obj)
		}
	}
	return nil
}

// may says whether the user of a request may do something else in the same namespace.
func (g *Gate) may(ctx context.Context, a admission.Attributes, wanted authorizer.AttributesRecord) (bool, error) {
	if g.config.Authorizer == nil {
		return false, apierrors.NewInternalError(errors.New("no authorizer is configured"))
	}
	wanted.User, wanted.Namespace, wanted.ResourceRequest = a.GetUserInfo(), a.GetNamespace(), true
	decision, _, err := g.config.Authorizer.Authorize(ctx, wanted)
	if decision == authorizer.DecisionAllow {
		return true, nil
	}
	if err != nil {
		return false, apierrors.NewInternalError(fmt.Errorf("ask whether user %q may %s %s in namespace %q: %w",
			userOf(a), wanted.Verb, wanted.Resource, wanted.Namespace, err))
	}
	return false, nil
}

// forbid refuses a write.
func forbid(a admission.Attributes, format string, args ...any) error {
	return apierrors.NewForbidden(a.GetResource().GroupResource(), nameOf(a), fmt.Errorf(format, args...))
}

func userOf(a admission.Attributes) string {
	if a.GetUserInfo() == nil {
		return ""
	}
	return a.GetUserInfo().GetName()
}

// nameOf is the object's, which a request that has it generated does not know.
func nameOf(a admission.Attributes) string {
	if named, ok := a.GetObject().(interface{ GetName() string }); ok && a.GetName() == "" {
		return named.GetName()
	}
	return a.GetName()
}

// admit has a chain change an object, if it has plugins that do.
func admit(ctx context.Context, chain admission.Interface, a admission.Attributes, o admission.ObjectInterfaces) error {
	if mutation, ok := chain.(admission.MutationInterface); ok && chain.Handles(a.GetOperation()) {
		return mutation.Admit(ctx, a, o)
	}
	return nil
}

// validate has a chain check an object, if it has plugins that do.
func validate(ctx context.Context, chain admission.Interface, a admission.Attributes, o admission.ObjectInterfaces) error {
	if validation, ok := chain.(admission.ValidationInterface); ok && chain.Handles(a.GetOperation()) {
		return validation.Validate(ctx, a, o)
	}
	return nil
}
