package bolt

import (
	"bytes"
	"crypto/aes"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/example"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"

	"arl.io/arl/pkg/storage/kv"
)

func newGCM(t *testing.T, key string) value.Transformer {
	t.Helper()
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := aestransformer.NewGCMTransformer(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm
}

func TestEncryptionBindsValuesToKeys(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Transformer = newGCM(t, "0123456789abcdef") })
	pod := f.mustCreate(t, "ns", "secret-name")
	entry, _ := f.db.Snapshot().Get(podKey(pod))
	stored, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, []byte("secret-name")) {
		t.Error("the value is stored in clear")
	}
	w := f.mustWatch(t, watchAll("1", false))
	if got := nextEvent(t, w).Object.(*example.Pod).Name; got != pod.Name {
		t.Errorf("the watch shows %q", got)
	}
	f.mustLabel(t, pod, "a", "b")

	if _, err := f.db.Apply(t.Context(), kv.Op{Key: "/pods/ns/moved", Value: stored}); err != nil {
		t.Fatal(err)
	}
	if err := f.Get(t.Context(), "/pods/ns/moved", storage.GetOptions{}, &example.Pod{}); !storage.IsInternalError(err) {
		t.Errorf("a value that was moved to another key can be read: %v", err)
	}
}

func TestKeysOfEncryptionThatDoNotFit(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Transformer = newGCM(t, "0123456789abcdef") })
	f.mustCreate(t, "ns", "a")
	for name, transformer := range map[string]value.Transformer{
		"another key": newGCM(t, "fedcba9876543210"),
		"none":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := podConfig(f.db)
			c.Transformer = transformer
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Get(t.Context(), "/pods/ns/a", storage.GetOptions{}, &example.Pod{}); err == nil {
				t.Error("the object can be read")
			}
			again := &example.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
			if err := s.Create(t.Context(), "/pods/ns/a", again, nil, 0); !storage.IsExist(err) {
				t.Errorf("an object that cannot be read was created again: %v", err)
			}
		})
	}
}
