package execution

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arl.io/arl/pkg/agent/process"
)

func TestEnvironmentLayers(t *testing.T) {
	env := newEnvironment([]string{"A=image", "B=image", "ARL_KEY=secret", "PWD=/old"})
	for _, test := range []struct {
		name   string
		layers []map[string]string
		want   []string
	}{
		{"the image's alone", nil, []string{"A=image", "B=image", "PATH=" + process.DefaultPath, "PWD=/work"}},
		{
			"later layers win",
			[]map[string]string{{"A": "task", "C": "task"}, {"C": "step", "PATH": "/bin", "PWD": "/mine", "ARL_KEY": "given"}},
			[]string{"A=task", "ARL_KEY=given", "B=image", "C=step", "PATH=/bin", "PWD=/mine"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := env.with("/work", test.layers...)
			slices.Sort(got)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("variables (-want +got):\n%s", diff)
			}
		})
	}
}
