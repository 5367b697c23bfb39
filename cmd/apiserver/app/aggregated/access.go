package aggregated

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"

	"arl.io/arl/cmd/apiserver/app/listener"
	"arl.io/arl/cmd/apiserver/app/pki"
)

// adminUser is the user of the kubeconfig in the data directory, and who the
// server is to agents.
const (
	adminUser  = "arl-admin"
	serverUser = "arl-apiserver"
)

// localHost is the name by which the kubeconfig in the data directory reaches the server.
const localHost = "localhost"

// Apply fills in the generic server's config: certificates, the listener, who
// may do what, fairness among users, and admission. It waits for the cluster.
func (m *Mode) Apply(ctx context.Context, config *genericapiserver.RecommendedConfig) error {
	o := m.options
	if err := o.Cluster.CoreAPI.ApplyTo(config); err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	m.config = config.ClientConfig
	m.config.UserAgent = serverUser
	m.config.QPS, m.config.Burst = o.Cluster.QPS, o.Cluster.Burst
	if err := m.connect(ctx); err != nil {
		return err
	}
	if err := m.listen(ctx, &config.Config); err != nil {
		return err
	}
	if err := m.applyAccess(config); err != nil {
		return err
	}
	if err := o.Cluster.Features.ApplyTo(&config.Config, m.client, config.SharedInformerFactory); err != nil {
		return fmt.Errorf("set up priority and fairness: %w", err)
	}
	if err := leaveOutMissing(ctx, m.client.Discovery(), o.Cluster.Admission); err != nil {
		return err
	}
	m.namespaces = config.SharedInformerFactory.Core().V1().Namespaces().Lister()
	o.Cluster.Admission.Decorators = append(o.Cluster.Admission.Decorators, admission.DecoratorFunc(countSandboxesLater))
	err := o.Cluster.Admission.ApplyTo(&config.Config, config.SharedInformerFactory, m.client, m.dynamic,
		utilfeature.DefaultFeatureGate, config.EffectiveVersion, quotas{})
	if err != nil {
		return fmt.Errorf("set up admission: %w", err)
	}
	return m.writeKubeconfig()
}

// listen makes the server serve with its own certificate or one that it was given.
func (m *Mode) listen(ctx context.Context, config *genericapiserver.Config) error {
	serving := m.options.Serving
	pair, err := m.servingPair()
	if err != nil {
		return err
	}
	own := genericoptions.CertKey{CertFile: pair.CertFile, KeyFile: pair.KeyFile}
	if m.certificateGiven {
		// The kubeconfig in the data directory knows our own alone, and comes by this name.
		serving.SNICertKeys = append(serving.SNICertKeys, cliflag.NamedCertKey{
			Names: []string{localHost}, CertFile: own.CertFile, KeyFile: own.KeyFile,
		})
	} else {
		serving.ServerCert.CertKey = own
	}
	if err := listener.Apply(ctx, config, serving); err != nil {
		return err
	}
	m.address = net.JoinHostPort(serving.BindAddress.String(), strconv.Itoa(serving.BindPort))
	return nil
}

// servingPair returns the certificate of our own to serve with.
func (m *Mode) servingPair() (pki.Pair, error) {
	return m.serving.Serving("serving", append(m.options.Cluster.ServiceHosts(), localHost))
}

// applyAccess has the cluster say who a user is and what he may do. The
// kubeconfig in the data directory is good too, also while the cluster's API
// server is away: who can read it can read the database.
func (m *Mode) applyAccess(config *genericapiserver.RecommendedConfig) error {
	cluster := &m.options.Cluster
	err := cluster.Authentication.ApplyTo(&config.Authentication, config.SecureServing, config.OpenAPIConfig)
	if err != nil {
		return fmt.Errorf("set up authentication by the cluster: %w", err)
	}
	if err := cluster.Authorization.ApplyTo(&config.Authorization); err != nil {
		return fmt.Errorf("set up authorization by the cluster: %w", err)
	}
	local, err := dynamiccertificates.NewDynamicCAContentFromFile("local-ca", m.serving.BundleFile())
	if err != nil {
		return fmt.Errorf("load client certificate authority: %w", err)
	}
	if err := config.Authentication.ApplyClientCert(local, config.SecureServing); err != nil {
		return fmt.Errorf("use client certificate authority: %w", err)
	}
	config.Authentication.Authenticator = union.New(
		x509.NewDynamic(local.VerifyOptions, x509.CommonNameUserConversion),
		config.Authentication.Authenticator,
	)
	return nil
}

// writeKubeconfig writes the kubeconfig for maintenance from within the pod.
func (m *Mode) writeKubeconfig() error {
	pairs, err := m.serving.Clients("admin", adminUser, []string{user.SystemPrivilegedGroup})
	if len(pairs) == 0 {
		return err
	}
	bundle, bundleErr := m.serving.Bundle()
	if bundleErr != nil {
		return errors.Join(err, bundleErr)
	}
	server := "https://" + net.JoinHostPort(localHost, strconv.Itoa(m.options.Serving.BindPort))
	_, writeErr := pki.WriteKubeconfig(m.options.DataDir, server, bundle, pairs[0])
	return errors.Join(err, writeErr)
}
