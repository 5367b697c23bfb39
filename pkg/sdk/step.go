package sdk

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Step is one step of an Execute: a command, or a change of a file. The
// functions that return one set what is needed; every other field may be set
// before it is used. Steps without a name are named step-1, step-2 and so on.
type Step = v1alpha1.TaskStep

// Command is a step that runs a program, without any shell.
func Command(program string, args ...string) Step {
	return Step{Type: v1alpha1.StepCommand, Command: append([]string{program}, args...)}
}

// maxPiece is a little less than Linux allows for one argument of a program, 128 KiB.
const maxPiece = 120 << 10

// Shell is a step that runs a script of at most 1 MiB, together with the env of the step, with the sandbox's "sh".
func Shell(script string) Step {
	if len(script) <= maxPiece {
		return Command("sh", "-c", script)
	}
	// Too long for one argument. The shell puts several together, and evaluates the whole as it
	// would the argument of -c: without parameters, and with standard input left to it.
	parts := pieces(script)
	var whole strings.Builder
	for i := range parts {
		fmt.Fprintf(&whole, "${%d}", i+1)
	}
	evaluate := fmt.Sprintf(`eval "set --; %s"`, whole.String())
	return Command("sh", append([]string{"-c", evaluate, "sh"}, parts...)...)
}

// pieces cuts a text between characters into pieces that are short enough for an argument each.
func pieces(text string) (parts []string) {
	for len(text) > maxPiece {
		end := maxPiece
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		parts, text = append(parts, text[:end]), text[end:]
	}
	return append(parts, text)
}

// File is a step that writes a file as a whole, UTF-8 text of at most 1 MiB. The
// path is absolute or relative to the sandbox's work directory; missing
// directories are made.
func File(path, content string) Step {
	return Step{Type: v1alpha1.StepFilePatch, Path: path, Content: &content}
}

// Patch is a step that applies a unified diff, as a whole or not at all. The path is a file, or the
// directory that the names in a git diff are relative to; "." is the work directory. The message of
// the step's result says which hunks were applied elsewhere than their line numbers say.
func Patch(path, diff string) Step {
	return Step{Type: v1alpha1.StepFilePatch, Path: path, Patch: &diff}
}

// named returns the steps, each with a name.
func named(steps []Step) []Step {
	all := make([]Step, len(steps))
	for i, step := range steps {
		if step.Name == "" {
			step.Name = fmt.Sprintf("step-%d", i+1)
		}
		all[i] = step
	}
	return all
}
