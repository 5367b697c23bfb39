package options

import (
	"slices"
	"strings"
	"testing"
)

// inPod sets the environment of a pod in a cluster.
func inPod(t *testing.T, name, namespace string) {
	t.Helper()
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	t.Setenv(PodNameVariable, name)
	t.Setenv(PodNamespaceVariable, namespace)
}

func TestValidateInCluster(t *testing.T) {
	good := []string{"--data-dir", "d"}
	tests := []struct {
		name string
		args []string
		want string // part of the error; "" for none
	}{
		{name: "defaults", args: good},
		{name: "all of ours", args: append(good, "--agent-image=i", "--agent-image-pull-policy=Never", "--agent-port=1", "--agent-reach=tunnel",
			"--pod-namespaces=a,b", "--pods-run-as-non-root", "--pod-start-timeout=1s", "--pod-delete-timeout=1s",
			"--service-name=s", "--service-namespace=n", "--publish-ca=false", "--kube-api-qps=1", "--kube-api-burst=1")},
		{name: "of a single machine", args: append(good, "--allow-host-image"), want: "--allow-host-image: is for a server with --standalone"},
		{name: "mirror of a single machine", args: append(good, "--registry-mirror=docker.io=https://a"),
			want: "--registry-mirror: is for a server with --standalone"},
		{name: "agent of a single machine", args: append(good, "--agent-path=/bin/true"), want: "--agent-path: is for a server with --standalone"},
		{name: "any port", args: append(good, "--secure-port=0"), want: "--secure-port: must not be 0"},
		{name: "reach", args: append(good, "--agent-reach=telepathy"), want: "--agent-reach: must be one of auto, direct, tunnel"},
		{name: "policy", args: append(good, "--agent-image-pull-policy=never"), want: "must be one of Always, IfNotPresent, Never"},
		{name: "agent port", args: append(good, "--agent-port=65536"), want: "--agent-port: must be 1 to 65535"},
		{name: "namespaces", args: append(good, "--pod-namespaces=a,B"), want: `--pod-namespaces: "B"`},
		{name: "service", args: append(good, "--service-name=a.b"), want: `--service-name: "a.b"`},
		{name: "rate", args: append(good, "--kube-api-qps=0"), want: "--kube-api-qps: must be more than 0"},
		{name: "burst", args: append(good, "--kube-api-burst=0"), want: "--kube-api-burst: must be at least 1"},
		{name: "start", args: append(good, "--pod-start-timeout=0"), want: "--pod-start-timeout: must be more than 0"},
		{name: "own certificate published", args: append(good, "--tls-cert-file=a", "--tls-private-key-file=b", "--publish-ca"),
			want: "--publish-ca: not with --tls-cert-file"},
		{name: "given certificate", args: append(good, "--tls-cert-file=a", "--tls-private-key-file=b")},
		{name: "unknown plugin", args: append(good, "--enable-admission-plugins=Nope"), want: `"Nope" is unknown`},
		{name: "quotas off", args: append(good, "--disable-admission-plugins=ResourceQuota")},
	}
	inPod(t, "arl-apiserver-0", "arl-system")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, parse(t, tt.args...).Validate(), tt.want)
		})
	}
}

func TestAgentImageIsNeededOutsideOfAPod(t *testing.T) {
	inPod(t, "", "")
	err := parse(t, "--data-dir", "d").Validate()
	if err == nil || !strings.Contains(err.Error(), "--agent-image: must be given") {
		t.Errorf("got %v", err)
	}
	if err := parse(t, "--data-dir", "d", "--agent-image", "i").Validate(); err != nil {
		t.Errorf("unexpected error: %v", err)
	}
}

func TestCompleteInCluster(t *testing.T) {
	inPod(t, "server-0", "here")
	o := parse(t, "--data-dir", "d", "--kubeconfig", "k", "--authentication-kubeconfig", "a")
	if got := o.Cluster.ServiceHosts(); !slices.Contains(got, "arl-apiserver.here.svc") {
		t.Errorf("the certificate is for %v", got)
	}
	if !o.Serving.BindAddress.IsUnspecified() {
		t.Errorf("listens on %s alone", o.Serving.BindAddress)
	}
	if a, z := o.Cluster.Authentication.RemoteKubeConfigFile, o.Cluster.Authorization.RemoteKubeConfigFile; a != "a" || z != "k" {
		t.Errorf("asks who a user is by %q, and what he may do by %q", a, z)
	}
	if o.Runtime.Parallelism != clusterParallelism {
		t.Errorf("starts %d pods at the same time", o.Runtime.Parallelism)
	}
	o = parse(t, "--data-dir", "d", "--bind-address=127.0.0.1", "--pod-start-parallelism=3", "--service-namespace=there")
	if o.Serving.BindAddress.String() != "127.0.0.1" || o.Runtime.Parallelism != 3 || o.Cluster.ServiceHosts()[0] != "arl-apiserver.there.svc" {
		t.Errorf("what was given is not kept: %s, %d, %v", o.Serving.BindAddress, o.Runtime.Parallelism, o.Cluster.ServiceHosts())
	}
}
