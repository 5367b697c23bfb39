// Package step plays a hostile step: a program that tries to leave its pod, to take over the agent
// beside it, or to exhaust what pods share.
//
// It is a subcommand of the arl-agent that "make arl-agent-hostile" builds, so that every pod has it
// without an image of its own:
//
//	arl-agent attack escape           every attempt once, one line of outcome each
//	arl-agent attack exhaust NAME     takes all there is of a resource and leaves it held
//	arl-agent attack need             takes a little of each resource, one line of outcome each
//	arl-agent attack wear DURATION    all that burns, over and over
//
// Read main.go first; attempts are in escape_*.go, resources in exhaust.go and need.go.
package step
