// Package fault stands between a process and the kernel: every call by which
// the process could change a file is shown to another process first, which lets
// it pass, makes it fail, tears it, or kills the process there. It can also play
// a disk that forgets what has not been synced when the power goes.
//
// The process calls Install, which sends the listener of a seccomp filter
// through a socket; the other has a Supervisor on it. Nothing is patched, no
// debugger is attached and no privilege needed, so what is tested is the
// program as it is built for its users. Linux only.
//
// A Supervisor has one goroutine, which ends with the process; Wait joins it.
//
// Read first: filter.go (what is caught), supervisor.go, disk.go.
package fault
