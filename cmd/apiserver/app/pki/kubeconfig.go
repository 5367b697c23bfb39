package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeconfigName is the file in the data directory that kubectl is pointed at.
const KubeconfigName = "kubeconfig"

// WriteKubeconfig writes a user's kubeconfig into dir, whole and readable by its
// owner alone, and returns its path. Certificates are embedded, so the file can
// be carried elsewhere. authorities are those of the server, PEM.
func WriteKubeconfig(dir, server string, authorities []byte, user Pair) (string, error) {
	var content [2][]byte
	for i, file := range []string{user.CertFile, user.KeyFile} {
		bytes, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("write kubeconfig: %w", err)
		}
		content[i] = bytes
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["arl"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: authorities}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: content[0], ClientKeyData: content[1]}
	config.Contexts["arl"] = &clientcmdapi.Context{Cluster: "arl", AuthInfo: "admin", Namespace: "default"}
	config.CurrentContext = "arl"

	encoded, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("encode kubeconfig: %w", err)
	}
	path := filepath.Join(dir, KubeconfigName)
	if err := ReplaceFile(path, encoded); err != nil {
		return "", err
	}
	return path, nil
}
