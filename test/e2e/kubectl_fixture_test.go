package e2e

import (
	"context"
	"testing"

	"arl.io/arl/test/cli"
	"arl.io/arl/test/e2e/cluster"
)

// What other tests of kubectl have, too.
var (
	words        = cli.Words
	wantWords    = cli.WantWords
	missingWords = cli.MissingWords
)

// kubectl is the real program, run by a tenant's user in the tenant's namespace.
type kubectl struct {
	*cli.Kubectl
	namespace string // where it is, unless told otherwise
}

func (n *tenant) kubectl() *kubectl {
	n.T.Helper()
	return kubectlAs(n.T, n.user, n.Namespace)
}

// kubectlAs returns a kubectl for a user, with a namespace it takes by default.
func kubectlAs(t *testing.T, user, namespace string) *kubectl {
	t.Helper()
	program, err := shared.KubectlCommand(user)
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, call cli.Call) error {
		return shared.Run(ctx, cluster.Command{
			Program: program.Program, Args: append(append(program.Args[:len(program.Args):len(program.Args)], "--namespace="+namespace), call.Args...),
			Env:   append(program.Env[:len(program.Env):len(program.Env)], call.Env...),
			Stdin: call.Stdin, Stdout: call.Stdout, Stderr: call.Stderr,
		})
	}
	return &kubectl{namespace: namespace, Kubectl: &cli.Kubectl{T: t, Exec: run, Dir: t.TempDir(), Patience: patience}}
}

// in is the same kubectl in a subtest.
func (k *kubectl) in(t *testing.T) *kubectl {
	inner := *k.Kubectl
	inner.T = t
	return &kubectl{namespace: k.namespace, Kubectl: &inner}
}
