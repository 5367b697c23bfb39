package process

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// maxString is the size of one argument or variable that the kernel takes
	// (MAX_ARG_STRLEN), without the NUL at its end.
	maxString = 32*4096 - 1
	// maxStrings bounds all of them whatever the limit of the stack (three
	// quarters of _STK_LIM), and minStrings is what the kernel takes in any case (ARG_MAX).
	maxStrings = 6 << 20
	minStrings = 128 << 10
	// perString is what each costs besides its bytes: a NUL and a pointer.
	perString = 1 + 8
	advice    = "pass the data as standard input or in a file"
)

// tooBig says which limit of the kernel the arguments and the environment of a
// command exceed; see execve(2).
func tooBig(args, env []string) string {
	for i, arg := range args {
		if len(arg) > maxString {
			return fmt.Sprintf("argument %d has %d bytes, of which the kernel takes %d at most; %s", i, len(arg), maxString, advice)
		}
	}
	for _, variable := range env {
		if name, _, _ := strings.Cut(variable, "="); len(variable) > maxString {
			return fmt.Sprintf("variable %s of the environment has %d bytes with its name, of which the kernel takes %d at most; %s",
				name, len(variable), maxString, advice)
		}
	}
	return fmt.Sprintf("arguments (%d bytes) and environment (%d bytes) have %d bytes together, of which the kernel takes %d at most; %s",
		stringBytes(args), stringBytes(env), stringBytes(args)+stringBytes(env), stringLimit(), advice)
}

// stringBytes returns what strings cost a new program.
func stringBytes(all []string) int {
	sum := 0
	for _, each := range all {
		sum += len(each) + perString
	}
	return sum
}

// stringLimit returns what the kernel takes: a quarter of the limit of the stack, within bounds.
func stringLimit() int {
	var stack unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return minStrings
	}
	return int(max(min(stack.Cur/4, maxStrings), minStrings))
}
