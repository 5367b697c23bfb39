package process

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// What a program cannot be given is refused with the sum and the limit, as the
// kernel of this machine has it.
func TestTooBig(t *testing.T) {
	supervisor := newSupervisor(t, Config{})
	try := func(args, env []string) error {
		_, err := supervisor.Run(t.Context(), Command{
			ID: "id", Args: append([]string{"/bin/true"}, args...), Env: env, Dir: "/",
			Stdout: func([]byte) {}, Stderr: func([]byte) {},
		})
		return err
	}
	long := strings.Repeat("x", maxString)
	variable := "V=" + long[2:]
	fill := func(size int) (env []string) {
		for i := 0; stringBytes(env) < size; i++ {
			env = append(env, "V"+strconv.Itoa(i)+"="+long[:1000])
		}
		return env
	}
	for _, test := range []struct {
		name      string
		args, env []string
		want      string
	}{
		{"an argument as long as allowed", []string{long}, nil, ""},
		{"an argument too long", []string{long + "x"}, nil, "argument 1 has 131072 bytes, of which the kernel takes 131071 at most"},
		{"a variable as long as allowed", nil, []string{variable}, ""},
		{"a variable too long", nil, []string{variable + "x"}, "variable V of the environment has 131072 bytes with its name"},
		{"all as much as allowed", nil, fill(stringLimit() - 8192), ""},
		{"all too much", []string{"a"}, fill(stringLimit() + 8192), ", of which the kernel takes " + strconv.Itoa(stringLimit()) + " at most"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := try(test.args, test.env)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var start *StartError
			if !errors.As(err, &start) || !start.Invalid || !strings.Contains(start.Message, test.want) || !strings.HasSuffix(start.Message, advice) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
