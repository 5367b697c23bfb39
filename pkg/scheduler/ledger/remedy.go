package ledger

import (
	"strings"

	"arl.io/arl/pkg/podruntime"
)

// remedies are the next steps for what keeps pods from starting. The first that fits counts: its
// reason is the same, and its phrase is in the message.
var remedies = []struct{ reason, phrase, step string }{
	{podruntime.ReasonImagePull, "ErrImageNeverPull", "put the image on the node, or set another imagePullPolicy in the pool's spec.template"},
	{podruntime.ReasonImagePull, "InvalidImageName", "correct the image in the pool's spec.template"},
	{podruntime.ReasonImagePull, "", "check the image and imagePullSecrets in the pool's spec.template"},
	{podruntime.ReasonQuota, "", "raise the ResourceQuota of the namespace"},
	{podruntime.ReasonPodSecurity, "", "set these fields in the pool's spec.template"},
	{podruntime.ReasonForbidden, "", "change the rule, or the pool's spec.template"},
	{podruntime.ReasonUnschedulable, "", "add nodes, or ask for less in the pool's spec.template"},
	{podruntime.ReasonSchedulingGated, "", "remove schedulingGates from the pool's spec.template"},
	{podruntime.ReasonNamespaceNotFound, "", "create the namespace"},
	{podruntime.ReasonNamespaceTerminating, "", "use another namespace"},
	{podruntime.ReasonNamespaceNotServed, "", "create the pool in a namespace that the server serves"},
	{podruntime.ReasonUnavailable, "", "the server tries again by itself"},
	{podruntime.ReasonOOM, "", "raise the memory limit in the pool's spec.template"},
	{podruntime.ReasonDiskLimit, "", "raise the limit of ephemeral-storage, or the volume's sizeLimit, in the pool's spec.template"},
	{podruntime.ReasonDiskPressure, "", "use a larger disk, or set a lower limit of ephemeral-storage in the pool's spec.template"},
	{podruntime.ReasonEvicted, "", "the server starts another pod by itself"},
	{podruntime.ReasonNodeLost, "", "the server starts another pod by itself"},
	{podruntime.ReasonAgentLost, "", "the server starts another pod by itself"},
	{podruntime.ReasonAgentProtocolViolation, "", "check what the image and command in the pool's spec.template run"},
	{podruntime.ReasonDeleted, "", "the server starts another pod by itself"},
	{podruntime.ReasonStart, "address already in use", "change the port of the other container in the pool's spec.template"},
	{podruntime.ReasonStart, "command cannot be started", "correct command in the pool's spec.template"},
	{podruntime.ReasonStart, "FailedMount", "create what the message names"},
	{podruntime.ReasonStart, "not found", "create what the message names"},
	{podruntime.ReasonStart, "runAsNonRoot", "set securityContext.runAsUser in the pool's spec.template to a user other than 0"},
	{podruntime.ReasonStart, "work directory: user", "set securityContext.runAsUser in the pool's spec.template"},
	{podruntime.ReasonStart, "the agent broke the protocol", "check what the image and command in the pool's spec.template run"},
	{podruntime.ReasonStart, "no answer from the agent", "let the server reach the pods by a NetworkPolicy, or start it with --agent-reach=tunnel"},
	{podruntime.ReasonNotReady, "", "correct the probes in the pool's spec.template, or what they ask"},
	{"InvalidTemplate", "", "correct this field in the pool's spec.template"},
}

// explain returns the message with the next step that fits, if one is known.
func explain(reason, message string) string {
	for _, r := range remedies {
		if r.reason == reason && strings.Contains(message, r.phrase) {
			return message + "; " + r.step
		}
	}
	return message
}
