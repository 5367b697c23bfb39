package arch

import (
	"slices"
	"strings"
	"testing"
)

// rule says what the packages under a folder may import, besides each other.
// Test files are free: they may build whatever they test with.
type rule struct {
	folder string
	// ours are the folders of this module that may be imported.
	ours []string
	// others are prefixes of foreign import paths; nil means any.
	others []string
	// std permits the standard library. It is false for nobody, and here so
	// that "standard library only" can be read in the table.
	std bool
}

var none = []string{}

// rules are checked by the longest folder that matches.
var rules = []rule{
	{folder: "pkg/apis", ours: []string{"pkg/apis"}, std: true,
		others: []string{"k8s.io/apimachinery/", "k8s.io/api/", "k8s.io/utils/", "sigs.k8s.io/randfill"}},
	{folder: "pkg/storage/kv", ours: []string{"pkg/storage/internal/mutation"}, std: true,
		others: []string{"go.etcd.io/bbolt", "github.com/google/btree", "golang.org/x/sys/"}},
	{folder: "pkg/storage/bolt", ours: []string{"pkg/storage/kv", "pkg/storage/internal/mutation"}, std: true,
		others: []string{
			"k8s.io/apimachinery/", "k8s.io/apiserver/pkg/storage", "k8s.io/apiserver/pkg/registry/generic",
			"k8s.io/apiserver/pkg/features", "k8s.io/apiserver/pkg/util/", "k8s.io/apiserver/pkg/audit",
			"k8s.io/apiserver/pkg/endpoints/request", "k8s.io/client-go/tools/cache", "k8s.io/klog/v2", "k8s.io/utils/",
		}},
	{folder: "pkg/storage/metrics", ours: []string{"pkg/storage/kv", "pkg/storage/bolt"}, std: true,
		others: []string{"k8s.io/component-base/metrics"}},
	{folder: "pkg/registry", ours: []string{"pkg/apis", "pkg/registry"}, std: true},
	{folder: "pkg/apiserver", ours: []string{"pkg/apis", "pkg/registry", "pkg/generated/openapi"}, std: true},
	{folder: "pkg/scheduler/plan", ours: []string{"pkg/apis/arl/v1alpha1"}, others: none, std: true},
	{folder: "pkg/scheduler", std: true, ours: []string{
		"pkg/scheduler", "pkg/apis/arl/v1alpha1", "pkg/generated", "pkg/podruntime", "pkg/agent/client", "pkg/agent/wire"}},
	{folder: "pkg/podruntime", ours: []string{"pkg/podruntime", "pkg/agent/client", "pkg/agent/wire"}, std: true},
	{folder: "pkg/sdk", ours: []string{"pkg/apis/arl/v1alpha1", "pkg/generated/clientset"}, std: true,
		others: []string{"k8s.io/api/", "k8s.io/apimachinery/", "k8s.io/client-go/", "k8s.io/utils/"}},
	{folder: "pkg/agent/wire", ours: none, others: none, std: true},
	{folder: "pkg/agent/client", ours: []string{"pkg/agent/wire"}, std: true, others: none},
	{folder: "pkg/agent", ours: []string{"pkg/agent"}, std: true, others: []string{
		"golang.org/x/sys/", "github.com/bluekeyes/go-gitdiff/", "github.com/creack/pty"}},
	{folder: "cmd/launcher", ours: []string{"pkg/podruntime"}, std: true, others: none},
	{folder: "cmd/agent", ours: []string{"pkg/agent"}, std: true, others: []string{"golang.org/x/sys/", "github.com/spf13/"}},
}

// TestImportRules keeps the rooms apart. A failure means that code stands in
// the wrong room, seldom that the rule is wrong.
func TestImportRules(t *testing.T) {
	for _, s := range sources(t) {
		r, ok := ruleOf(s.dir)
		if !ok || s.test {
			continue
		}
		for _, imported := range s.imports() {
			if !r.permits(s.dir, imported) {
				t.Errorf("%s imports %s: packages under %s may not", s.path, imported, r.folder)
			}
		}
	}
}

// TestRulesNameRealFolders fails when a room is renamed and its rule left behind.
func TestRulesNameRealFolders(t *testing.T) {
	all := sources(t)
	for _, r := range rules {
		if !slices.ContainsFunc(all, func(s source) bool { return within(s.dir, r.folder) }) {
			t.Errorf("there is no package under %s", r.folder)
		}
	}
}

// TestOnlyTheAppJoinsTheRooms keeps the composition root the only junction:
// nobody but cmd/apiserver imports storage, scheduler and runtimes together.
func TestOnlyTheAppJoinsTheRooms(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || within(s.dir, "cmd/apiserver") || within(s.dir, "test") {
			continue
		}
		for _, imported := range s.imports() {
			dir, ours := strings.CutPrefix(imported, module+"/")
			if ours && within(dir, "cmd") && !within(s.dir, "cmd") {
				t.Errorf("%s imports %s: only commands may", s.path, imported)
			}
		}
	}
}

func ruleOf(dir string) (best rule, ok bool) {
	for _, r := range rules {
		if within(dir, r.folder) && len(r.folder) > len(best.folder) {
			best, ok = r, true
		}
	}
	return best, ok
}

func (r rule) permits(from, imported string) bool {
	if dir, ours := strings.CutPrefix(imported, module+"/"); ours {
		return slices.ContainsFunc(r.ours, func(folder string) bool { return within(dir, folder) }) || dir == from
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return r.std
	}
	return r.others == nil || slices.ContainsFunc(r.others, func(prefix string) bool {
		return strings.HasPrefix(imported, prefix)
	})
}

func within(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}
