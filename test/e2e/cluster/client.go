package cluster

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Admin is the user who may do anything. Every other one may do only what RBAC
// grants.
const Admin = "admin"

// groupsOf are the groups of users that a cluster knows by name.
func groupsOf(user string, groups []string) []string {
	if user == Admin {
		return append([]string{"system:masters"}, groups...)
	}
	return groups
}

// Kubeconfig writes a kubeconfig for a user of some groups and returns its
// path. Its address can be reached from inside only: by Exec and Kubectl.
func (c *Cluster) Kubeconfig(user string, groups ...string) (string, error) {
	cert, key, err := c.pki.ca.sign(subject{user: user, groups: groupsOf(user, groups)})
	if err != nil {
		return "", fmt.Errorf("make a certificate for %s: %w", user, err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["e2e"] = &clientcmdapi.Cluster{Server: APIServerURL, CertificateAuthorityData: c.pki.ca.pem}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: user}
	config.CurrentContext = "e2e"
	dir := filepath.Join(c.run, "kubeconfig")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the folder of kubeconfigs: %w", err)
	}
	file := filepath.Join(dir, user)
	if err := replaceKubeconfig(file, config); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return file, nil
}

// replaceKubeconfig writes a kubeconfig in place of one that may be being read.
func replaceKubeconfig(file string, config *clientcmdapi.Config) error {
	content, err := clientcmd.Write(*config)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err = errors.Join(err, next.Close()); err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return os.Rename(next.Name(), file)
}

// RESTConfig is that of a user of some groups, for clients in the test's own
// process. It has no rate limit.
func (c *Cluster) RESTConfig(user string, groups ...string) (*rest.Config, error) {
	cert, key, err := c.pki.ca.sign(subject{user: user, groups: groupsOf(user, groups)})
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", user, err)
	}
	return &rest.Config{
		Host:            APIServerURL,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.pki.ca.pem, CertData: cert, KeyData: key},
		Dial:            c.DialContext,
		QPS:             -1,
	}, nil
}

// Client is a client of Kubernetes' own kinds for a user of some groups.
func (c *Cluster) Client(user string, groups ...string) (*kubernetes.Clientset, error) {
	config, err := c.RESTConfig(user, groups...)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// HTTPClient reaches pods and Services by their addresses. It keeps no connection open.
func (c *Cluster) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.DialContext, DisableKeepAlives: true}}
}

// httpClientFor is a client with a user's certificate, for paths that are no resources.
func httpClientFor(config *rest.Config) (*http.Client, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return client, nil
}

// insecureClient reaches the health checks of programs that make up their own certificates.
func (c *Cluster) insecureClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: c.DialContext, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // only health is asked, on a private network
	}}
}

// Shell is a command that opens a shell inside the cluster, as the admin, with
// kubectl and ctr set up. It works as long as the cluster runs.
func (c *Cluster) Shell() (string, error) {
	config, err := c.Kubeconfig(Admin)
	if err != nil {
		return "", err
	}
	tools := filepath.Join(c.run, "bin")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of tools: %w", err)
	}
	if err := os.Symlink(c.programs["kubectl"], filepath.Join(tools, "kubectl")); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("name kubectl: %w", err)
	}
	return fmt.Sprintf("nsenter --target=%d --pid --mount --net env KUBECONFIG=%s PATH=%s:$PATH CONTAINERD_NAMESPACE=k8s.io %s",
		c.ns.holder.Process.Pid, config, tools, "bash"), nil
}
