package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/options"
	"arl.io/arl/pkg/storage/kv"
	storagemetrics "arl.io/arl/pkg/storage/metrics"
)

const (
	// lockPatience is how long a start waits for the database to be free. A
	// server that was killed while it started a program leaves the lock to that
	// program's process for the moment until it is the program.
	lockPatience = 5 * time.Second
	lockPoll     = 50 * time.Millisecond
	// lowSpaceGrace is several times what it takes to end a pod and remove its files.
	lowSpaceGrace = 10 * time.Second
)

// database is the opened database and what counts its work.
type database struct {
	*kv.DB
	metrics *storagemetrics.Metrics
}

// openStorage opens the database of the data directory, alone.
func openStorage(ctx context.Context, o *options.Options) (*database, error) {
	metrics, err := storagemetrics.New(serverRegistry{})
	if err != nil {
		return nil, err
	}
	db, err := openWhenFree(ctx, clock.RealClock{}, filepath.Join(o.DataDir, storageDir), kv.Options{
		MinFreeBytes: uint64(o.Storage.MinFree.Value()),
		// Meanwhile a pod that fills the disk is found and ended.
		LowSpaceGrace: lowSpaceGrace,
		Logger:        slog.New(logr.ToSlogHandler(klog.FromContext(ctx).WithName("storage"))),
		OnCommit:      metrics.Commit,
		Now:           clock.RealClock{}.Now,
	})
	switch {
	case errors.Is(err, kv.ErrLocked):
		return nil, fmt.Errorf("another server uses %s: stop it, or give this one a --data-dir of its own: %w", o.DataDir, err)
	case errors.Is(err, kv.ErrCorrupt):
		return nil, fmt.Errorf("open the database: %w: 'arl-apiserver storage verify --data-dir %s' shows all that is wrong, "+
			"'arl-apiserver storage restore --help' says how to go back to a backup", err, o.DataDir)
	case err != nil:
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &database{DB: db, metrics: metrics}, nil
}

// openWhenFree opens a database. It retries for lockPatience while another
// process holds the lock.
func openWhenFree(ctx context.Context, clk clock.WithTicker, dir string, o kv.Options) (db *kv.DB, err error) {
	err = whenFree(ctx, clk, func() (err error) {
		db, err = kv.Open(dir, o)
		return err
	})
	return db, err
}

// lockStorage takes the lock of the data directory's database and leaves the
// database closed, so that no server starts meanwhile and a damaged database
// does not matter. Without a database there is nothing to lock.
func lockStorage(ctx context.Context, clk clock.WithTicker, dataDir string) (unlock func() error, err error) {
	err = whenFree(ctx, clk, func() (err error) {
		unlock, err = kv.Lock(filepath.Join(dataDir, storageDir))
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return func() error { return nil }, nil
	case errors.Is(err, kv.ErrLocked):
		return nil, fmt.Errorf("a server uses %s: stop it first: %w", dataDir, err)
	}
	return unlock, err
}

// whenFree calls take until the lock that it needs is free, for lockPatience at most.
func whenFree(ctx context.Context, clk clock.WithTicker, take func() error) error {
	begin := clk.Now()
	ticker := clk.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		err := take()
		if !errors.Is(err, kv.ErrLocked) || clk.Since(begin) >= lockPatience {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C():
		}
	}
}
