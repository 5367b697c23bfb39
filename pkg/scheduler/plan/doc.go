// Package plan holds the scheduler's decisions as pure functions: how many pods
// to start and stop, which sandbox is next, whether a pod is large enough,
// whether a task is tried again, and when each deadline is.
//
// It has no client, no clock, no context, no random numbers and no state; what
// it decides depends on nothing but its arguments. It imports the API types and
// the standard library only. The rooms beside it gather the arguments and carry
// out what is decided here.
//
// Read fill.go first, then queue.go, deadline.go and retry.go.
package plan
