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

// guide is the page that tells users of this package.
const guide = "../../docs/go.md"

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// unindented is a text whose lines have no indentation.
func unindented(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

// TestGuideShowsTheExamples keeps the code of the guide that of the examples,
// which run.
func TestGuideShowsTheExamples(t *testing.T) {
	t.Parallel()
	examples := unindented(readFile(t, "example_test.go"))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readFile(t, guide), -1)
	if len(blocks) == 0 {
		t.Fatal("there is no code in the guide")
	}
	for _, block := range blocks {
		if !strings.Contains(examples, strings.TrimSpace(unindented(block[1]))) {
			t.Errorf("this is not part of any example in example_test.go:\n%s", block[1])
		}
	}
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
