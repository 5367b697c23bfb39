package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"arl.io/arl/test/space"
)

// clientOf returns a client of Kubernetes' own kinds.
func clientOf(t *testing.T, user string) *kubernetes.Clientset {
	t.Helper()
	client, err := shared.Client(user)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newNamespace makes a namespace that is deleted at the end of the test, and waits
// until pods can be made in it.
func newNamespace(t *testing.T, admin kubernetes.Interface, prefix string) string {
	t.Helper()
	namespace, err := admin.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leaveNamespace(t, admin, namespace.Name) })
	eventually(t, "the default account is there", func(ctx context.Context) error {
		_, err := admin.CoreV1().ServiceAccounts(namespace.Name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return namespace.Name
}

// startWebPod runs a pod that serves homeText on port 8080, and waits until it does.
func startWebPod(t *testing.T, admin kubernetes.Interface, namespace, name string) *corev1.Pod {
	t.Helper()
	grace := int64(1)
	begin := time.Now()
	pod, err := admin.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "web", Image: testImage, ImagePullPolicy: corev1.PullNever,
				Command: []string{"sh", "-c", "printf '" + homeText + "' >/tmp/index.html && exec httpd -f -p 8080 -h /tmp"},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod answers", func(ctx context.Context) error {
		if pod, err = admin.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if pod.Status.PodIP == "" {
			return fmt.Errorf("the pod is %s: %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return check("http://"+pod.Status.PodIP+":8080/", homeText)
	})
	t.Logf("pod %s/%s answered %s after it was created", namespace, name, since(begin))
	return pod
}

// waits are those for what happens in the cluster.
var (
	waits      = space.Waiter{Patience: patience, Pause: poll}
	eventually = waits.Eventually
	until      = waits.Until
)

// get returns what a URL inside the cluster answers.
func get(t *testing.T, url string) string {
	t.Helper()
	body, err := fetch(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// check returns an error unless a URL inside the cluster answers as wanted.
func check(url, want string) error {
	body, err := fetch(url)
	if err == nil && body != want {
		err = fmt.Errorf("%s answered %q, want %q", url, body, want)
	}
	return err
}

func fetch(url string) (string, error) {
	client := shared.HTTPClient()
	client.Timeout = 5 * time.Second
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %s", url, response.Status, body)
	}
	return string(body), nil
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(time.Millisecond) }

// awaitReadyPod waits until a pod's node has reported that the pod is ready.
func awaitReadyPod(t *testing.T, core kubernetes.Interface, namespace, name string) (pod *corev1.Pod) {
	t.Helper()
	eventually(t, "pod "+name+" is reported to be ready", func(ctx context.Context) (err error) {
		pod, err = core.CoreV1().Pods(namespace).Get(ctx, name, getNow)
		if err == nil && !podReady(pod) {
			err = fmt.Errorf("it is %s: %s", pod.Status.Phase, podTrouble(pod))
		}
		return err
	})
	return pod
}
