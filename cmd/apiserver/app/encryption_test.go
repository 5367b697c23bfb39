package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"

	"arl.io/arl/cmd/apiserver/app/options"
)

// TestGapsOfTheEncryptionAreReported names resources in ways that leave some in clear.
func TestGapsOfTheEncryptionAreReported(t *testing.T) {
	const (
		clear = "does not name this resource, so it is stored in clear"
		alien = "names a resource that this server does not store"
	)
	for _, tt := range []struct {
		name, resources string
		want            []string // message and resource of each warning
	}{
		{"group", `"*.arl.io"`, nil},
		{"everything", `"*.*"`, nil},
		{"each", `tasks.arl.io, sandboxes.arl.io`, nil},
		{"one left out", `tasks.arl.io`, []string{clear + " sandboxes.arl.io"}},
		{"group forgotten", `tasks, sandboxes.arl.io`, []string{clear + " tasks.arl.io", alien + " tasks"}},
		{"another group", `"*.apps"`, []string{clear + " sandboxes.arl.io", clear + " tasks.arl.io"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "encryption.yaml")
			content := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n" +
				"resources: [{resources: [" + tt.resources + "], providers: [{identity: {}}]}]\n"
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			e, err := newEncryption(t.Context(), options.EncryptionOptions{ConfigFile: file}, "test")
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			for _, resource := range []string{"tasks", "sandboxes", "tasks"} {
				if e.transformerFor(schema.GroupResource{Group: "arl.io", Resource: resource}) == nil {
					t.Errorf("nothing transforms %s", resource)
				}
			}
			var warnings []string
			logger := funcr.New(func(_, line string) {
				if strings.Contains(line, "WARNING") {
					warnings = append(warnings, line)
				}
			}, funcr.Options{})
			e.report(klog.NewContext(context.Background(), logger))
			if len(warnings) != len(tt.want) {
				t.Errorf("%d warnings, want %d: %q", len(warnings), len(tt.want), warnings)
			}
			for _, want := range tt.want {
				words := strings.LastIndex(want, " ")
				found := false
				for _, line := range warnings {
					found = found || strings.Contains(line, want[:words]) && strings.Contains(line, `"`+want[words+1:]+`"`)
				}
				if !found {
					t.Errorf("no %q in %q", want, warnings)
				}
			}
		})
	}
}

func TestNoEncryptionIsNone(t *testing.T) {
	e, err := newEncryption(t.Context(), options.EncryptionOptions{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if e.transformerFor(schema.GroupResource{Resource: "tasks"}) != nil || len(e.checks) != 0 {
		t.Errorf("got %+v", e)
	}
	e.report(t.Context())
	e.run(t.Context())
}
