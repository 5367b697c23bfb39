package app

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"arl.io/arl/pkg/storage/bolt"
	"arl.io/arl/pkg/storage/kv"
)

// TestNotes are durable, and apart from the objects of the API.
func TestNotes(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	n := notes{db}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			for _, value := range []string{"first", "second"} {
				if err := n.Put(t.Context(), "pods/shared", []byte(value)); err != nil {
					t.Error(err)
				}
			}
			own := fmt.Sprint("pods/", i)
			if err := n.Put(t.Context(), own, []byte("x")); err != nil {
				t.Error(err)
			}
			if i > 0 {
				for range 2 { // what is gone can be deleted again
					if err := n.Delete(t.Context(), own); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	if err := n.Put(t.Context(), "other", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(notesPrefix, bolt.DefaultPrefix) {
		t.Errorf("%s is among the objects of the API", notesPrefix)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := kv.Open(dir, kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	found, err := notes{again}.List("pods/")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if !slices.Equal(keys, []string{"0", "shared"}) || string(found["0"]) != "x" {
		t.Errorf("found %q", found)
	}
}
