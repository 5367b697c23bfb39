package wire

// Names of the files that "arl-agent prepare" leaves in its directory, for
// "arl-agent serve" to read.
const (
	AgentFile    = "arl-agent"
	CertFile     = "tls.crt"
	KeyFile      = "tls.key"
	ClientCAFile = "client-ca.crt"
)

// ClientCAVariable is the environment variable in which "arl-agent prepare"
// finds the certificate authorities of clients, PEM.
const ClientCAVariable = "ARL_CLIENT_CA"

// Identity is what "arl-agent prepare" tells of the key it has made, as JSON.
// The key itself never leaves the pod. Whoever gets the Identity by a way that can be
// trusted knows the agent by it.
type Identity struct {
	// PublicKeySHA256 is the SHA-256 sum of the public key, as a SubjectPublicKeyInfo in DER.
	PublicKeySHA256 []byte `json:"publicKeySHA256"`
}
