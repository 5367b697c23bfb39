package execute

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"arl.io/arl/pkg/agent/wire"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// reportOutput writes what the steps have written. If it is to be left out, the status still says
// how much it was.
func reportOutput(status *v1alpha1.TaskStatus, result *wire.ExecutionResult, limit int, leaveOut bool) {
	stdout := stream{kept: result.Stdout, bytes: result.StdoutBytes, truncated: result.StdoutTruncated}
	stderr := stream{kept: result.Stderr, bytes: result.StderrBytes, truncated: result.StderrTruncated}
	for i := range result.Steps {
		stdout.steps += byteCount(result.Steps[i].StdoutBytes)
		stderr.steps += byteCount(result.Steps[i].StderrBytes)
	}
	status.Output = &v1alpha1.TaskOutput{}
	status.Stdout = stdout.report(&status.Output.Stdout, limit, leaveOut)
	status.Stderr = stderr.report(&status.Output.Stderr, limit, leaveOut)
}

// stream is one of stdout and stderr, as the agent has it.
type stream struct {
	kept []byte
	// bytes is how much all steps wrote, by the agent's sum, and steps by that of the steps, which
	// is all that an agent of an earlier version reports.
	bytes, steps int64
	truncated    bool
}

// report describes the stream, and returns its text. The agent has bounded it already; one that
// has not is not trusted.
func (s stream) report(described *v1alpha1.TaskStream, limit int, leaveOut bool) (text string) {
	kept, truncated := s.kept, s.truncated
	if len(kept) > limit+markerSlack {
		kept, truncated = cut(kept, limit), true
	}
	described.Bytes = byteCount(max(s.bytes, s.steps))
	if !truncated {
		truncated = described.Bytes > int64(len(kept))
		described.Bytes = max(described.Bytes, int64(len(kept)))
	}
	described.Truncated = truncated || leaveOut && described.Bytes > 0
	switch {
	case leaveOut:
		return ""
	case !utf8.Valid(kept):
		described.Data = kept
		return strings.ToValidUTF8(string(kept), "\uFFFD")
	}
	return string(kept)
}

// cut keeps the head and the tail of output, whole characters of both.
func cut(output []byte, limit int) []byte {
	text := string(output)
	head := text[:runeStart(text, limit/2)]
	tail := text[runeStart(text, len(text)-limit/2):]
	if len(tail) > limit/2 {
		_, first := utf8.DecodeRuneInString(tail)
		tail = tail[first:]
	}
	missing := len(text) - len(head) - len(tail)
	return fmt.Appendf(nil, "%s\n[... %d bytes are missing here ...]\n%s", head, missing, tail)
}
