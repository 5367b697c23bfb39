package ledger

import (
	"strings"
	"unicode/utf8"

	"arl.io/arl/pkg/agent/client"
)

// maxMessage bounds what a runtime says of a pod. It goes into statuses and their conditions, of
// which the API refuses messages of more than 32 KiB.
const maxMessage = 4 << 10

// bounded shortens a message, and makes it text that can be shown: parts of it come from inside the pod.
func bounded(message string) string {
	// The rest of a very long one does not matter.
	message = client.Clean(strings.ToValidUTF8(message[:min(len(message), 2*maxMessage)], "\uFFFD"))
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage - len("...")
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "..."
}
