package tenancy

import (
	"context"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/oneshot"
)

// checkSandbox keeps the label of a task's sandbox to the server, so that no one else's sandbox is taken
// for that of a task: the task would run in it, with the environment and the pool that its author chose.
func (g *Gate) checkSandbox(ctx context.Context, a admission.Attributes, sandbox *arl.Sandbox) error {
	label, labelled := sandbox.Labels[oneshot.LabelTask]
	if old, ok := a.GetOldObject().(*arl.Sandbox); ok {
		was, had := old.Labels[oneshot.LabelTask]
		if labelled && (!had || label != was) {
			return reserved(a)
		}
		return nil
	}
	if labelled && userOf(a) != user.APIServerUser {
		return reserved(a)
	}
	return g.checkUse(ctx, a, "spec.poolRef", sandbox.Spec.PoolRef)
}

func reserved(a admission.Attributes) error {
	return forbid(a, "metadata.labels[%s]: belongs to the server, which sets it on the sandboxes of tasks: leave it out, and create a task with spec.poolRef to get such a sandbox",
		oneshot.LabelTask)
}
