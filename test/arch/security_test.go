package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// securityPage is the page whose table of threats names the test of each defence.
const securityPage = "docs/security.md"

// TestSecurityPageNamesTests fails if a threat of docs/security.md has no test, or one that does not exist.
func TestSecurityPageNamesTests(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, securityPage))
	if err != nil {
		t.Fatal(err)
	}
	report(t, threatsWithoutTests(string(page), hasTest))
}

// quotedTest is a test between backquotes: the package's folder, unless it is that of the name before,
// a dot, the function, and the names of subtests after slashes.
var quotedTest = regexp.MustCompile("`(?:([a-z0-9/_]+)\\.)?((?:Test|Fuzz)[A-Za-z0-9_]+)(?:/[^`]*)?`")

// threatsWithoutTests returns what is wrong with the last column of the tables below "## Threats".
func threatsWithoutTests(page string, exists func(dir, function string) bool) []string {
	_, page, _ = strings.Cut(page, "\n## Threats\n")
	page, _, _ = strings.Cut(page, "\n## ")
	var faults []string
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "threat" {
			continue
		}
		tests := quotedTest.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != 3 || len(tests) == 0 {
			faults = append(faults, fmt.Sprintf("%s: the row %q needs a threat, what stops it, and the test as `folder.TestName`",
				securityPage, strings.TrimSpace(line)))
		}
		dir := ""
		for _, test := range tests {
			if test[1] != "" {
				dir = test[1]
			}
			if !exists(dir, test[2]) {
				faults = append(faults, fmt.Sprintf("%s: there is no test %s in %q", securityPage, test[2], dir))
			}
		}
	}
	return faults
}

// hasTest tells whether a folder of the checkout has a test function. It reads nested modules, too.
func hasTest(dir, function string) bool {
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil || dir == "" {
		return false
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(content), "\nfunc "+function+"(") {
			return true
		}
	}
	return false
}

func TestThreatsWithoutTestsAreFound(t *testing.T) {
	const page = "\n## Threats\n\n| threat | what stops it | test |\n|---|---|---|\n" +
		"| a | b | `x.TestOne`, `TestTwo/with spaces` |\n| no test | b | by hand |\n| two cells | `x.TestOne` |\n| gone | b | `x.TestGone` |\n" +
		"\n## Rest\n| c | d | none |\n"
	faults := threatsWithoutTests(page, func(dir, function string) bool { return dir == "x" && function != "TestGone" })
	if len(faults) != 3 {
		t.Errorf("%d faults, want those of three rows: %q", len(faults), faults)
	}
}
