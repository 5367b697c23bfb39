package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
	"arl.io/arl/pkg/generated/clientset/versioned"
	"arl.io/arl/pkg/sdk"
)

const namespace = "default"

// Options of requests that ask for nothing special.
var (
	getNow    = metav1.GetOptions{}
	updateNow = metav1.UpdateOptions{}
)

// waiting returns a context for what must happen within the test's patience.
func waiting(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// poolOf makes a pool of at most so many pods, and waits for them.
func poolOf(t *testing.T, client versioned.Interface, name string, pods int32) {
	t.Helper()
	pool := sdk.NewPool(name, "image", pods)
	pool.Spec.MaxPods = ptr.To(max(pods, 1))
	createPool(t, client, pool)
	if _, err := sdk.NewPools(client, namespace).WaitReady(waiting(t), name); err != nil {
		t.Fatal(err)
	}
}

// createPool makes a pool that goes at the test's end.
func createPool(t *testing.T, client versioned.Interface, pool *v1alpha1.WarmPool) {
	t.Helper()
	pools := sdk.NewPools(client, namespace)
	if _, err := pools.Create(waiting(t), pool); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pools.Delete(context.Background(), pool.Name); err != nil {
			t.Error(err)
		}
	})
}

// newSession makes a session that is closed at the test's end.
func newSession(t *testing.T, client versioned.Interface, pool string, opts ...sdk.Option) *sdk.Session {
	t.Helper()
	session, err := sdk.NewSession(waiting(t), client, pool, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	})
	return session
}

// noSandboxes fails the test if a pool has sandboxes.
func noSandboxes(t *testing.T, client versioned.Interface, pool string) {
	t.Helper()
	if left := sandboxesOf(t, client, pool); len(left) != 0 {
		t.Errorf("there are sandboxes left: %v", left)
	}
}

func sandboxesOf(t *testing.T, client versioned.Interface, pool string) (names []string) {
	t.Helper()
	list, err := client.ArlV1alpha1().Sandboxes(namespace).List(waiting(t), metav1.ListOptions{FieldSelector: "spec.poolRef=" + pool})
	if err != nil {
		t.Fatal(err)
	}
	for _, sandbox := range list.Items {
		names = append(names, sandbox.Name)
	}
	return names
}

// tasksOf returns the names of the tasks of a session that the server has.
func tasksOf(t *testing.T, client versioned.Interface, session *sdk.Session) (names []string) {
	t.Helper()
	list, err := client.ArlV1alpha1().Tasks(namespace).List(waiting(t), metav1.ListOptions{FieldSelector: "spec.sandboxRef=" + session.Name()})
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range list.Items {
		names = append(names, task.Name)
	}
	return names
}

// isGone waits until a session's sandbox is no more.
func isGone(t *testing.T, client versioned.Interface, session *sdk.Session) {
	t.Helper()
	eventually(t, "the sandbox is gone", func() error {
		_, err := client.ArlV1alpha1().Sandboxes(namespace).Get(t.Context(), session.Name(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
}

// outcome is what an Execute in the background returned.
type outcome struct {
	result *sdk.Result
	err    error
}

// start runs a script in the background.
func start(ctx context.Context, session *sdk.Session, script string) <-chan outcome {
	ended := make(chan outcome, 1)
	go func() {
		result, err := session.Run(ctx, script)
		ended <- outcome{result, err}
	}()
	return ended
}

// mustWrite runs a script, which must write just this.
func mustWrite(t *testing.T, session *sdk.Session, script, want string) {
	t.Helper()
	result, err := session.Run(waiting(t), script)
	if err == nil {
		err = result.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	if result.Stdout != want {
		t.Errorf("%q has written %q, want %q", script, result.Stdout, want)
	}
}

// asError returns the error of a type that is in err.
func asError[E error](t *testing.T, err error) (found E) {
	t.Helper()
	if !errors.As(err, &found) {
		t.Fatalf("error %T %v, want a %T", err, err, found)
	}
	return found
}

// wantWords fails unless an error says all of this.
func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in the error: %v", word, err)
		}
	}
}

// touch makes a file in the work directory of a pod.
func touch(t *testing.T, pod, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(here.pods.dir, pod, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// isThere waits for a file in the work directory of a pod.
func isThere(t *testing.T, pod, name string) {
	t.Helper()
	eventually(t, "file "+name, func() error {
		_, err := os.Stat(filepath.Join(here.pods.dir, pod, name))
		return err
	})
}

// anotherAuthority is the certificate of somebody the server does not know.
func anotherAuthority(t *testing.T) []byte {
	t.Helper()
	certificate, _, err := cert.GenerateSelfSignedCertKey("elsewhere", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
