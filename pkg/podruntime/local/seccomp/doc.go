// Package seccomp narrows what the processes of a container may ask of the
// kernel. It assembles its filter itself, so that neither libseccomp nor its
// headers are needed to build or to run.
//
// The filter refuses what a container has no use for and attackers have:
// mounts, namespaces, modules, tracing of the machine, the kernel's keyrings,
// clocks. Calls newer than the ones this package knows, and those of a foreign
// architecture, do not exist for the container. Everything else is left to the
// capabilities and namespaces the container has.
//
// It has no state and no goroutines. Read filter.go first; the lists of calls
// are in denied.go and, by architecture, in arch_*.go.
package seccomp
