// Package registry tests the API server in this process: the whole way of a
// request through the generic API server, the registry and the storage on disk,
// with the generated client. There is no scheduler; pods come from an allocator
// of the tests.
//
// Every test starts a server of its own, which is stopped and joined at its
// end. Read server_test.go first.
package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/apiserver"
	"arl.io/arl/pkg/generated/clientset/versioned"
	client "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

const (
	namespace = "default"
	// deadline is how long anything here may take on a busy machine.
	deadline = 60 * time.Second
)

// server is a running API server.
type server struct {
	config *rest.Config
	client.ArlV1alpha1Interface
}

// start runs a server until the end of the test, which runs in parallel with
// others from here on.
func start(t *testing.T, extra apiserver.Extra) *server {
	t.Helper()
	t.Parallel()
	config := apiserver.NewConfig("v0.0.0-test")
	config.Extra = extra
	config.GenericConfig.RESTOptionsGetter = openStorage(t)
	listen(t, config.GenericConfig)
	generic, err := config.Complete().New()
	if err != nil {
		t.Fatal(err)
	}
	run(t, generic)

	loopback := rest.CopyConfig(config.GenericConfig.LoopbackClientConfig)
	loopback.QPS = -1
	return &server{config: loopback, ArlV1alpha1Interface: connect(t, loopback)}
}

// openStorage opens a database of its own for the test.
func openStorage(t *testing.T) generic.RESTOptionsGetter {
	t.Helper()
	db, err := kv.Open(t.TempDir(), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	codec, err := apiserver.StorageCodec(v1alpha1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	getter, err := bolt.NewRESTOptionsGetter(bolt.RESTOptionsConfig{
		Backend:        bolt.Backend{DB: db},
		Codec:          codec,
		StorageVersion: v1alpha1.SchemeGroupVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	return getter
}

// certificate is the servers', made once because making keys takes long.
var certificate = sync.OnceValues(func() (dynamiccertificates.SNICertKeyContentProvider, error) {
	const name = genericapiserver.LoopbackClientServerNameOverride
	cert, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
	if err != nil {
		return nil, err
	}
	return dynamiccertificates.NewStaticSNICertKeyContent("test", cert, key, name)
})

// listen lets the loopback client in and nobody else.
func listen(t *testing.T, config *genericapiserver.RecommendedConfig) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	config.SecureServing = &genericapiserver.SecureServingInfo{
		Listener: listener,
		Cert:     cert,
		SNICerts: []dynamiccertificates.SNICertKeyContentProvider{cert},
	}
	pem, _ := cert.CurrentCertKeyContent()
	if config.LoopbackClientConfig, err = config.SecureServing.NewLoopbackClientConfig("secret", pem); err != nil {
		t.Fatal(err)
	}
	// The loopback client's token is added to this.
	config.Authentication.Authenticator = authenticator.RequestFunc(
		func(*http.Request) (*authenticator.Response, bool, error) { return nil, false, nil })
	config.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
}

func run(t *testing.T, server *genericapiserver.GenericAPIServer) {
	t.Helper()
	prepared := server.PrepareRun()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- prepared.RunWithContext(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the server ended with: %v", err)
			}
		case <-time.After(deadline):
			t.Error("the server did not stop")
		}
	})
}

func pool(name string) *v1alpha1.WarmPool {
	p := &v1alpha1.WarmPool{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.Template.Spec.Containers = []corev1.Container{{Name: "executor", Image: "busybox:1"}}
	return p
}

func sandbox(name, pool string) *v1alpha1.Sandbox {
	return &v1alpha1.Sandbox{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.SandboxSpec{PoolRef: pool},
	}
}

func task(name, sandbox string) *v1alpha1.Task {
	return &v1alpha1.Task{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.TaskSpec{
			SandboxRef: sandbox,
			Steps:      []v1alpha1.TaskStep{{Name: "one", Type: v1alpha1.StepCommand, Command: []string{"true"}}},
		},
	}
}

// with returns a client of the same server that hands its warnings to w.
func (s *server) with(t *testing.T, w *recorder) client.ArlV1alpha1Interface {
	t.Helper()
	config := rest.CopyConfig(s.config)
	config.WarningHandler = w
	return connect(t, config)
}

// connect returns a client whose connections are closed before the server is
// stopped, which would wait a second for them to go idle.
func connect(t *testing.T, config *rest.Config) client.ArlV1alpha1Interface {
	t.Helper()
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := versioned.NewForConfigAndClient(config, transport)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(transport.Transport) })
	return clients.ArlV1alpha1()
}

// recorder keeps warnings.
type recorder struct {
	mu       sync.Mutex
	warnings []string
}

func (r *recorder) HandleWarningHeader(_ int, _, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, text)
}

// taken returns the warnings since it was called last.
func (r *recorder) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.warnings
	r.warnings = nil
	return got
}

// decode reads one object of any kind that the server speaks.
func decode(raw []byte, into runtime.Object) error {
	_, _, err := apiserver.Codecs.UniversalDeserializer().Decode(raw, nil, into)
	return err
}
