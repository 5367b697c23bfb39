// Package integration tests arl-apiserver as its users have it: the binaries
// that "make build" made, started as processes of their own, with real
// containers, driven by kubectl and client-go. It has no code but tests.
//
// Most tests share one server, each in a namespace of its own, and run at the
// same time, since they wait most of the while. A test that kills its server,
// needs flags, or measures it starts one for itself. Nothing is left behind:
// every server is stopped and purged at the end.
//
// Read server_test.go and tenant_test.go first; the other files are one theme each.
package integration
