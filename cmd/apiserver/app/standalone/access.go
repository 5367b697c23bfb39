package standalone

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	"arl.io/arl/cmd/apiserver/app/listener"
	"arl.io/arl/cmd/apiserver/app/pki"
)

// adminUser is the user of the kubeconfig that a standalone server writes.
const adminUser = "arl-admin"

// servingHosts are the names by which clients on this machine may reach the
// server, and the address it is told to listen on.
func servingHosts(address net.IP) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if bound := address.String(); !address.IsUnspecified() && !slices.Contains(hosts, bound) {
		hosts = append(hosts, bound)
	}
	return hosts
}

// clientAddress is where clients on this machine reach a server that listens on
// the address and port.
func clientAddress(address net.IP, port int) string {
	if address.IsUnspecified() {
		address = net.IPv4(127, 0, 0, 1)
	}
	return net.JoinHostPort(address.String(), strconv.Itoa(port))
}

// listen makes the server serve with the authority's certificate.
func listen(ctx context.Context, config *genericapiserver.Config, serving *genericoptions.SecureServingOptions, pair pki.Pair) error {
	serving.ServerCert.CertKey = genericoptions.CertKey{CertFile: pair.CertFile, KeyFile: pair.KeyFile}
	return listener.Apply(ctx, config, serving)
}

// applyAccess lets in whoever shows a client certificate of the authority, and
// lets the group system:masters do everything. There is no anonymous user and
// no other rule: the server has one owner, the owner of the kubeconfig.
func applyAccess(config *genericapiserver.Config, ca *pki.Authority) error {
	clientCA, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", ca.CAFile())
	if err != nil {
		return fmt.Errorf("load client certificate authority: %w", err)
	}
	if err := config.Authentication.ApplyClientCert(clientCA, config.SecureServing); err != nil {
		return fmt.Errorf("use client certificate authority: %w", err)
	}
	config.Authentication.Authenticator = x509.NewDynamic(clientCA.VerifyOptions, x509.CommonNameUserConversion)
	config.Authorization.Authorizer = authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)
	return nil
}
