package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// joined are the parts that only the composition root may bring together: any other package that
// knows two of them ties the house together in a second place.
var joined = []string{"pkg/storage", "pkg/registry", "pkg/scheduler", "pkg/podruntime/kube", "pkg/podruntime/local"}

// TestImportRules keeps the packages apart. A failure means that code stands in the wrong package,
// seldom that the rule is wrong.
func TestImportRules(t *testing.T) {
	report(t, forbiddenImports(sources(t, root)))
}

// TestRulesNameRealFolders fails when a folder is renamed and its rule left behind.
func TestRulesNameRealFolders(t *testing.T) {
	all := sources(t, root)
	for _, r := range rules {
		generated := r.folder == "pkg/generated" // which sources leaves out
		if !generated && !slices.ContainsFunc(all, func(s source) bool { return within(s.dir, r.folder) }) {
			t.Errorf("there is no package under %s", r.folder)
		}
	}
}

// TestOnlyTheAppJoinsTheRooms keeps the composition root the only junction: no other rule permits
// two of the parts that it brings together, and no package outside cmd may import a command.
func TestOnlyTheAppJoinsTheRooms(t *testing.T) {
	for _, r := range rules {
		var reached []string
		for _, part := range joined {
			if !within(r.folder, part) && slices.ContainsFunc(r.ours, func(entry string) bool {
				return covers(entry, part) || within(entry, part)
			}) {
				reached = append(reached, part)
			}
		}
		// Benchmarks of the storage serve the registry over it; the modes of the server choose a runtime.
		switch r.folder {
		case "cmd/apiserver/app", "cmd/apiserver/app/standalone", "cmd/apiserver/app/aggregated", "cmd/apiserver/app/options":
			continue
		}
		if len(reached) > 1 {
			t.Errorf("the rule of %s permits %s: only cmd/apiserver/app may import more than one of them", r.folder, strings.Join(reached, " and "))
		}
		for _, entry := range r.ours {
			if within(strings.TrimPrefix(entry, "="), "cmd") && !within(r.folder, "cmd") {
				t.Errorf("the rule of %s permits %s: only commands may import commands", r.folder, entry)
			}
		}
	}
}

// forbiddenImports returns a line for each import that no rule permits, and for each package that has
// no rule.
func forbiddenImports(all []source) []string {
	var faults []string
	for _, s := range all {
		if s.test {
			continue
		}
		r, ok := ruleOf(s.dir)
		if !ok {
			faults = append(faults, fmt.Sprintf("%s: %s has no import rule: add one to test/arch/rules_test.go", s.path, s.dir))
			continue
		}
		for _, imported := range s.imports() {
			if !r.permits(imported) {
				faults = append(faults, fmt.Sprintf("%s imports %s: packages under %s may not", s.path, imported, r.folder))
			}
		}
	}
	return faults
}

func ruleOf(dir string) (best rule, ok bool) {
	for _, r := range rules {
		if within(dir, r.folder) && len(r.folder) > len(best.folder) {
			best, ok = r, true
		}
	}
	return best, ok
}

func (r rule) permits(imported string) bool {
	below := func(folder string) bool { return within(imported, folder) }
	if dir, ours := strings.CutPrefix(imported, module+"/"); ours {
		return slices.ContainsFunc(r.ours, func(entry string) bool { return covers(entry, dir) })
	}
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
		return slices.ContainsFunc(r.others, below)
	}
	return !slices.ContainsFunc(r.notStd, below) && (r.std == nil || slices.ContainsFunc(r.std, below))
}

// covers says whether an entry of rule.ours permits a folder.
func covers(entry, dir string) bool {
	if exact, ok := strings.CutPrefix(entry, "="); ok {
		return dir == exact
	}
	return within(dir, entry)
}

func within(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}
