package integration

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"arl.io/arl/test/cli"
)

// What other tests of kubectl have, too.
var (
	words        = cli.Words
	wantWords    = cli.WantWords
	missingWords = cli.MissingWords
)

// kubectl runs the real program as the admin of a server, in a tenant's namespace.
type kubectl struct {
	*tenant
	*cli.Kubectl
}

// newKubectl returns a kubectl with a namespace of its own on the shared server.
func newKubectl(t *testing.T) *kubectl {
	t.Helper()
	return kubectlIn(newTenant(t, shared(t)))
}

func kubectlIn(n *tenant) *kubectl {
	n.T.Helper()
	path, err := kubectlPath()
	if err != nil {
		n.T.Fatal(err)
	}
	home := n.T.TempDir()
	return &kubectl{tenant: n, Kubectl: &cli.Kubectl{
		T: n.T, Dir: home, Patience: patience,
		Exec: func(ctx context.Context, call cli.Call) error {
			args := append([]string{"--kubeconfig", n.server.Kubeconfig(), "--namespace", n.Namespace}, call.Args...)
			command := exec.CommandContext(ctx, path, args...)
			command.Env = append(append(os.Environ(), "HOME="+home), call.Env...)
			command.Stdin, command.Stdout, command.Stderr = call.Stdin, call.Stdout, call.Stderr
			return command.Run()
		},
	}}
}

// Manifests that need no pod.
const (
	emptyPool = `
apiVersion: arl.io/v1alpha1
kind: WarmPool
metadata:
  name: empty
  labels: {team: red}
spec:
  replicas: 0
  maxPods: 10
  template:
    metadata:
      labels: {carried: along}
    spec:
      containers:
        - {name: executor, image: host}
`
	waitingSandbox = `
apiVersion: arl.io/v1alpha1
kind: Sandbox
metadata:
  name: %s
  labels: {team: red}
spec:
  poolRef: %s
  keepAlive: true
`
	waitingTask = `
apiVersion: arl.io/v1alpha1
kind: Task
metadata:
  name: %s
spec:
  poolRef: %s
  steps:
    - {name: hello, type: Command, command: [echo, hello]}
`
)
