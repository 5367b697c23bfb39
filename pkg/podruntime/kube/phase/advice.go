package phase

import "strings"

// pullStep is the one next step for an image that a node does not get, by the node's reason.
func pullStep(reason string) string {
	switch reason {
	case "InvalidImageName":
		return "correct the template's image"
	case "ErrImageNeverPull":
		return "put the image on the node, or set another imagePullPolicy"
	}
	return "correct the template's image, or add imagePullSecrets; the node itself tries again"
}

// startStep is the one next step for a container that a node cannot start, or "" if the node's own
// message says it.
func startStep(reason, message string) string {
	switch {
	case reason == "CreateContainerConfigError" && strings.Contains(message, "runAsNonRoot"):
		return "set securityContext.runAsUser in the template to a user other than 0"
	case reason == "CreateContainerConfigError" && strings.Contains(message, "not found"):
		return "create it: the node itself tries again"
	}
	return ""
}

// withStep appends a next step to a message.
func withStep(message, step string) string {
	if step == "" {
		return message
	}
	return message + ": " + step
}
