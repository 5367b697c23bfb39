package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-base/metrics/testutil"
	"k8s.io/utils/ptr"
)

// maxRetries is far above what informers with a growing delay try in the time
// of a test, and far below what a busy loop would.
const maxRetries = 200

// TestLostKey starts a server without the key of what is stored. It must say
// so wherever it is asked, do everything else, and be well once it has the key
// again or the objects are gone.
func TestLostKey(t *testing.T) {
	t.Parallel()
	key, other := encryptionKey("key-1"), encryptionKey("key-2")
	s := encryptedServer(t)
	s.encrypt(t, aesgcm(key))
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	n.CreatePool(hostPool("lost", 0))
	n.CreateSandbox(sandboxOf("lost", "missing"))
	s.mustStop(t)

	s.encrypt(t, aesgcm(other))
	s.mustStartUnready(t)
	eventually(t, "readiness says why", func(ctx context.Context) error {
		said := fmt.Sprint(s.get(ctx, s.config, "/readyz/scheduler"))
		for _, words := range []string{"cannot read the stored warmpools", "/registry/arl.io/warmpools/default/lost",
			"cannot read the stored sandboxes", "no matching key"} {
			if !strings.Contains(said, words) {
				return fmt.Errorf("no %q in %q", words, said)
			}
		}
		return nil
	})
	if err := s.get(t.Context(), s.config, "/readyz"); err == nil {
		t.Error("the server is ready")
	}
	n.wantUnreadable("lost")
	created := n.CreatePool(hostPool("new", 0))
	if got, err := n.Pools().Get(t.Context(), "new", getNow); err != nil || got.UID != created.UID {
		t.Errorf("what is written with the new key: %v, %v", got, err)
	}
	s.mustStop(t)

	// Nothing of this has harmed what was stored.
	s.encrypt(t, aesgcm(other, key))
	s.mustStart(t)
	if _, err := n.Sandboxes().Get(t.Context(), "lost", getNow); err != nil {
		t.Error(err)
	}
	s.mustStop(t)

	s.encrypt(t, aesgcm(other))
	s.mustStartUnready(t)
	unsafely := metav1.DeleteOptions{IgnoreStoreReadErrorWithClusterBreakingPotential: ptr.To(true)}
	if err := n.Pools().Delete(t.Context(), "new", unsafely); err == nil {
		t.Error("an object that can be read was deleted by the way for those that cannot")
	}
	// The scheduler may have written what it could read with the new key meanwhile.
	for what, remove := range map[string]func(context.Context, string, metav1.DeleteOptions) error{
		"pool": n.Pools().Delete, "sandbox": n.Sandboxes().Delete,
	} {
		err := remove(t.Context(), "lost", unsafely)
		if err != nil && strings.Contains(err.Error(), "decodable") {
			err = remove(t.Context(), "lost", deleteNow)
		}
		if err != nil {
			t.Errorf("delete the %s: %v", what, err)
		}
	}
	eventually(t, "ready once the objects are gone", func(ctx context.Context) error { return s.get(ctx, s.config, "/readyz") })
	if n := strings.Count(string(mustRead(t, s.LogFile())), "Failed to watch"); n > maxRetries {
		t.Errorf("the scheduler tried %d times to read what cannot be read", n)
	}
}

// wantUnreadable fails unless a pool that is there cannot be read, listed,
// deleted, updated or created again.
func (n *tenant) wantUnreadable(pool string) {
	n.T.Helper()
	ctx := n.T.Context()
	_, getErr := n.Pools().Get(ctx, pool, getNow)
	_, listErr := n.Pools().List(ctx, everything)
	_, updateErr := n.Pools().Update(ctx, hostPool(pool, 1), updateNow)
	for verb, err := range map[string]error{
		"get": getErr, "list": listErr, "update": updateErr, "delete": n.Pools().Delete(ctx, pool, deleteNow),
	} {
		var status apierrors.APIStatus
		if !errors.As(err, &status) || status.Status().Code != http.StatusInternalServerError {
			n.T.Errorf("%s of an object that cannot be decrypted: %v, want an internal error", verb, err)
			continue
		}
		wantWords(n.T, err.Error(), "no matching key was found")
	}
	wantWords(n.T, fmt.Sprint(listErr), "/registry/arl.io/warmpools/default/"+pool)
	if _, err := n.Pools().Create(ctx, hostPool(pool, 0), createNow); !apierrors.IsAlreadyExists(err) {
		n.T.Errorf("create in place of an object that cannot be decrypted: %v", err)
	}
}

// TestEncryptionReload changes the configuration of a running server, first to
// one that is no good. The server looks at the file once a minute.
func TestEncryptionReload(t *testing.T) {
	t.Parallel()
	first, second := encryptionKey("key-1"), encryptionKey("key-2")
	s := encryptedServer(t, "--encryption-provider-config-automatic-reload")
	s.encrypt(t, aesgcm(first))
	s.mustStart(t)
	n := tenantIn(t, s, "default")
	n.CreatePool(hostPool("before", 0))

	mustWrite(t, s.encryptionFile(), []byte("kind: nonsense"))
	eventually(t, "the bad file is counted", func(ctx context.Context) error { return s.reloads(ctx, "failure") })
	wantWords(t, string(mustRead(t, s.LogFile())), "error processing encryption config file "+s.encryptionFile())
	n.CreatePool(hostPool("meanwhile", 0))
	if _, err := n.Pools().Get(t.Context(), "before", getNow); err != nil {
		t.Errorf("after a bad file the old one no longer holds: %v", err)
	}
	if err := s.get(t.Context(), s.config, "/readyz"); err != nil {
		t.Errorf("after a bad file: %v", err)
	}

	s.encrypt(t, aesgcm(second, first))
	eventually(t, "the good file is counted", func(ctx context.Context) error { return s.reloads(ctx, "success") })
	n.CreatePool(hostPool("after", 0))
	found := s.searchStorage(t, "warmpools/default/beforek8s:enc:aesgcm:v1:key-1:", "warmpools/default/meanwhilek8s:enc:aesgcm:v1:key-1:",
		"warmpools/default/afterk8s:enc:aesgcm:v1:key-2:", "warmpools/default/afterk8s:enc:aesgcm:v1:key-1:")
	if got := len(found["warmpools/default/afterk8s:enc:aesgcm:v1:key-1:"]); got != 0 {
		t.Errorf("after the reload an object was written by the old key")
	}
	delete(found, "warmpools/default/afterk8s:enc:aesgcm:v1:key-1:")
	for record, files := range found {
		if len(files) == 0 {
			t.Errorf("%q is in no file", record)
		}
	}
	s.mustStop(t)
}

// reloads returns nil if the server has counted a reload that ended so.
func (s *server) reloads(ctx context.Context, status string) error {
	const name = "apiserver_encryption_config_controller_automatic_reloads_total"
	samples, err := s.scrape(ctx)
	if err != nil {
		return err
	}
	for _, sample := range samples[name] {
		if string(sample.Metric["status"]) == status && sample.Value > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s is %v", name, samples[name])
}

// scrape returns the server's metrics.
func (s *server) scrape(ctx context.Context) (testutil.Metrics, error) {
	text, err := s.body(ctx, s.config, "/metrics")
	if err != nil {
		return nil, err
	}
	samples := testutil.NewMetrics()
	return samples, testutil.ParseMetrics(text, &samples)
}
