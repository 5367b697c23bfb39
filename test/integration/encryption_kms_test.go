package integration

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	kmsv2 "k8s.io/kms/apis/v2"
)

// kmsPlugin is a key management plugin with a key of its own, which survives
// its restarts.
type kmsPlugin struct {
	kmsv2.UnimplementedKeyManagementServiceServer
	socket string
	key    cipher.AEAD
	server *grpc.Server
	ended  chan error
}

var _ kmsv2.KeyManagementServiceServer = (*kmsPlugin)(nil)

// startKMS starts a plugin that is stopped at the test's end.
func startKMS(t *testing.T) *kmsPlugin {
	t.Helper()
	dir, err := os.MkdirTemp("", "arl-kms-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // it never fails
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	p := &kmsPlugin{socket: filepath.Join(dir, "kms.sock")}
	if p.key, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	t.Cleanup(func() {
		p.stop(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *kmsPlugin) start(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	p.server, p.ended = grpc.NewServer(), make(chan error, 1)
	kmsv2.RegisterKeyManagementServiceServer(p.server, p)
	go func(server *grpc.Server, ended chan<- error) { ended <- server.Serve(listener) }(p.server, p.ended)
}

// stop ends the plugin if it runs.
func (p *kmsPlugin) stop(t *testing.T) {
	t.Helper()
	if p.server == nil {
		return
	}
	p.server.Stop()
	p.server = nil
	if err := <-p.ended; err != nil {
		t.Errorf("the KMS plugin: %v", err)
	}
}

// Status implements KeyManagementServiceServer.
func (p *kmsPlugin) Status(context.Context, *kmsv2.StatusRequest) (*kmsv2.StatusResponse, error) {
	return &kmsv2.StatusResponse{Version: "v2", Healthz: "ok", KeyId: "key-of-the-test"}, nil
}

// Encrypt implements KeyManagementServiceServer.
func (p *kmsPlugin) Encrypt(_ context.Context, r *kmsv2.EncryptRequest) (*kmsv2.EncryptResponse, error) {
	return &kmsv2.EncryptResponse{Ciphertext: p.key.Seal(nil, nil, r.Plaintext, nil), KeyId: "key-of-the-test"}, nil
}

// Decrypt implements KeyManagementServiceServer.
func (p *kmsPlugin) Decrypt(_ context.Context, r *kmsv2.DecryptRequest) (*kmsv2.DecryptResponse, error) {
	plain, err := p.key.Open(nil, nil, r.Ciphertext, nil)
	return &kmsv2.DecryptResponse{Plaintext: plain}, err
}

// TestKMS encrypts by a plugin, and takes the plugin away: from a server that
// runs, which goes on with what it knows, and from one that starts, which waits.
func TestKMS(t *testing.T) {
	t.Parallel()
	plugin := startKMS(t)
	s := encryptedServer(t, "--storage-retention=200ms")
	s.encrypt(t, apiserverv1.ProviderConfiguration{KMS: &apiserverv1.KMSConfiguration{
		APIVersion: "v2", Name: "test", Endpoint: "unix://" + plugin.socket, Timeout: &metav1.Duration{Duration: 3 * time.Second},
	}})
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	const canary = "canary-in-kms"
	pool := hostPool("stored", 0)
	pool.Labels = map[string]string{"canary": canary}
	n.awaitCompacted(n.CreatePool(pool).ResourceVersion)
	s.mustStop(t)
	if files := s.searchStorage(t, canary)[canary]; len(files) > 0 {
		t.Errorf("the canary is in %q", files)
	}
	const prefix = "k8s:enc:kms:v2:test:"
	if files := s.searchStorage(t, prefix)[prefix]; len(files) == 0 {
		t.Errorf("%q is nowhere: what has encrypted the object?", prefix)
	}

	s.mustStart(t)
	n.wantStored(canary)
	plugin.stop(t)
	eventually(t, "health says that the plugin is away", func(ctx context.Context) error {
		for _, path := range []string{"/readyz", "/healthz", "/readyz/kms-providers"} {
			if err := s.get(ctx, s.config, path); err == nil {
				return fmt.Errorf("%s says ok", path)
			}
		}
		return nil
	})
	if err := s.get(t.Context(), s.config, "/livez"); err != nil {
		t.Errorf("a plugin that is away would have the server restarted: %v", err)
	}
	n.wantStored(canary)
	n.CreatePool(hostPool("while-away", 0))
	s.mustStop(t)

	s.mustStartUnready(t)
	if _, err := n.Pools().Get(t.Context(), "stored", getNow); err == nil {
		t.Error("an object was decrypted without the plugin")
	} else {
		wantWords(t, err.Error(), "data from the storage is not transformable")
	}
	if _, err := n.Pools().Create(t.Context(), hostPool("without-a-key", 0), createNow); err == nil {
		t.Error("an object was encrypted without the plugin")
	}
	if err := s.get(t.Context(), s.config, "/readyz"); err == nil {
		t.Error("a server without its plugin is ready")
	}
	plugin.start(t)
	eventually(t, "ready with the plugin", func(ctx context.Context) error { return s.get(ctx, s.config, "/readyz") })
	n.wantStored(canary)
	s.mustStop(t)
}

// wantStored fails unless the pool that TestKMS has stored can be read.
func (n *tenant) wantStored(label string) {
	n.T.Helper()
	pool, err := n.Pools().Get(n.T.Context(), "stored", getNow)
	if err != nil || pool.Labels["canary"] != label {
		n.T.Errorf("get the stored pool: %+v, %v", pool, err)
	}
}
