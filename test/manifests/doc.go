// Package manifests holds the tests of artifacts/kubernetes and
// artifacts/helm/arl, which have no code of their own: that both deploy the same,
// that every object is what Kubernetes takes for one, that each value of
// the chart does something, and that names and numbers agree with the program.
// They run with "make verify-manifests" and need no cluster.
package manifests
