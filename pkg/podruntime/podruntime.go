// Package podruntime is the interface through which the scheduler gets pods.
// It says nothing about pools, sandboxes or tasks beyond the labels that find
// a pod again after a restart. Package local makes containers on this machine;
// package kube makes pods in a Kubernetes cluster.
//
// A runtime owns the truth about its pods: it outlives the server's process,
// and what it lists after a restart is what there is.
package podruntime

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/agent/client"
)

// Labels and annotations that a runtime keeps on every pod, and restores in
// Pod after a restart.
const (
	// LabelPool holds the name of the pool.
	LabelPool = "arl.io/pool"
	// LabelPoolUID holds the UID of the pool.
	LabelPoolUID = "arl.io/pool-uid"
	// LabelTemplateHash holds the hash of the template the pod was made from.
	LabelTemplateHash = "arl.io/template-hash"
)

// LabelSandbox holds the name of the sandbox that a pod was given to, if the
// pool asks for it. It is for those who look at pods; nothing here goes by it.
const LabelSandbox = "arl.io/sandbox"

// ExecutorContainer is the name of the container in which steps run; without
// one of that name they run in the first.
const ExecutorContainer = "executor"

// Sentinel errors. Runtimes wrap them.
var (
	// ErrExists is returned by Create when there is a pod of that key already.
	ErrExists = errors.New("pod already exists")
	// ErrNotFound is returned when there is no pod of that key or UID.
	ErrNotFound = errors.New("pod not found")
	// ErrInvalid is returned by Create for a spec that can never work as it
	// stands, such as a field that this runtime does not support.
	ErrInvalid = errors.New("pod spec not supported")
)

// Key names a pod.
type Key struct {
	Namespace, Name string
}

// String returns namespace/name.
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Spec is what a pod is made from. It is not changed once passed to Create.
type Spec struct {
	Key
	// Pool and PoolUID name the pool the pod is made for.
	Pool    string
	PoolUID types.UID
	// TemplateHash identifies Template.
	TemplateHash string
	// Template is the pool's, as stored.
	Template *corev1.PodTemplateSpec
	// WorkDir is the absolute directory in which steps run by default; the runtime sees that it exists.
	WorkDir string
}

// Phase is where a pod stands.
type Phase string

// Phases of a pod. A pod moves forward only.
const (
	// Starting: accepted; its agent has not answered yet. Reason and Message
	// may say what it waits for, for instance an image.
	Starting Phase = "Starting"
	// Ready: its agent has answered. The pod takes work unless it is Unready.
	Ready Phase = "Ready"
	// Failed: it did not start or has stopped and will not come back. Reason
	// and Message say why. It is kept until deleted.
	Failed Phase = "Failed"
)

// Reasons of a pod that is Starting, Failed or Unready.
const (
	// ReasonImagePull: the image cannot be had.
	ReasonImagePull = "ImagePullFailed"
	// ReasonStart: the container or its agent cannot be started.
	ReasonStart = "StartFailed"
	// ReasonExited: the pod ran and its agent is gone.
	ReasonExited = "Exited"
	// ReasonOOM: the kernel ended the pod for its memory use.
	ReasonOOM = "OOMKilled"
	// ReasonDiskLimit: the pod took more disk space than its limits of ephemeral-storage, or of a volume.
	ReasonDiskLimit = "DiskLimitExceeded"
	// ReasonDiskPressure: the disk was almost full, and the pod took most of it.
	ReasonDiskPressure = "DiskPressure"
	// ReasonEvicted: the node took the pod away.
	ReasonEvicted = "Evicted"
	// ReasonDeleted: somebody else deleted the pod.
	ReasonDeleted = "Deleted"
	// ReasonNodeLost: the node does not answer any more, and neither does the agent.
	ReasonNodeLost = "NodeLost"
	// ReasonAgentLost: the agent does not answer any more, although its process is there. The scheduler
	// finds that out; no runtime reports it.
	ReasonAgentLost = "AgentLost"
	// ReasonAgentProtocolViolation: the agent answers as its program never does. The scheduler finds that
	// out, too.
	ReasonAgentProtocolViolation = "AgentProtocolViolation"
	// ReasonUnschedulable: no node has room for the pod, or may take it.
	ReasonUnschedulable = "Unschedulable"
	// ReasonSchedulingGated: somebody has yet to remove the pod's scheduling gates.
	ReasonSchedulingGated = "SchedulingGated"
	// ReasonNotReady: the template's probes or readiness gates do not let the pod take work. It is the
	// reason of a Ready pod that is Unready.
	ReasonNotReady = "NotReady"
)

// Pod is the observed state of a pod, a value that is never changed once given out.
type Pod struct {
	Key
	UID          types.UID
	Pool         string
	PoolUID      types.UID
	TemplateHash string
	WorkDir      string
	Phase        Phase
	// Unready says of a Ready pod that its probes or readiness gates do not let it take work at present:
	// it is not to be given to a sandbox. It may change at any time. A sandbox that has the pod keeps it.
	Unready bool
	// Reason and Message say what the pod waits for or why it is Failed. A Ready pod that is Unready has
	// a Message, and ReasonNotReady unless this may just be its start.
	Reason  string
	Message string
	// IP is empty for a pod without a routable address.
	IP        string
	NodeName  string
	CreatedAt time.Time
}

// Event is a change of one pod.
type Event struct {
	// Pod is the state after the change, or the last known state of a pod that is gone.
	Pod Pod
	// Deleted says that the pod is gone and all it held is free.
	Deleted bool
}

// Handler is told of every change. Calls are made one at a time, in order per
// pod; a handler must not block, nor call back into the runtime.
type Handler interface {
	// PodChanged is called once for each pod there is when Run starts, and for every change after.
	PodChanged(Event)
	// PodsSynced is called once, after the pods there were at the start have been told of.
	PodsSynced()
}

// Runtime makes pods. All methods may be called concurrently.
type Runtime interface {
	// Name is "local" or "kube", for logs and metrics.
	Name() string

	// Check says what becomes of pods of a spec, without asking anybody; the
	// spec's Name may be empty. If Create would refuse it, returns ErrInvalid.
	Check(spec Spec) (Advice, error)

	// Run tells handler of every pod until ctx ends, and joins all goroutines
	// of the runtime before it returns. Pods go on when Run returns. It is
	// called once, and Create before PodsSynced is an error of the caller.
	Run(ctx context.Context, handler Handler) error

	// Create accepts a pod and returns; the pod starts in the background and
	// handler learns how it goes. Returns the pod as first told to handler.
	// If the key is taken, returns ErrExists; if the spec cannot work, ErrInvalid.
	// Other errors may be a *Refusal that says more.
	Create(ctx context.Context, spec Spec) (Pod, error)

	// Delete ends the pod at once, running steps included, and frees all that
	// it held. It returns when the deletion is under way; handler is told when
	// it is done. A UID that is not empty must match. If there is no such pod,
	// returns ErrNotFound.
	Delete(ctx context.Context, key Key, uid types.UID) error

	// LabelSandbox names, where others can see it, the sandbox that a pod was
	// given to. Doing so again is harmless and costs nothing. If there is no
	// such pod, or it is being deleted, returns ErrNotFound.
	LabelSandbox(ctx context.Context, key Key, uid types.UID, sandbox string) error

	// Agent returns a client of the agent of a pod that is Ready. The client is
	// shared, safe for concurrent use, and closed by the runtime when the pod
	// goes. If there is no such pod, or it is not Ready, returns ErrNotFound.
	Agent(key Key, uid types.UID) (*client.Client, error)
}
