package aggregated

import (
	"crypto/x509"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	testclock "k8s.io/utils/clock/testing"

	"arl.io/arl/cmd/apiserver/app/options"
)

func TestAgentImage(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "arl-system", Name: "arl-apiserver-0"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "proxy", Image: "proxy:1"},
			{Name: "apiserver", Image: "arl:1", ImagePullPolicy: corev1.PullNever},
		}},
	}
	stranger := pod.DeepCopy()
	stranger.Name, stranger.Spec.Containers[1].Name = "stranger", "main"
	tests := []struct {
		name          string
		pod           string
		image, policy string
		want          string
		wantPolicy    corev1.PullPolicy
		wantErr       string
	}{
		{name: "own pod", pod: pod.Name, want: "arl:1", wantPolicy: corev1.PullNever},
		{name: "policy given", pod: pod.Name, policy: "Always", want: "arl:1", wantPolicy: corev1.PullAlways},
		{name: "image given", pod: "gone", image: "other:2", want: "other:2"},
		{name: "no such pod", pod: "gone", wantErr: "give --agent-image"},
		{name: "no such container", pod: "stranger", wantErr: `has no container "apiserver"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options.New()
			o.Cluster.PodName, o.Cluster.PodNamespace = tt.pod, pod.Namespace
			o.Cluster.Pods.AgentImage, o.Cluster.Pods.AgentImagePullPolicy = tt.image, tt.policy
			m := &Mode{options: o, client: fake.NewClientset(pod, stranger)}
			image, policy, err := m.agentImage(t.Context())
			if image != tt.want || policy != tt.wantPolicy {
				t.Errorf("got %q, %q", image, policy)
			}
			if got := err == nil; got != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %v, want an error with %q", err, tt.wantErr)
			}
		})
	}
}

// TestCredentialsOutliveAnAuthority runs for decades: what is shown to agents is
// always valid, and agents that know the former authority alone still accept one.
func TestCredentialsOutliveAnAuthority(t *testing.T) {
	o := options.New()
	o.DataDir = t.TempDir()
	clk := testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	m, err := New(o, filepath.Join(o.DataDir, "pki"), clk)
	if err != nil {
		t.Fatal(err)
	}
	authorities := map[string]bool{}
	for range 25 * 12 {
		known := m.credentials.Load().Authorities
		clk.Step(30 * 24 * time.Hour)
		if err := m.renew(); err != nil {
			t.Fatal(err)
		}
		credentials := m.credentials.Load()
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(known)
		accepted := 0
		for _, c := range credentials.Certificates {
			authorities[c.Leaf.Issuer.CommonName] = true
			_, err := c.Leaf.Verify(x509.VerifyOptions{
				Roots: roots, CurrentTime: clk.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})
			if err == nil {
				accepted++
			}
		}
		if accepted == 0 {
			t.Fatalf("on %s no certificate is accepted by the agents of a month ago", clk.Now())
		}
	}
	if len(authorities) < 3 {
		t.Errorf("in 25 years there were %d authorities", len(authorities))
	}
}
