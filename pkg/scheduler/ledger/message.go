package ledger

import (
	"strings"
	"unicode/utf8"
)

// maxMessage bounds what a runtime says of a pod. It goes into statuses and their conditions, of
// which the API refuses messages of more than 32 KiB.
const maxMessage = 4 << 10

// bounded shortens a message, and makes it valid text.
func bounded(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= maxMessage {
		return message
	}
	cut := maxMessage - len("...")
	for !utf8.RuneStart(message[cut]) {
		cut--
	}
	return message[:cut] + "..."
}
