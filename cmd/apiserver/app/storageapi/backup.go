package storageapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/klog/v2"

	"arl.io/arl/pkg/storage/kv"
)

const (
	// maxBackups bounds the backups under way. Each keeps the objects of its
	// revision, in memory or on disk, until its client has taken the last.
	maxBackups = 2
	// stallTimeout is how long a client may take for one piece of a backup.
	// Without it one that is suspended would keep its revision for ever.
	stallTimeout = time.Minute
)

type backupHandler struct {
	db *kv.DB
	// turns is held, by a value in the channel, while a backup is under way.
	turns        chan struct{}
	stallTimeout time.Duration
}

func newBackupHandler(db *kv.DB) http.Handler {
	h := &backupHandler{db: db, turns: make(chan struct{}, maxBackups), stallTimeout: stallTimeout}
	return getOnly(h.serve)
}

// serve streams one backup. It ends when the client has gone. A backup that
// ends early lacks its trailer, and the connection is broken off, so that a
// client that knows nothing of trailers sees it, too.
func (h *backupHandler) serve(w http.ResponseWriter, r *http.Request) {
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d backups are under way: try again when one has ended", maxBackups), http.StatusTooManyRequests)
		return
	}
	logger := klog.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="arl.backup"`)
	info, err := h.db.Backup(r.Context(), &steadyWriter{w, http.NewResponseController(w), h.stallTimeout}, nil)
	if err != nil {
		logger.Info("A backup was not finished", "err", err)
		panic(http.ErrAbortHandler) // net/http's way to break off a response
	}
	logger.Info("Sent a backup", "revision", info.Revision, "objects", info.Keys, "bytes", info.Size)
}

// steadyWriter gives each write so much time.
type steadyWriter struct {
	http.ResponseWriter
	controller *http.ResponseController
	timeout    time.Duration
}

// Write implements io.Writer.
func (w *steadyWriter) Write(p []byte) (int, error) {
	err := w.controller.SetWriteDeadline(time.Now().Add(w.timeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.ResponseWriter.Write(p)
}
