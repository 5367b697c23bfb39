package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// goGuide is the page of the Go SDK.
const goGuide = "../../docs/go.md"

// goGuideOutput is what the code of the page writes, from top to bottom.
const goGuideOutput = `hello, world
1
2
3
step-1 Succeeded
step-2 Succeeded
step-3 Succeeded
files changed: 1, created: 1, deleted: 0; count.sh: hunk 1 of 1 (@@ -1 +1 @@) moved +1 lines to line 2
1 1 test failed
true
"\xff\x00" true true
6
there is no pyhton among [python]
`

// TestGoGuide runs the code of the guide as one program: the first block is the program, and the
// others go on where it ends. Only the image is another one, which needs no registry.
func TestGoGuide(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(goGuideProgram(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, source)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the code of %s: %v\n%s", goGuide, err, output)
	}
	run := exec.CommandContext(t.Context(), program)
	run.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(s.data, "kubeconfig"))
	var stderr strings.Builder
	run.Stderr = &stderr
	output, err := run.Output()
	if err != nil {
		t.Fatalf("run the code of %s: %v\n%s%s", goGuide, err, output, stderr.String())
	}
	if diff := cmp.Diff(goGuideOutput, string(output)); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

// goGuideProgram returns the code of the guide as one program.
func goGuideProgram(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(goGuide)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 2 {
		t.Fatalf("%s has %d blocks of code, want a program and what goes on from it", goGuide, len(blocks))
	}
	var program strings.Builder
	program.WriteString(strings.TrimSuffix(strings.TrimSpace(blocks[0][1]), "}"))
	for _, block := range blocks[1:] {
		fmt.Fprintf(&program, "{\n%s}\n", block[1])
	}
	program.WriteString("}\n")
	return strings.ReplaceAll(program.String(), `"python:3.12-slim"`, `"host"`)
}
