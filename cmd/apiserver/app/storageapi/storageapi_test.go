package storageapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/mux"

	"arl.io/arl/pkg/storage/kv"
)

func openDB(t *testing.T) *kv.DB {
	t.Helper()
	db, err := kv.Open(t.TempDir(), kv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func put(t *testing.T, db *kv.DB, key string, size int) {
	t.Helper()
	if _, err := db.Apply(t.Context(), kv.Op{Key: key, Value: bytes.Repeat([]byte("v"), size)}); err != nil {
		t.Fatal(err)
	}
}

// serve serves a handler over HTTP/2, as the real server does.
func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, s *httptest.Server, path string) *http.Response {
	t.Helper()
	response, err := s.Client().Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestInstalledPaths(t *testing.T) {
	db := openDB(t)
	put(t, db, "/registry/arl.io/tasks/default/a", 100)
	put(t, db, "/registry/arl.io/tasks/default/b", 100)
	put(t, db, "/registry/arl.io/warmpools/default/a", 10)
	put(t, db, "/elsewhere", 1)
	paths := mux.NewPathRecorderMux("test")
	Install(paths, db)
	s := serve(t, paths)

	response := get(t, s, StatsPath)
	var got Stats
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Revision != 5 || got.Objects != 4 || got.DatabaseID != db.ID() || got.LogFileBytes == 0 {
		t.Errorf("statistics are %+v", got)
	}
	want := []ResourceStats{
		{Resource: "/elsewhere", Objects: 1, Bytes: 11},
		{Resource: "tasks.arl.io", Objects: 2, Bytes: 264},
		{Resource: "warmpools.arl.io", Objects: 1, Bytes: 46},
	}
	if diff := cmp.Diff(want, got.Resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}

	info, err := kv.CheckBackup(t.Context(), get(t, s, BackupPath).Body, nil)
	if err != nil || info.Keys != 4 || info.Revision != 5 {
		t.Errorf("the backup is %+v: %v", info, err)
	}
	for _, path := range []string{StatsPath, BackupPath} {
		response, err := s.Client().Post(s.URL+path, "text/plain", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %s", path, response.Status)
		}
	}
}

func TestLongRunning(t *testing.T) {
	check := LongRunning(func(_ *http.Request, info *request.RequestInfo) bool { return info.Verb == "watch" })
	for _, tt := range []struct {
		info request.RequestInfo
		want bool
	}{
		{request.RequestInfo{Path: BackupPath, Verb: "get"}, true},
		{request.RequestInfo{Path: StatsPath, Verb: "get"}, false},
		{request.RequestInfo{Path: "/apis/arl.io", Verb: "watch", IsResourceRequest: true}, true},
		{request.RequestInfo{Path: BackupPath, Verb: "get", IsResourceRequest: true}, false},
	} {
		if got := check(nil, &tt.info); got != tt.want {
			t.Errorf("%+v: %t, want %t", tt.info, got, tt.want)
		}
	}
}

// TestStalledBackupEnds has a client read nothing of a backup that is larger
// than all buffers on the way: it is cut off, and gives its turn back.
func TestStalledBackupEnds(t *testing.T) {
	db := openDB(t)
	for i := range 40 {
		put(t, db, fmt.Sprintf("/large/%d", i), 1<<20)
	}
	h := &backupHandler{db: db, turns: make(chan struct{}, 1), stallTimeout: 100 * time.Millisecond}
	s := serve(t, http.HandlerFunc(h.serve))

	stalled := get(t, s, BackupPath)
	h.turns <- struct{}{} // once that has ended
	if refused := get(t, s, BackupPath); refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") == "" {
		t.Errorf("a backup too many: %s, want 429 with Retry-After", refused.Status)
	}
	<-h.turns
	if _, err := kv.CheckBackup(t.Context(), stalled.Body, nil); err == nil {
		t.Error("the rest of a backup that was cut off passed as whole")
	}
	if _, err := io.Copy(io.Discard, stalled.Body); err == nil {
		t.Error("a client that knows nothing of backups is not told that it was cut off")
	}
	h.stallTimeout = time.Minute
	info, err := kv.CheckBackup(t.Context(), get(t, s, BackupPath).Body, nil)
	if err != nil || info.Keys != 40 {
		t.Errorf("the next backup is %+v: %v", info, err)
	}
}
