package validation

import (
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl"
)

type stepCase struct {
	name   string
	change func(*arl.TaskStep)
	want   []string
}

func (tc stepCase) run(t *testing.T) {
	t.Run(tc.name, func(t *testing.T) {
		var want []string
		for _, w := range tc.want {
			want = append(want, "spec.steps[0]."+w)
		}
		wantErrors(t, ValidateTask(newTask(inStep(tc.change))), want...)
	})
}

func TestValidateStepNameAndType(t *testing.T) {
	const format = `: must consist of letters, digits, '-', '_' and '.', and begin and end with a letter or digit (e.g. 'install-deps',  or 'step_1', regex used for validation is '[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?')`
	for _, tc := range []stepCase{
		{name: "all letters", change: func(s *arl.TaskStep) { s.Name = "Install_deps-1.x" }},
		{name: "one letter", change: func(s *arl.TaskStep) { s.Name = "a" }},
		{name: "longest", change: func(s *arl.TaskStep) { s.Name = strings.Repeat("a", 63) }},
		{name: "too long", change: func(s *arl.TaskStep) { s.Name = strings.Repeat("a", 64) },
			want: []string{`name: Too long: may not be more than 63 characters`}},
		{name: "unnamed", change: func(s *arl.TaskStep) { s.Name = "" },
			want: []string{`name: Required value: must tell the steps of the task apart`}},
		{name: "with a space", change: func(s *arl.TaskStep) { s.Name = "a b" },
			want: []string{`name: Invalid value: "a b"` + format}},
		{name: "ending in a dash", change: func(s *arl.TaskStep) { s.Name = "a-" },
			want: []string{`name: Invalid value: "a-"` + format}},
		{name: "with a line break", change: func(s *arl.TaskStep) { s.Name = "a\n" },
			want: []string{`name: Invalid value: "a\n"` + format}},
		{name: "no type", change: func(s *arl.TaskStep) { s.Type = "" },
			want: []string{`type: Required value: must be Command or FilePatch`}},
		{name: "unknown type", change: func(s *arl.TaskStep) { s.Type = "Script" },
			want: []string{`type: Unsupported value: "Script": supported values: "Command", "FilePatch"`}},
		{name: "going on after failure", change: func(s *arl.TaskStep) { s.OnFailure = arl.FailureContinue }},
		{name: "unknown failure action", change: func(s *arl.TaskStep) { s.OnFailure = "Retry" },
			want: []string{`onFailure: Unsupported value: "Retry": supported values: "Stop", "Continue"`}},
	} {
		tc.run(t)
	}
}

func TestValidateCommandStep(t *testing.T) {
	for _, tc := range []stepCase{
		{name: "everything", change: func(s *arl.TaskStep) {
			s.Command = []string{"sh", "-c", ""}
			s.Env = map[string]string{"A": "1"}
			s.WorkDir = "../elsewhere"
			s.Stdin = "input\x00"
			s.Timeout = "1s"
		}},
		{name: "no command", change: func(s *arl.TaskStep) { s.Command = nil },
			want: []string{`command: Required value: must hold the program and its arguments`}},
		{name: "empty program", change: func(s *arl.TaskStep) { s.Command = []string{"", "x"} },
			want: []string{`command[0]: Required value: must name the program`}},
		{name: "most arguments", change: func(s *arl.TaskStep) { s.Command = strings.Split(strings.Repeat("a ", 1023)+"a", " ") }},
		{name: "too many arguments", change: func(s *arl.TaskStep) { s.Command = strings.Split(strings.Repeat("a ", 1024)+"a", " ") },
			want: []string{`command: Too many: 1025: must have at most 1024 items`}},
		{name: "argument too long", change: func(s *arl.TaskStep) { s.Command = []string{"echo", strings.Repeat("a", 128<<10)} },
			want: []string{`command[1]: Invalid value: must be at most 131071 bytes, which is the longest argument that Linux takes: to run a long script, give it as stdin to the command ["sh", "-s"], or write it with a FilePatch step and run the file`}},
		{name: "largest command and environment", change: func(s *arl.TaskStep) { s.Command, s.Env = bulk(maxStepExec) }},
		{name: "command and environment too large", change: func(s *arl.TaskStep) { s.Command, s.Env = bulk(maxStepExec + 1) },
			want: []string{`env: Invalid value: command and env together take 1048577 bytes when the program is started; at most 1048576 are allowed, as Linux takes 2097152, of which 524288 are kept for the sandbox's env and 524288 for the image's: use stdin, or a file that a FilePatch step writes`}},
		{name: "NUL bytes", change: func(s *arl.TaskStep) {
			s.Command = []string{"a\x00"}
			s.Env = map[string]string{"A": "\x00"}
			s.WorkDir = "\x00"
		}, want: []string{
			`command[0]: Invalid value: must not contain a NUL byte`,
			`env[A]: Invalid value: must not contain a NUL byte`,
			`workDir: Invalid value: "\x00": must not contain a NUL byte`,
		}},
		{name: "too many variables", change: func(s *arl.TaskStep) { s.Env = variables(257) },
			want: []string{`env: Too many: 257: must have at most 256 items`}},
		{name: "longest stdin", change: func(s *arl.TaskStep) { s.Stdin = strings.Repeat("a", 1<<20) }},
		{name: "stdin too long", change: func(s *arl.TaskStep) { s.Stdin = strings.Repeat("a", 1<<20+1) },
			want: []string{`stdin: Too long: may not be more than 1048576 bytes`}},
		{name: "fields of a FilePatch", change: func(s *arl.TaskStep) {
			s.Path, s.Content, s.Patch, s.Mode = "a", ptr.To(""), ptr.To(""), ptr.To[int32](0)
		}, want: []string{
			`content: Forbidden: only for steps of type FilePatch`,
			`mode: Forbidden: only for steps of type FilePatch`,
			`patch: Forbidden: only for steps of type FilePatch`,
			`path: Forbidden: only for steps of type FilePatch`,
		}},
	} {
		tc.run(t)
	}
}

func TestValidateFilePatchStep(t *testing.T) {
	for _, tc := range []stepCase{
		{name: "empty file", change: func(s *arl.TaskStep) { s.Content = ptr.To("") }},
		{name: "largest file", change: func(s *arl.TaskStep) { s.Content, s.Mode = ptr.To(strings.Repeat("a", 1<<20)), ptr.To[int32](0o777) }},
		{name: "file too large", change: func(s *arl.TaskStep) { s.Content = ptr.To(strings.Repeat("a", 1<<20+1)) },
			want: []string{`content: Too long: may not be more than 1048576 bytes`}},
		{name: "patch", change: func(s *arl.TaskStep) { s.Content, s.Patch = nil, ptr.To("--- a\n+++ b\n") }},
		{name: "patch too large", change: func(s *arl.TaskStep) { s.Content, s.Patch = nil, ptr.To(strings.Repeat("a", 1<<20+1)) },
			want: []string{`patch: Too long: may not be more than 1048576 bytes`}},
		{name: "empty patch", change: func(s *arl.TaskStep) { s.Content, s.Patch = nil, ptr.To("") },
			want: []string{`patch: Required value: must be a unified diff`}},
		{name: "content and patch", change: func(s *arl.TaskStep) { s.Patch = ptr.To("x") },
			want: []string{`patch: Forbidden: exactly one of content and patch must be set`}},
		{name: "neither content nor patch", change: func(s *arl.TaskStep) { s.Content = nil },
			want: []string{`content: Required value: exactly one of content and patch must be set`}},
		{name: "no path", change: func(s *arl.TaskStep) { s.Path = "" },
			want: []string{`path: Required value: must name the file to write or patch, or the directory to patch`}},
		{name: "path for the agent to judge", change: func(s *arl.TaskStep) { s.Path = "../../etc/passwd" }},
		{name: "path of a folder", change: func(s *arl.TaskStep) { s.Path = "src/" },
			want: []string{`path: Invalid value: "src/": must name a file, not a directory, unless patch is set`}},
		{name: "patch of a folder", change: func(s *arl.TaskStep) { s.Path, s.Content, s.Patch = "src/", nil, ptr.To("--- a\n+++ b\n") }},
		{name: "patch of the work directory", change: func(s *arl.TaskStep) { s.Path, s.Content, s.Patch = ".", nil, ptr.To("--- a\n+++ b\n") }},
		{name: "patch of a folder with a mode", change: func(s *arl.TaskStep) {
			s.Path, s.Content, s.Patch, s.Mode = "src/", nil, ptr.To("--- a\n+++ b\n"), ptr.To[int32](0o644)
		}, want: []string{`mode: Forbidden: only if path names a file; the patch of a directory has the modes of its files`}},
		{name: "path of the parent", change: func(s *arl.TaskStep) { s.Path = "src/.." },
			want: []string{`path: Invalid value: "src/..": must name a file, not a directory, unless patch is set`}},
		{name: "path with NUL", change: func(s *arl.TaskStep) { s.Path = "a\x00b" },
			want: []string{`path: Invalid value: "a\x00b": must not contain a NUL byte`}},
		{name: "mode too large", change: func(s *arl.TaskStep) { s.Mode = ptr.To[int32](0o1000) },
			want: []string{`mode: Invalid value: 512: must be between 0 and 511 (octal 0777)`}},
		{name: "negative mode", change: func(s *arl.TaskStep) { s.Mode = ptr.To[int32](-1) },
			want: []string{`mode: Invalid value: -1: must be between 0 and 511 (octal 0777)`}},
		{name: "fields of a Command", change: func(s *arl.TaskStep) {
			s.Command, s.Env, s.WorkDir, s.Stdin, s.Timeout = []string{"true"}, map[string]string{"A": "1"}, "/", "x", "1s"
		}, want: []string{
			`command: Forbidden: only for steps of type Command`,
			`env: Forbidden: only for steps of type Command`,
			`stdin: Forbidden: only for steps of type Command`,
			`timeout: Forbidden: only for steps of type Command`,
			`workDir: Forbidden: only for steps of type Command`,
		}},
	} {
		change := tc.change
		tc.change = func(s *arl.TaskStep) {
			filePatch(s)
			change(s)
		}
		tc.run(t)
	}
}
