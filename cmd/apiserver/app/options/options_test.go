package options

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parse returns completed options for the given flags, in a folder with an agent.
func parse(t *testing.T, args ...string) *Options {
	t.Helper()
	o := New()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for _, set := range o.Flags().FlagSets {
		fs.AddFlagSet(set)
	}
	agent := filepath.Join(t.TempDir(), "arl-agent")
	if err := os.WriteFile(agent, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(args, "--standalone") {
		args = append([]string{"--agent-path", agent}, args...)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := o.Complete(); err != nil {
		t.Fatal(err)
	}
	return o
}

// wantError wants an error with some words; "": none.
func wantError(t *testing.T, err error, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case words != "" && (err == nil || !strings.Contains(err.Error(), words)):
		t.Errorf("got %v, want an error with %q", err, words)
	}
}

func TestValidate(t *testing.T) {
	good := []string{"--standalone", "--data-dir", "d"}
	tests := []struct {
		name string
		args []string
		want string // part of the error; "" for none
	}{
		{name: "defaults", args: good},
		{name: "port picked by the system", args: append(good, "--secure-port=0")},
		{name: "no mode", args: []string{"--data-dir", "d"}, want: "--standalone: must be given"},
		{name: "no directory", args: []string{"--standalone"}, want: "--data-dir: must be given"},
		{name: "image watermarks off", args: append(good, "--image-gc-high-threshold=100")},
		{name: "high image watermark", args: append(good, "--image-gc-high-threshold=101"), want: "--image-gc-high-threshold: must be 1 to 100"},
		{name: "low image watermark", args: append(good, "--image-gc-low-threshold=90"), want: "--image-gc-low-threshold: must be below --image-gc-high-threshold"},
		{name: "age of images", args: append(good, "--minimum-image-ttl-duration=-1s"), want: "--minimum-image-ttl-duration: must not be negative"},
		{name: "retention", args: append(good, "--storage-retention=0s"), want: "--storage-retention: must be more than 0"},
		{name: "retention size", args: append(good, "--storage-retention-size=1k"), want: "--storage-retention-size: must be at least 1Mi, is 1k"},
		{name: "free space", args: append(good, "--storage-min-free=-1"), want: "--storage-min-free: must not be negative"},
		{name: "no such agent", args: append(good, "--agent-path=/nowhere/agent"), want: "--agent-path: stat /nowhere/agent"},
		{name: "agent is a folder", args: append(good, "--agent-path=/"), want: "--agent-path: / is not an executable file"},
		{name: "mirror", args: append(good, "--registry-mirror=docker.io=http://127.0.0.1:5000", "--registry-mirror=ghcr.io=https://mirror")},
		{name: "no mirror", args: append(good, "--registry-mirror=docker.io"), want: "--registry-mirror: \"docker.io\" must be REGISTRY=URL"},
		{name: "parallelism", args: append(good, "--pod-start-parallelism=0"), want: "--pod-start-parallelism: must be at least 1"},
		{name: "executions", args: append(good, "--max-executions=-3"), want: "--max-executions: must be at least 1, is -3"},
		{name: "task retention", args: append(good, "--task-retention=-1s"), want: "--task-retention: must not be negative"},
		{name: "no task retention size", args: append(good, "--task-retention-size=0")},
		{name: "task retention size", args: append(good, "--task-retention-size=1Mi"), want: "--task-retention-size: must be at least 16Mi, or 0 for no bound, is 1Mi"},
		{name: "encryption", args: append(good, "--encryption-provider-config=/etc/arl/encryption.yaml", "--encryption-provider-config-automatic-reload")},
		{name: "nothing to reload", args: append(good, "--encryption-provider-config-automatic-reload"),
			want: "--encryption-provider-config-automatic-reload: needs --encryption-provider-config"},
		{name: "keys beside the data", args: append(good, "--encryption-provider-config=d/keys/encryption.yaml"),
			want: "d/keys/encryption.yaml is in the data directory"},
		{name: "keys in another folder of a similar name", args: append(good, "--encryption-provider-config=d-keys/encryption.yaml")},
		{name: "port", args: append(good, "--secure-port=70000"), want: "--secure-port 70000"},
		{name: "of a cluster", args: append(good, "--agent-reach=tunnel"), want: "--agent-reach: is for a server in a cluster"},
		{name: "certificate", args: append(good, "--tls-cert-file=a", "--tls-private-key-file=b"), want: "--tls-cert-file: not with --standalone"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, parse(t, tt.args...).Validate(), tt.want)
		})
	}
}

func TestDataDirIsMadeAbsolute(t *testing.T) {
	if o := parse(t, "--data-dir", "here"); !filepath.IsAbs(o.DataDir) {
		t.Errorf("got %q", o.DataDir)
	}
}

func TestByteSizeRefusesNonsense(t *testing.T) {
	var size ByteSize
	if err := size.Set("lots"); err == nil || !strings.Contains(err.Error(), "64Mi") {
		t.Errorf("got %v, want an error with an example", err)
	}
}
