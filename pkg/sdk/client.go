package sdk

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"arl.io/arl/pkg/generated/clientset/versioned"
	arlv1alpha1 "arl.io/arl/pkg/generated/clientset/versioned/typed/arl/v1alpha1"
)

// Connect returns a client for the server that kubectl would talk to: that of
// $KUBECONFIG, else of ~/.kube/config, else, inside a pod, of its cluster with the
// pod's service account. It makes no request. If there is no configuration, or
// a broken one, it returns an error.
func Connect() (versioned.Interface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the server: %w: name a kubeconfig in $KUBECONFIG "+
			"(a standalone server writes one into its data directory), or use NewClient with an address", err)
	}
	return NewClient(config)
}

// NewClient returns a client for a configuration, for instance of an address
// and a token, which is not changed. What it leaves open is set for programs that
// make many sessions: no rate limit on this side, where client-go's would be 5
// requests a second, and the shortest encoding.
func NewClient(config *rest.Config) (versioned.Interface, error) {
	config = rest.CopyConfig(config)
	if config.QPS == 0 && config.RateLimiter == nil {
		config.QPS = -1
	}
	if config.ContentType == "" && config.AcceptContentTypes == "" {
		config.ContentType = runtime.ContentTypeProtobuf
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", config.Host, err)
	}
	return client, nil
}

// api are the clients of one namespace.
type api struct {
	pools     arlv1alpha1.WarmPoolInterface
	sandboxes arlv1alpha1.SandboxInterface
	tasks     arlv1alpha1.TaskInterface
}

func newAPI(client versioned.Interface, namespace string) api {
	group := client.ArlV1alpha1()
	return api{pools: group.WarmPools(namespace), sandboxes: group.Sandboxes(namespace), tasks: group.Tasks(namespace)}
}
