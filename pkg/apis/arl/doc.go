// +k8s:deepcopy-gen=package
// +groupName=arl.io

// Package arl holds the internal types of the arl.io group: what the registry
// works on, whatever version a client speaks. The meaning of every field is
// told once, in the package of the version that clients see (v1alpha1).
package arl
