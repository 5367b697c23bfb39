// Package storageapi serves what the storage commands ask a running server
// for: a backup and statistics, under non-resource paths. Whoever may use them
// is decided, and audited, by the generic server's chain of handlers, as for
// every other path.
//
// It starts no goroutines. Read backup.go for what bounds a backup.
package storageapi

import (
	"encoding/json"
	"net/http"

	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/klog/v2"

	"arl.io/arl/pkg/storage/kv"
)

// Paths of the server. Only GET is answered.
const (
	BackupPath = "/storage/backup"
	StatsPath  = "/storage/stats"
)

// Install has the paths of a database served.
func Install(m *mux.PathRecorderMux, db *kv.DB) {
	m.Handle(BackupPath, newBackupHandler(db))
	m.Handle(StatsPath, getOnly(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(StatsOf(db)); err != nil {
			klog.FromContext(r.Context()).V(2).Info("Statistics were not sent", "err", err)
		}
	}))
}

// LongRunning adds the backup to what takes as long as it takes: it is neither
// cut by the request timeout nor counted among the requests in flight.
func LongRunning(next request.LongRunningRequestCheck) request.LongRunningRequestCheck {
	return func(r *http.Request, info *request.RequestInfo) bool {
		return !info.IsResourceRequest && info.Path == BackupPath || next(r, info)
	}
}

func getOnly(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
			return
		}
		handler(w, r)
	}
}
