package app

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"arl.io/arl/cmd/apiserver/app/options"
)

func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	cmd := NewCommand(t.Context(), "v0.0.0-test")
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestHelpBeginsWithCommandsAndExample reads --help as a new user does: what the
// program is, its subcommands and an example come before any flag, and the flags
// of the Kubernetes libraries are behind --help-all.
func TestHelpBeginsWithCommandsAndExample(t *testing.T) {
	short := helpOf(t, "--help")
	at := -1
	for _, want := range []string{
		"gives AI agents a place to run code", "Commands:", "  doctor ", "  purge ", "  storage ", "Examples:",
		"arl-apiserver --standalone --data-dir", "Mode flags:", "--standalone", "--allow-host-image", "--help-all",
	} {
		next := strings.Index(short[at+1:], want)
		if next < 0 {
			t.Fatalf("no %q after byte %d of:\n%s", want, at, short)
		}
		at += next + 1
	}
	if lines := strings.Count(short, "\n"); lines > 180 {
		t.Errorf("--help has %d lines", lines)
	}
	library := []string{"--audit-log-path", "--admission-control-config-file", "--authentication-kubeconfig", "--enable-priority-and-fairness", "--http2-max-streams-per-connection"}
	all := helpOf(t, "--help-all")
	for _, flag := range library {
		if strings.Contains(short, flag) {
			t.Errorf("--help shows %s, a flag of a library", flag)
		}
		if !strings.Contains(all, flag) {
			t.Errorf("--help-all does not show %s", flag)
		}
	}
	if !strings.Contains(all, "Audit flags:") || !strings.Contains(all, "Mode flags:") {
		t.Errorf("--help-all shows no groups:\n%s", all)
	}
}

// Of a flag in two sets, one is left to chance: --v and --vmodule had no effect in half of all starts.
func TestEveryFlagIsInOneSet(t *testing.T) {
	sets := flagsOf(options.New(), "arl-apiserver")
	in := map[string]string{}
	for name, set := range sets.FlagSets {
		set.VisitAll(func(f *pflag.Flag) {
			if other, found := in[f.Name]; found {
				t.Errorf("--%s is in the sets %s and %s", f.Name, other, name)
			}
			in[f.Name] = name
		})
	}
	if in["v"] != "logs" {
		t.Errorf("--v is in the set %q, want that of the options for logs", in["v"])
	}
}
