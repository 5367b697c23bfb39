package podruntime

import "time"

// Reasons of a Refusal.
const (
	// ReasonQuota: a quota of the namespace is used up.
	ReasonQuota = "QuotaExceeded"
	// ReasonPodSecurity: the namespace enforces a pod security standard that the template violates.
	ReasonPodSecurity = "PodSecurityViolation"
	// ReasonForbidden: a rule of the cluster forbids the pod, or forbids the server to make it.
	ReasonForbidden = "Forbidden"
	// ReasonNamespaceTerminating: the namespace is being deleted, and takes nothing new.
	ReasonNamespaceTerminating = "NamespaceTerminating"
	// ReasonNamespaceNotFound: there is no such namespace.
	ReasonNamespaceNotFound = "NamespaceNotFound"
	// ReasonNamespaceNotServed: the server was told to make pods in other namespaces only.
	ReasonNamespaceNotServed = "NamespaceNotServed"
	// ReasonUnavailable: whoever is asked for pods does not answer, or is too busy.
	ReasonUnavailable = "ClusterUnavailable"
)

// Refusal is an error of Create of which the reason is known.
type Refusal struct {
	// Reason is one of those above.
	Reason string
	// RetryAfter is how long there is no use in trying again; 0 if nobody knows.
	RetryAfter time.Duration
	// Err is the error itself.
	Err error
}

// Error returns the text of the error itself.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the error itself.
func (r *Refusal) Unwrap() error { return r.Err }

// ReasonNoCommand is the reason of an Advice: nothing but the agent runs in the
// container in which steps run, whatever its image would run by itself.
const ReasonNoCommand = "NoCommand"

// Advice is what the author of a template may not expect although all is well.
// It is empty if there is nothing of that kind.
type Advice struct {
	// Reason is one word.
	Reason string
	// Message says what it is and what to do about it, with the field.
	Message string
}
