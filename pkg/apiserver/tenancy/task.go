package tenancy

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/oneshot"
)

// checkTask treats a task with spec.poolRef as the create of its sandbox too, in the name of its author.
// The server creates the sandbox when the task is stored, and for each later attempt, in its own name.
func (g *Gate) checkTask(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, task *arl.Task) error {
	if task.Spec.PoolRef == "" {
		return g.checkSandboxRef(ctx, a, task.Spec.SandboxRef)
	}
	allowed, err := g.may(ctx, a, authorizer.AttributesRecord{
		Verb: "create", APIGroup: arl.GroupName, APIVersion: v1alpha1.SchemeGroupVersion.Version, Resource: sandboxes,
	})
	if err != nil {
		return err
	}
	if !allowed {
		return forbid(a, `spec.poolRef: user %q cannot create resource "sandboxes" in API group "arl.io" in the namespace %q, `+
			`which a task with spec.poolRef does: name a sandbox that exists in spec.sandboxRef, or have an administrator bind the ClusterRole "arl-user"`,
			userOf(a), a.GetNamespace())
	}
	if err := g.checkUse(ctx, a, "spec.poolRef", task.Spec.PoolRef); err != nil {
		return err
	}
	return g.admitSandbox(ctx, a, o, task)
}

// previewKey is the key, in the context, of the admission of a sandbox that is not created now.
type previewKey struct{}

// admitSandbox has the chain admit the first sandbox of a task. Quotas only look whether there is room:
// they count the sandbox when the server creates it, which goes through the chain again.
func (g *Gate) admitSandbox(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, task *arl.Task) error {
	if g.config.Chain == nil {
		return nil
	}
	author := &v1alpha1.Task{ObjectMeta: metav1.ObjectMeta{Namespace: a.GetNamespace(), Name: nameOf(a), UID: task.UID}}
	author.Spec.PoolRef = task.Spec.PoolRef
	wanted := oneshot.Sandbox(author, 1)
	v1alpha1.SetObjectDefaults_Sandbox(wanted)
	sandbox := &arl.Sandbox{}
	if err := v1alpha1.Convert_v1alpha1_Sandbox_To_arl_Sandbox(wanted, sandbox, nil); err != nil {
		return fmt.Errorf("convert the sandbox of the task: %w", err)
	}
	attributes := admission.NewAttributesRecord(sandbox, nil, v1alpha1.SchemeGroupVersion.WithKind("Sandbox"),
		wanted.Namespace, wanted.Name, v1alpha1.SchemeGroupVersion.WithResource(sandboxes), "",
		admission.Create, &metav1.CreateOptions{}, a.IsDryRun(), a.GetUserInfo())
	ctx = context.WithValue(ctx, previewKey{}, true)
	err := admit(ctx, g.config.Chain, attributes, o)
	if err == nil {
		err = validate(ctx, g.config.Chain, attributes, o)
	}
	return ofSandbox(err)
}

// ofSandbox says of a refusal that it is about the task's sandbox, and keeps its code and reason.
func ofSandbox(err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return err
	}
	answer := status.Status()
	answer.Message = "spec.poolRef: the sandbox of the task: " + answer.Message
	return &apierrors.StatusError{ErrStatus: answer}
}

// CountLater wraps an admission plugin that counts objects, such as the one of quotas: a sandbox that
// is admitted for a task, but not created now, is checked as in a dry run.
func CountLater(plugin admission.Interface) admission.Interface { return countLater{plugin} }

type countLater struct{ admission.Interface }

// Admit passes on.
func (c countLater) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return admit(ctx, c.Interface, dryIfPreview(ctx, a), o)
}

// Validate passes on.
func (c countLater) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return validate(ctx, c.Interface, dryIfPreview(ctx, a), o)
}

func dryIfPreview(ctx context.Context, a admission.Attributes) admission.Attributes {
	if ctx.Value(previewKey{}) == nil {
		return a
	}
	return admission.NewAttributesRecord(a.GetObject(), a.GetOldObject(), a.GetKind(), a.GetNamespace(), a.GetName(),
		a.GetResource(), a.GetSubresource(), a.GetOperation(), a.GetOperationOptions(), true, a.GetUserInfo())
}
