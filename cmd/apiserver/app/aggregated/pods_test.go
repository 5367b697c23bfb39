package aggregated

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	testclock "k8s.io/utils/clock/testing"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/cmd/apiserver/app/pki"
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
		if err := pki.Renew(m.renewal()...); err != nil {
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

// TestRenewalStepsAreIndependent damages the files of one authority after the other: what does not
// depend on them is renewed all the same, and agents are shown certificates by every authority.
func TestRenewalStepsAreIndependent(t *testing.T) {
	for _, damaged := range []string{servingDir, agentsDir} {
		t.Run(damaged, func(t *testing.T) {
			o := options.New()
			o.DataDir = t.TempDir()
			dir := filepath.Join(o.DataDir, "pki")
			clk := testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			m, err := New(o, dir, clk)
			if err != nil {
				t.Fatal(err)
			}
			if err := pki.Renew(m.renewal()...); err != nil {
				t.Fatal(err)
			}
			before := m.credentials.Load().Certificates[0].Leaf
			clk.Step(360 * 24 * time.Hour) // certificates near their end, the authorities do not
			if err := os.WriteFile(filepath.Join(dir, damaged, "1", "ca.crt"), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
			err = pki.Renew(m.renewal()...)
			if err == nil || !strings.Contains(err.Error(), filepath.Join(damaged, "1", "ca.crt")) {
				t.Errorf("got error %v, want one that names the damaged file", err)
			}
			after := m.credentials.Load().Certificates[0].Leaf
			if !after.NotAfter.After(before.NotAfter) {
				t.Errorf("the certificate for agents ends on %s as before", after.NotAfter)
			}
			pair, err := m.servingPair()
			if err != nil {
				t.Fatal(err)
			}
			serving, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
			if err != nil {
				t.Fatal(err)
			}
			if !serving.Leaf.NotAfter.After(before.NotAfter) {
				t.Errorf("the serving certificate ends on %s as before", serving.Leaf.NotAfter)
			}
		})
	}
}

// TestUnreadableCertificateStaysInUse has a certificate's renewal end half way, as on a full disk: what
// is in use goes on until it expires.
func TestUnreadableCertificateStaysInUse(t *testing.T) {
	o := options.New()
	o.DataDir = t.TempDir()
	dir := filepath.Join(o.DataDir, "pki")
	clk := testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	m, err := New(o, dir, clk)
	if err != nil {
		t.Fatal(err)
	}
	before := m.credentials.Load().Certificates
	key := filepath.Join(dir, agentsDir, "1", "server.key")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(key, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := m.loadCredentials(); err == nil {
		t.Error("no error says that the certificate cannot be renewed")
	}
	after := m.credentials.Load().Certificates
	if len(after) != len(before) || !after[0].Leaf.Equal(before[0].Leaf) {
		t.Errorf("%d certificates are in use, want the one of before", len(after))
	}
}
