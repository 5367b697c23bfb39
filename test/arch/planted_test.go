package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// planted writes one file of a package and returns what the checks of this package say of it.
func planted(t *testing.T, name, text string) []source {
	t.Helper()
	top := t.TempDir()
	file := filepath.Join(top, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return sources(t, top)
}

func importing(path string) string { return fmt.Sprintf("package planted\n\nimport _ %q\n", path) }

// TestEveryRuleBites plants in each folder one import of each sort that its rule denies.
func TestEveryRuleBites(t *testing.T) {
	var folders []string
	for _, r := range rules {
		folders = append(folders, module+"/"+r.folder)
	}
	for _, r := range rules {
		denied := map[string][]string{
			"of ours":    append([]string{module + "/pkg/planted"}, folders...),
			"of others":  {"example.com/planted"},
			"of the std": nil,
		}
		if r.std != nil || r.notStd != nil {
			denied["of the std"] = []string{"net/http", "os", "testing"}
		}
		for sort, candidates := range denied {
			if candidates == nil {
				continue
			}
			t.Run(r.folder+" "+sort, func(t *testing.T) {
				found := slices.IndexFunc(candidates, func(path string) bool { return !r.permits(path) })
				if found < 0 {
					t.Fatal("the rule denies nothing")
				}
				if r.folder == "pkg/generated" {
					return // sources leaves the folder out: nobody writes it by hand
				}
				file := r.folder + "/planted.go"
				faults := forbiddenImports(planted(t, file, importing(candidates[found])))
				if len(faults) != 1 || !strings.HasPrefix(faults[0], file+" imports "+candidates[found]) {
					t.Errorf("a file that imports %s: got %q", candidates[found], faults)
				}
				if faults := forbiddenImports(planted(t, r.folder+"/planted_test.go", importing(candidates[found]))); len(faults) > 0 {
					t.Errorf("a test that imports %s: got %q", candidates[found], faults)
				}
			})
		}
	}
}

// TestWhatHasNoRuleIsDenied covers folders that nobody thought of.
func TestWhatHasNoRuleIsDenied(t *testing.T) {
	for _, dir := range []string{"pkg/planted", "cmd/planted", "hack/planted", "test/planted", "planted"} {
		if faults := forbiddenImports(planted(t, dir+"/planted.go", importing("fmt"))); len(faults) != 1 {
			t.Errorf("a package in %s: got %q", dir, faults)
		}
	}
}

// TestLengthsBite plants a file, a function and a package that break the other rules.
func TestLengthsBite(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("\n", n) }
	file := func(n int) string { return "package planted" + lines(n-1) + "// The end.\n" }
	function := func(n int) string {
		return "// Package planted is.\npackage planted\n\nfunc f() {" + lines(n-1) + "}\n"
	}
	for _, c := range []struct {
		name, text string
		check      func([]source) []string
		want       int
	}{
		{"a long file", file(maxFileLines + 1), tooLongFiles, 1},
		{"a file at the limit", file(maxFileLines - 1), tooLongFiles, 0},
		{"a long function", function(maxFunctionLines + 1), tooLongFunctions, 1},
		{"a function at the limit", function(maxFunctionLines), tooLongFunctions, 0},
		{"no package comment", "package planted\n", undocumentedPackages, 1},
		{"a package comment", "// Package planted is.\npackage planted\n", undocumentedPackages, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if faults := c.check(planted(t, "pkg/planted/planted.go", c.text)); len(faults) != c.want {
				t.Errorf("got %q, want %d faults", faults, c.want)
			}
		})
	}
}
