// +k8s:deepcopy-gen=package
// +k8s:conversion-gen=arl.io/arl/pkg/apis/arl
// +k8s:defaulter-gen=TypeMeta
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=io.arl.v1alpha1
// +groupName=arl.io

// Package v1alpha1 is the version of the arl.io API that clients see: WarmPool
// keeps pods started and idle, Sandbox claims one of them, Task runs steps in
// a sandbox.
//
// Every field's comment begins with its JSON name, because the comments are
// what "kubectl explain" prints. Status fields have one writer each, which is
// the scheduler unless the comment says otherwise.
//
// Read warmpool_types.go, sandbox_types.go and task_types.go in that order.
package v1alpha1
