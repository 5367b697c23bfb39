package apiserver

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"arl.io/arl/pkg/apis/arl"
)

// advice is what to type instead of a request that is not served, by resource
// and subresource. %[1]s is the object's name, %[2]s its namespace.
var advice = map[schema.GroupResource]map[string]string{
	arl.Resource("tasks"): {
		"log":    "read its output with 'kubectl get task %[1]s -n %[2]s -o jsonpath={.status.stdout}', or .status.stderr",
		"exec":   "create another Task with the same sandboxRef, whose steps run in the same pod",
		"attach": "read its output with 'kubectl get task %[1]s -n %[2]s -o jsonpath={.status.stdout}'",
	},
	arl.Resource("sandboxes"): {
		"log":         "read the output of its tasks: 'kubectl get tasks -n %[2]s --field-selector spec.sandboxRef=%[1]s -o yaml'",
		"exec":        "run commands with a Task: apply one with 'spec.sandboxRef: %[1]s' and a step of type Command",
		"attach":      "run commands with a Task: apply one with 'spec.sandboxRef: %[1]s' and a step of type Command",
		"portforward": "run a command that reaches the port in the sandbox: apply a Task with 'spec.sandboxRef: %[1]s'",
	},
	arl.Resource("warmpools"): {
		"log":  "read the log of one of its pods: 'kubectl logs -n %[2]s -l arl.io/pool=%[1]s'",
		"exec": "create a Sandbox with 'spec.poolRef: %[1]s', and a Task that runs the command in it",
	},
}

// podAdvice is for the pods of a standalone server, by what is tried on them.
var podAdvice = map[string]string{
	"exec":        "run commands with a Task in the sandbox that has the pod: 'kubectl get sandboxes -A --field-selector status.podName=%[1]s'",
	"attach":      "read its log with 'kubectl logs %[1]s -n %[2]s'",
	"portforward": "run a command that reaches the port with a Task in the sandbox that has the pod",
	"eviction":    "delete the sandbox that has the pod, or scale its pool down with 'kubectl scale warmpool'",
}

// insteadOfWriting returns what a write of a pod is answered with, or nil.
func insteadOfWriting(resource schema.GroupResource, verb string) *apierrors.StatusError {
	if resource != (schema.GroupResource{Resource: "pods"}) {
		return nil
	}
	text := ""
	switch verb {
	case "create":
		text = "pods are made by pools: create a WarmPool, or scale one up with 'kubectl scale warmpool'"
	case "update", "patch":
		text = "pods cannot be changed: change the template of their WarmPool"
	case "delete", "deletecollection":
		text = "pods belong to their pools: delete the Sandbox that has the pod, or scale the pool down with 'kubectl scale warmpool'"
	default:
		return nil
	}
	err := apierrors.NewMethodNotSupported(resource, verb)
	err.ErrStatus.Message += ": " + text
	return err
}

// instead returns what a request of ours that is not served is answered with, or nil.
func instead(info *request.RequestInfo) *apierrors.StatusError {
	if !info.IsResourceRequest {
		return nil
	}
	resource := schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}
	if info.Subresource == "" {
		return insteadOfWriting(resource, info.Verb)
	}
	text := advice[resource][info.Subresource]
	if text == "" && resource == (schema.GroupResource{Resource: "pods"}) {
		text = podAdvice[info.Subresource]
	}
	if text == "" {
		return nil
	}
	err := apierrors.NewNotFound(resource, info.Name)
	err.ErrStatus.Message = fmt.Sprintf("%s %q has no subresource %q: %s", resource, info.Name, info.Subresource,
		fmt.Sprintf(text+"%.0[1]s%.0[2]s", info.Name, info.Namespace))
	return err
}
