// Package e2e holds the tests that need a real Kubernetes cluster. They run
// with "make e2e", as root. Package cluster makes the cluster.
package e2e
