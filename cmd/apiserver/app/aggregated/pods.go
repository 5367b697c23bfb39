package aggregated

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"arl.io/arl/cmd/apiserver/app/modes"
	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/pkg/podruntime/kube"
	"arl.io/arl/pkg/podruntime/kube/tunnel"
)

// container is the name of the server's container in its own pod.
const container = "apiserver"

func (m *Mode) newRuntime(ctx context.Context, notes modes.Notes) (*kube.Runtime, error) {
	pods := m.options.Cluster.Pods
	image, policy, err := m.agentImage(ctx)
	if err != nil {
		return nil, err
	}
	tunneler, err := tunnel.New(m.config)
	if err != nil {
		return nil, err
	}
	return kube.New(kube.Config{
		Client:        m.client,
		Namespaces:    pods.Namespaces,
		Image:         image,
		PullPolicy:    policy,
		Port:          pods.AgentPort,
		NonRoot:       pods.NonRoot,
		StorageLimit:  m.options.Runtime.StorageLimit.Quantity,
		Credentials:   func() (kube.Credentials, error) { return *m.credentials.Load(), nil },
		Records:       podRecords{notes},
		Reach:         kube.Reach(pods.AgentReach),
		Tunneler:      tunneler,
		Parallelism:   m.options.Runtime.Parallelism,
		StartTimeout:  pods.StartTimeout,
		DeleteTimeout: pods.DeleteTimeout,
		Clock:         m.clock,
	})
}

// agentImage returns the image that holds the agent, and how nodes get it: what
// the options say, else that of this server's own pod, which holds both.
func (m *Mode) agentImage(ctx context.Context) (string, corev1.PullPolicy, error) {
	o := m.options.Cluster
	image, policy := o.Pods.AgentImage, corev1.PullPolicy(o.Pods.AgentImagePullPolicy)
	if image != "" {
		return image, policy, nil
	}
	pod, err := m.client.CoreV1().Pods(o.PodNamespace).Get(ctx, o.PodName, metav1.GetOptions{})
	if err != nil {
		return "", "", fmt.Errorf("find the image of this server's own pod, which %s and %s name: %w; or give --agent-image",
			options.PodNamespaceVariable, options.PodNameVariable, err)
	}
	for _, c := range pod.Spec.Containers {
		if c.Name != container {
			continue
		}
		if policy == "" {
			policy = c.ImagePullPolicy
		}
		return c.Image, policy, nil
	}
	return "", "", fmt.Errorf("pod %s/%s has no container %q whose image would hold the agent: give --agent-image",
		pod.Namespace, pod.Name, container)
}

// loadCredentials reads what the server authenticates with to agents. From then on the runtime uses
// the new ones. If some cannot be renewed or read, the certificate in use of that authority stays: it
// is good for a while yet.
func (m *Mode) loadCredentials() error {
	authorities, err := m.agents.Bundle()
	if err != nil {
		return err
	}
	pairs, err := m.agents.Clients("server", serverUser, nil)
	errs := []error{err}
	credentials := &kube.Credentials{Authorities: authorities}
	for _, pair := range pairs {
		certificate, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("load %s: %w", pair.CertFile, err))
			continue
		}
		credentials.Certificates = append(credentials.Certificates, certificate)
	}
	if err = errors.Join(errs...); err != nil {
		credentials.Certificates = append(credentials.Certificates, m.stillInUse(credentials.Certificates)...)
	}
	if len(credentials.Certificates) > 0 {
		m.credentials.Store(credentials)
	}
	return err
}

// stillInUse returns the certificates in use by authorities that have none among the given ones.
func (m *Mode) stillInUse(renewed []tls.Certificate) []tls.Certificate {
	current := m.credentials.Load()
	if current == nil {
		return nil
	}
	var kept []tls.Certificate
	for _, old := range current.Certificates {
		sameIssuer := func(c tls.Certificate) bool { return bytes.Equal(c.Leaf.RawIssuer, old.Leaf.RawIssuer) }
		if m.clock.Now().Before(old.Leaf.NotAfter) && !slices.ContainsFunc(renewed, sameIssuer) {
			kept = append(kept, old)
		}
	}
	return kept
}
