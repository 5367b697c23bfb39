// Package local is the podruntime.Runtime that makes pods as containers on this
// machine, without a daemon, a cluster or root if need be.
//
// A pod is one container: own process, mount, network (loopback only), IPC,
// UTS and user namespaces, a cgroup with the template's limits, a seccomp
// filter, no way to gain privileges, and a root file system of its own, an
// overlay on an unpacked image. Its first process is the agent, which listens
// on a unix socket that only this user reaches. Of a template, the executor
// container runs; what a container here cannot honour is refused by Create,
// never left out in silence (see support.go).
//
// A pod does not depend on the process that made it: it goes on after Run has
// returned or the server was killed, and the next Run finds it by its folder
// pods/<uid>, which holds
//
//	pod.json      what to tell of the pod, written before it is started
//	process.json  which process it is, written by the launcher
//	agent.sock    the agent's socket
//	upper, work   what the pod wrote, on top of the image
//	volumes       its emptyDir volumes
//	output.log    what the agent and the template's command print
//
// Each pod has users of the machine that no other pod has (see users.go and idrange), because the kernel
// counts much by user: see launch/limits.go for what bounds it in a pod.
//
// The special image "host", if allowed, shows the machine's own directories
// under an overlay (see host.go): to try things out, not to keep secrets.
//
// Every pod has one goroutine, from Create or adoption to its end, which alone
// moves it through its phases; Run starts and joins them all, and tells the
// handler of changes from one queue. The lock is Runtime.mu, never held over a
// call to the kernel; userPool has one of its own, taken alone. Packages below do the rest: image unpacks images,
// launch starts a container, seccomp filters its system calls, doctor says
// what this machine can do.
//
// Read runtime.go first, then supervise.go, which is the life of a pod.
package local
