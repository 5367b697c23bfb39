package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/test/e2e/cluster"
)

// TestServerDown takes our server away for a while. Nothing else of the
// cluster may suffer, and when it is back, all is as it was.
func TestServerDown(t *testing.T) {
	n := newTenant(t)
	k := n.kubectl()
	n.FillPool(cappedPool("pool", 1))
	before := n.ReadySandbox("kept", "pool")

	begin := time.Now()
	scaleServer(t, 0)
	t.Logf("our server was gone after %s", since(begin))
	// Whatever happens here, the other tests need the server.
	back := false
	defer func() {
		if !back {
			scaleServer(t, 1)
		}
	}()
	eventually(t, "kube-apiserver answers for us that we are not there", func(ctx context.Context) error {
		_, err := n.Sandboxes().List(ctx, everything)
		if !apierrors.IsServiceUnavailable(err) {
			return errors.Join(errors.New("the answer is not that the service is unavailable"), err)
		}
		return nil
	})
	begin = time.Now()
	_, err := n.Sandboxes().Create(t.Context(), sandboxOf("new", "pool"), createNow)
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a create got %v, want that the service is unavailable", err)
	}
	t.Logf("a create was refused after %s: %v", since(begin), err)
	for _, args := range [][]string{words("get", "sandboxes"), words("get", "--raw", "/apis/arl.io/v1alpha1/namespaces/"+n.Namespace+"/sandboxes")} {
		begin = time.Now()
		complaint := k.Fail("", args)
		t.Logf("kubectl %s gave up after %s: %s", args, since(begin), complaint)
	}
	begin = time.Now()
	k.Run(words("get", "configmaps", "-o", "name"), "configmap/kube-root-ca.crt")
	k.Run(words("get", "pods", "-o", "name"), "pod/"+before.Status.PodName)
	t.Logf("kubectl get configmaps and pods took %s meanwhile", since(begin))

	begin = time.Now()
	scaleServer(t, 1)
	back = true
	awaitServed(t)
	t.Logf("our server was served again %s after it was asked for", since(begin))
	if after := n.AwaitSandbox("kept", v1alpha1.SandboxReady); after.Status.PodUID != before.Status.PodUID {
		t.Errorf("the sandbox had the pod %s and now has %s", before.Status.PodUID, after.Status.PodUID)
	}
	if got := n.Output("kept", "cat "+markFile); got != markText {
		t.Errorf("its pod printed %q", got)
	}
}

// scaleServer sets how many servers there are, and for none waits until it is gone.
func scaleServer(t *testing.T, replicas int) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	_, err := shared.Kubectl(ctx, cluster.Admin, "scale", "statefulset", serverName, "-n", systemNamespace, fmt.Sprintf("--replicas=%d", replicas))
	if err != nil {
		t.Fatal(err)
	}
	if replicas > 0 {
		return
	}
	admin := clientOf(t, cluster.Admin)
	eventually(t, "the server is gone", func(ctx context.Context) error {
		_, err := admin.CoreV1().Pods(systemNamespace).Get(ctx, serverPodName, getNow)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("its pod is there"), err)
	})
}
