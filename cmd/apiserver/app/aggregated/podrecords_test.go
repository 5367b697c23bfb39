package aggregated

import (
	"context"
	"maps"
	"strings"
	"testing"

	"arl.io/arl/pkg/podruntime/kube"
)

// mapNotes are notes in memory.
type mapNotes map[string][]byte

func (m mapNotes) List(prefix string) (map[string][]byte, error) {
	found := map[string][]byte{}
	for key, value := range maps.All(m) {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			found[rest] = value
		}
	}
	return found, nil
}

func (m mapNotes) Put(_ context.Context, key string, value []byte) error {
	m[key] = value
	return nil
}

func (m mapNotes) Delete(_ context.Context, key string) error {
	delete(m, key)
	return nil
}

func TestPodRecords(t *testing.T) {
	records := podRecords{mapNotes{}}
	load := func() ([]kube.Record, bool) {
		t.Helper()
		found, complete, err := records.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found, complete
	}
	if found, complete := load(); len(found) != 0 || complete {
		t.Errorf("at first there are %+v, complete %t", found, complete)
	}
	want := kube.Record{
		Namespace: "team", Name: "pod", UID: "uid", Pool: "pool", PoolUID: "pool-uid", TemplateHash: "hash", WorkDir: "/w", Container: "c", Images: "i",
	}
	for _, record := range []kube.Record{want, {UID: "other"}} {
		if err := records.Add(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	if err := records.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := records.Remove(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if found, complete := load(); len(found) != 1 || found[0] != want || !complete {
		t.Errorf("there are %+v, complete %t", found, complete)
	}
	if err := records.notes.Put(t.Context(), podRecordsPrefix+"bad", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := records.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("a record that cannot be read: %v", err)
	}
}
