package validation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What Linux takes when a program is started: the arguments, the environment, and a pointer to
// each. It is a quarter of the stack's limit, which is 8 MiB nearly everywhere.
const (
	maxExec = 2 << 20
	// maxSandboxExec is the share of a sandbox's environment, and maxStepExec that of a step's
	// command and environment. The rest is for the environment of the image and the pool's template.
	maxSandboxExec = 512 << 10
	maxStepExec    = 1 << 20
	imageExec      = maxExec - maxSandboxExec - maxStepExec

	// execOverhead is what each string takes besides its bytes: the terminating NUL and the pointer.
	execOverhead = 1 + 8
)

// execBytes returns what a command and an environment take when a program is started with them.
func execBytes(command []string, env map[string]string) int {
	sum := 0
	for _, argument := range command {
		sum += len(argument) + execOverhead
	}
	for name, value := range env {
		sum += len(name) + len("=") + len(value) + execOverhead
	}
	return sum
}

// validateSandboxExec wants an environment that leaves enough room for those of steps.
func validateSandboxExec(env map[string]string, fldPath *field.Path) field.ErrorList {
	sum := execBytes(nil, env)
	if sum <= maxSandboxExec {
		return nil
	}
	return field.ErrorList{field.Invalid(fldPath, omitted, fmt.Sprintf(
		"names and values together take %d bytes when a program is started; at most %d are allowed, "+
			"as Linux takes %d with the command and the environments of the step and the image: put large values into a file",
		sum, maxSandboxExec, maxExec))}
}

// validateStepExec wants a command that can be started in every sandbox.
func validateStepExec(command []string, env map[string]string, fldPath *field.Path) field.ErrorList {
	sum := execBytes(command, env)
	if sum <= maxStepExec {
		return nil
	}
	return field.ErrorList{field.Invalid(fldPath, omitted, fmt.Sprintf(
		"command and env together take %d bytes when the program is started; at most %d are allowed, "+
			"as Linux takes %d, of which %d are kept for the sandbox's env and %d for the image's: use stdin, or a file that a FilePatch step writes",
		sum, maxStepExec, maxExec, maxSandboxExec, imageExec))}
}

// longArgument says what to do with an argument that Linux does not take.
var longArgument = fmt.Sprintf("must be at most %d bytes, which is the longest argument that Linux takes: "+
	"to run a long script, give it as stdin to the command [\"sh\", \"-s\"], or write it with a FilePatch step and run the file", maxArgument)
