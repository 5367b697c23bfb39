package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"arl.io/arl/test/e2e/cluster"
)

// What our manifests install, by name.
const (
	systemNamespace = "arl-system"
	serverName      = "arl-apiserver" // of the StatefulSet and the Service
	serverPodName   = serverName + "-0"
	apiServiceName  = "v1alpha1.arl.io"
	// overlay is kustomize's: our manifests with the image of the tests.
	overlay = "testdata/deploy"
)

// productImage is the name that "make e2e" gives the product's image. Its file
// is named by the environment.
const (
	productImage = "arl.io/arl:e2e"
	productFile  = "ARL_IMAGE"
)

// deployed installs the product, once for all tests that want it.
var deployed = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := deploy(ctx); err != nil {
		return fmt.Errorf("install the product: %w", err)
	}
	return nil
})

// importProduct gives the product's image to the node.
var importProduct = sync.OnceValue(func() error {
	file := os.Getenv(productFile)
	if file == "" {
		return fmt.Errorf("%s does not name the archive of the product's image: run the tests by make e2e", productFile)
	}
	return shared.ImportImage(context.Background(), file)
})

// deploy does what the README tells a user of a cluster to do, and waits until
// the API is served.
func deploy(ctx context.Context) error {
	if err := importProduct(); err != nil {
		return err
	}
	if err := shared.AddVolume(ctx, "arl-data", resource.MustParse("20Gi"), false); err != nil {
		return err
	}
	dir, err := filepath.Abs(overlay)
	if err != nil {
		return err
	}
	begin := time.Now()
	out, err := shared.Kubectl(ctx, cluster.Admin, "apply", "-k", dir)
	if err != nil {
		return err
	}
	fmt.Print(out)
	admin, err := shared.Client(cluster.Admin)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = until(ctx, func(ctx context.Context) error { return errors.Join(served(ctx, admin), aggregated(ctx, admin)) })
	if err != nil {
		return fmt.Errorf("wait until the API is served: %w\n%s", err, serverState(context.WithoutCancel(ctx)))
	}
	fmt.Printf("the API was served %s after the manifests were applied\n", since(begin))
	return nil
}

// served returns an error unless the server's pod is ready, its APIService is
// available, and kube-apiserver gets an answer from it.
func served(ctx context.Context, admin kubernetes.Interface) error {
	pod, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, serverPodName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if pod.DeletionTimestamp != nil {
		return errors.New("the server's pod is being deleted")
	}
	if !podReady(pod) {
		return fmt.Errorf("the server's pod is %s: %s", pod.Status.Phase, podTrouble(pod))
	}
	if err := available(ctx, admin); err != nil {
		return err
	}
	return admin.CoreV1().RESTClient().Get().AbsPath("/apis/arl.io/v1alpha1/namespaces/default/warmpools").Do(ctx).Error()
}

// apiService is what these tests want to know of one.
type apiService struct {
	Spec   struct{ CABundle []byte }
	Status struct {
		Conditions []struct{ Type, Status, Reason, Message string }
	}
}

// registration is our APIService as it is now.
func registration(ctx context.Context, admin kubernetes.Interface) (service apiService, err error) {
	content, err := admin.CoreV1().RESTClient().Get().
		AbsPath("/apis/apiregistration.k8s.io/v1/apiservices/" + apiServiceName).Do(ctx).Raw()
	if err != nil {
		return service, err
	}
	if err := json.Unmarshal(content, &service); err != nil {
		return service, fmt.Errorf("decode the APIService: %w", err)
	}
	return service, nil
}

// available returns an error unless the APIService is available.
func available(ctx context.Context, admin kubernetes.Interface) error {
	service, err := registration(ctx, admin)
	if err != nil {
		return err
	}
	for _, condition := range service.Status.Conditions {
		if condition.Type == "Available" && condition.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("the APIService is not available: %+v", service.Status.Conditions)
}

// aggregated returns an error unless the built-in roles have taken up what ours
// add to them, which the controller of roles does after they were made.
func aggregated(ctx context.Context, admin kubernetes.Interface) error {
	for _, name := range []string{"admin", "edit", "view"} {
		role, err := admin.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		found := false
		for _, rule := range role.Rules {
			found = found || strings.Contains(strings.Join(rule.APIGroups, " "), "arl.io")
		}
		if !found {
			return fmt.Errorf("the role %s has no rule for arl.io", name)
		}
	}
	return nil
}

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// podTrouble is what a pod's status says is wrong, in short.
func podTrouble(pod *corev1.Pod) string {
	var found []string
	for _, condition := range pod.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			found = append(found, fmt.Sprintf("%s: %s %s", condition.Type, condition.Reason, condition.Message))
		}
	}
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if state := status.State; state.Waiting != nil {
			found = append(found, fmt.Sprintf("%s waits: %s %s", status.Name, state.Waiting.Reason, state.Waiting.Message))
		} else if state.Terminated != nil {
			found = append(found, fmt.Sprintf("%s ended: %s %s", status.Name, state.Terminated.Reason, state.Terminated.Message))
		}
	}
	return strings.Join(found, "; ")
}

// awaitServed waits until the API is served by the pod that runs now.
func awaitServed(t *testing.T) {
	t.Helper()
	admin := clientOf(t, cluster.Admin)
	eventually(t, "the API is served", func(ctx context.Context) error { return served(ctx, admin) })
}

// serverPod is the server's pod as it is now.
func serverPod(t *testing.T) *corev1.Pod {
	t.Helper()
	pod, err := clientOf(t, cluster.Admin).CoreV1().Pods(systemNamespace).Get(t.Context(), serverPodName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// serverState is the state of the installation and the end of the server's
// logs, for somebody who looks for the cause of a failure.
func serverState(ctx context.Context) string {
	var text strings.Builder
	for _, args := range [][]string{
		{"get", "all,pvc,events", "-n", systemNamespace, "-o", "wide"},
		{"get", "apiservice", apiServiceName, "-o", "yaml"},
		{"logs", "-n", systemNamespace, serverPodName, "--previous", "--tail=30"},
		{"logs", "-n", systemNamespace, serverPodName, "--tail=60"},
	} {
		out, err := shared.Kubectl(ctx, cluster.Admin, args...)
		fmt.Fprintf(&text, "$ kubectl %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			fmt.Fprintln(&text, err)
		}
	}
	return text.String()
}
