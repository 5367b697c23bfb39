package sdk_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// guide is the page for users of this package. test/integration runs its code.
const guide = "../../docs/go.md"

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestGuideNamesEverything has every option and every error of this package in the guide.
func TestGuideNamesEverything(t *testing.T) {
	t.Parallel()
	text := readFile(t, guide)
	exported := regexp.MustCompile(`^(With[A-Z]\w*|Err[A-Z]\w*|[A-Z]\w*Error)$`)
	found := 0
	for _, file := range []string{"options.go", "errors.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			name, ok := node.(*ast.Ident)
			if ok && exported.MatchString(name.Name) {
				found++
				if !strings.Contains(text, name.Name) {
					t.Errorf("%s does not name %s", guide, name.Name)
				}
			}
			return true
		})
	}
	if found == 0 {
		t.Error("no option and no error was found")
	}
}
