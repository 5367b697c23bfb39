package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const etcdURL = "http://127.0.0.1:2379"

func (c *Cluster) startEtcd(ctx context.Context) error {
	p, err := c.spawn("etcd", c.programs["etcd"],
		"--name=e2e", "--data-dir="+filepath.Join(c.run, "etcd"),
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=e2e=http://127.0.0.1:2380")
	if err != nil {
		return err
	}
	return p.until(ctx, "is healthy", func(ctx context.Context) error {
		return healthy(ctx, c.HTTPClient(), etcdURL+"/health")
	})
}

func (c *Cluster) startAPIServer(ctx context.Context) error {
	pki := c.pki.path
	p, err := c.spawn("kube-apiserver", c.programs["kube-apiserver"],
		"--etcd-servers="+etcdURL,
		"--advertise-address="+NodeIP, "--bind-address=0.0.0.0", "--secure-port=6443",
		"--service-cluster-ip-range="+serviceRange,
		"--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--client-ca-file="+pki("ca.crt"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+pki("sa.pub"), "--service-account-signing-key-file="+pki("sa.key"),
		// Requests for other API servers go to the addresses of their pods.
		"--enable-aggregator-routing=true",
		"--requestheader-client-ca-file="+pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+pki("front-proxy.crt"), "--proxy-client-key-file="+pki("front-proxy.key"),
		"--kubelet-client-certificate="+pki("apiserver-kubelet.crt"), "--kubelet-client-key="+pki("apiserver-kubelet.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true")
	if err != nil {
		return err
	}
	config, err := c.RESTConfig(Admin)
	if err != nil {
		return err
	}
	client, err := httpClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return p.until(ctx, "is ready", func(ctx context.Context) error {
		return healthy(ctx, client, APIServerURL+"/readyz")
	})
}

// startControllers starts the clients of the API server that make it a cluster.
// They elect no leader: each is alone, and elections are noise in etcd.
func (c *Cluster) startControllers(ctx context.Context) error {
	for name, args := range map[string][]string{
		"kube-controller-manager": {
			"--service-account-private-key-file=" + c.pki.path("sa.key"), "--root-ca-file=" + c.pki.path("ca.crt"),
			"--cluster-signing-cert-file=" + c.pki.path("ca.crt"), "--cluster-signing-key-file=" + c.pki.path("ca.key"),
			"--use-service-account-credentials=true", "--controllers=*",
			// A quota of a kind that the controller learns of later is counted at the next round only,
			// which is 5 minutes away by default.
			"--resource-quota-sync-period=15s",
		},
		"kube-scheduler": nil,
	} {
		config, err := c.Kubeconfig("system:" + name)
		if err != nil {
			return err
		}
		args = append(args, "--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
			"--leader-elect=false")
		if _, err := c.spawn(name, c.programs[name], args...); err != nil {
			return err
		}
	}
	for name, port := range map[string]string{"kube-controller-manager": "10257", "kube-scheduler": "10259"} {
		p, err := c.named(name)
		if err != nil {
			return err
		}
		client := c.insecureClient()
		err = p.until(ctx, "is healthy", func(ctx context.Context) error {
			return healthy(ctx, client, "https://127.0.0.1:"+port+"/healthz")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// RestartAPIServer kills kube-apiserver with SIGKILL, starts it again and
// waits until it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	if err := c.kill("kube-apiserver"); err != nil {
		return err
	}
	return c.startAPIServer(ctx)
}

func (c *Cluster) kill(name string) error {
	p, err := c.named(name)
	if err != nil {
		return err
	}
	return p.signal(unix.SIGKILL)
}

// healthy returns an error unless a URL answers with 200.
func healthy(ctx context.Context, client *http.Client, url string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", url, response.Status, body)
	}
	return nil
}
