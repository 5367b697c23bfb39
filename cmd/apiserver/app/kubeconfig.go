package app

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"arl.io/arl/cmd/apiserver/app/pki"
)

// kubeconfigName is the file in the data directory that kubectl is pointed at.
const kubeconfigName = "kubeconfig"

// writeKubeconfig writes the admin's kubeconfig, whole and readable by its
// owner alone. Certificates are embedded, so the file can be carried elsewhere.
func writeKubeconfig(dataDir, server, caFile string, admin pki.Pair) (string, error) {
	config := clientcmdapi.NewConfig()
	content := map[string][]byte{}
	for _, file := range []string{caFile, admin.CertFile, admin.KeyFile} {
		bytes, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("write kubeconfig: %w", err)
		}
		content[file] = bytes
	}
	config.Clusters["arl"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: content[caFile]}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: content[admin.CertFile],
		ClientKeyData:         content[admin.KeyFile],
	}
	config.Contexts["arl"] = &clientcmdapi.Context{Cluster: "arl", AuthInfo: "admin", Namespace: "default"}
	config.CurrentContext = "arl"

	encoded, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("encode kubeconfig: %w", err)
	}
	path := filepath.Join(dataDir, kubeconfigName)
	if err := pki.ReplaceFile(path, encoded); err != nil {
		return "", err
	}
	return path, nil
}
