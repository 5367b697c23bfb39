// Package kube is the podruntime.Runtime that makes pods in a Kubernetes cluster.
//
// What a pod costs the cluster is its own creation, the status its node reports, and its
// deletion: no Secret, no lease, no label written later, and nothing at all for
// each sandbox or task; but for one patch where a pool wants its pods in use to name
// their sandboxes. Their pool is their controller, and they have no finalizer.
//
// # Records
//
// A pod is used only if this server created it. The server records each pod that it creates: the UID,
// what the pod was created for, and its images (record.go). Whoever may create pods can write the same
// labels, annotations and owner references, which are for people and selectors: what a pod was created
// for is read from its record. The record is stored before the pod is reported, so a restart loses no
// pod that was ever Ready.
//
// # Readiness
//
// A pod is Ready once its agent has answered. The agent is asked from the moment at which its address
// and its key are known, with a growing pause, and at once when the node says that the container runs.
// A pod that has probes or readiness gates is Unready besides, until its Ready condition is True and
// whenever it is not; the server defines no probe itself. A Ready pod is asked once more if the cluster
// says it is not ready although its containers are: that is how a lost node shows, and pods on a node
// of which only the kubelet stands still go on.
//
// # Trust
//
// Agents and server know each other by mutual TLS.
//
//   - The agent takes orders from holders of a certificate for clients by the
//     server's own authority, whose certificate the pod carries (it is public). Such a
//     certificate never leaves the server.
//   - The agent's key is made inside the pod by the init container and leaves it
//     never. Which key it is, the init container says in its termination message; the
//     kubelet reports that in the pod's status, and the server wants exactly this key.
//     So the pod's spec holds no secret, there is no certificate of the agent that could
//     expire, and whoever may read pods learns nothing but a public key's sum.
//   - The agent names the UID of its pod, which must be the one that is meant.
//
// Hence a step, which can read all that its pod has, gets to pose as its own pod,
// and to command none: not even itself. Another process at the pod's address, another
// pod's agent included, is not spoken to. A user who may write pods/status in a namespace, or run
// commands in its pods, can make the server speak to another agent in place of a pod's own.
//
// A certificate of the server that is about to expire is replaced without
// further ado: it is read anew for each connection. An authority is replaced by having
// new pods accept both, or by keeping the old certificate beside the new one until the
// pods that know the old authority alone are gone: of several, each agent is shown
// one that it accepts. Pods that accept none are Failed, and replaced.
//
// # Life
//
// A pod that is being deleted, evicted or preempted, whose agent has ended or was started
// again, or whose node is lost, is Failed at once; the scheduler deletes and
// replaces it. Delete leaves the node one second, after which the kubelet kills what is left;
// it is told as done when the API server has removed the pod, which the kubelet asks
// for when nothing of it runs any more. A pod whose node does not do so in time is
// removed by force: its containers may then live on until the node comes back.
//
// # Goroutines and locks
//
// Run owns all goroutines: an informer for each namespace scope, one that asks for
// each pod that is being asked, the sweeper, and the one that tells the handler, from a
// queue. There is one lock, Runtime.mu, never held over a question to the cluster or an agent.
//
// Package podspec makes the pod of a template, phase reads its status, and tunnel
// reaches it where there is no route. Read runtime.go first, then observe.go and ask.go.
package kube
