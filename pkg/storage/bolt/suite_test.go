package bolt

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const suitePackage = "k8s.io/apiserver/pkg/storage/testing"

// omitted names the tests of the suite that are not run here, each with the
// reason.
var omitted = map[string]string{}

// TestSuiteIsComplete fails if the suite has a test or a benchmark that this
// package neither runs nor names as omitted, so that an update of Kubernetes
// brings its new tests to our notice.
func TestSuiteIsComplete(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", suitePackage).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", suitePackage, err)
	}
	suite := map[string]bool{}
	for _, file := range parseFiles(t, filepath.Join(strings.TrimSpace(string(out)), "*.go")) {
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Run") {
				suite[f.Name.Name] = true
			}
		}
	}
	if len(suite) < 60 {
		t.Fatalf("found only %d tests in %s", len(suite), suitePackage)
	}
	run := map[string]bool{}
	for _, file := range parseFiles(t, "*_test.go") {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && isIdent(sel.X, "storagetesting") {
					run[sel.Sel.Name] = true
				}
			}
			return true
		})
	}
	for name := range suite {
		reason, out := omitted[name]
		switch {
		case !run[name] && !out:
			t.Errorf("%s is neither run nor listed as omitted", name)
		case run[name] && out:
			t.Errorf("%s is run, and listed as omitted", name)
		case out && reason == "":
			t.Errorf("%s is omitted without a reason", name)
		}
	}
	for name := range omitted {
		if !suite[name] {
			t.Errorf("%s is listed as omitted, and the suite does not have it", name)
		}
	}
}

func parseFiles(t *testing.T, pattern string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}
