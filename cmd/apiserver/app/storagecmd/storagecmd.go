// Package storagecmd is "arl-apiserver storage": the commands that look after a
// server's database. backup and stats ask a running server, or read the files
// of a stopped one; restore, verify and compact work on files.
//
// Each command is one file. What they do is in package kv; here are flags,
// files and words. Nothing here outlives its command.
package storagecmd

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"arl.io/arl/pkg/storage/kv"
)

// Layout names what is where in a data directory.
type Layout struct {
	// Storage is the folder of the database, PKI that of the certificates, and
	// Kubeconfig the file that clients use.
	Storage, PKI, Kubeconfig string
}

// New returns the storage command.
func New(layout Layout) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Back up, restore, verify and compact a server's database",
		Long: `Back up, restore, verify and compact a server's database.

  backup    while the server runs: a consistent copy of all objects in one file
  restore   a new database from such a file
  verify    is everything in order, and if not: what, and where
  compact   give the disk space back that deleted objects have left
  stats     how much there is of what

A server that finds its database damaged refuses to start and says what is
wrong. verify then says it all, and restore is the way back.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newBackup(layout), newRestore(layout), newVerify(layout), newCompact(layout), newStats(layout))
	return cmd
}

// place is the data directory that a command works on.
type place struct {
	layout Layout
	dir    string
}

func (p *place) addFlag(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVar(&p.dir, "data-dir", "", usage)
}

// storage is the folder of the database.
func (p *place) storage() (string, error) {
	if p.dir == "" {
		return "", errors.New("--data-dir: must be given, for instance --data-dir ./arl-data")
	}
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		return "", fmt.Errorf("--data-dir: %w", err)
	}
	return filepath.Join(dir, p.layout.Storage), nil
}

// explain adds to an error of package kv what to do about it.
func (p *place) explain(err error) error {
	switch {
	case errors.Is(err, kv.ErrLocked):
		return fmt.Errorf("a server, or another storage command, uses %s: stop it first: %w", p.dir, err)
	case errors.Is(err, kv.ErrCorrupt):
		return fmt.Errorf("%w\nRun 'arl-apiserver storage verify --data-dir %s' to see all that is wrong; 'arl-apiserver storage restore --help' says how to go back to a backup", err, p.dir)
	}
	return err
}

// humanBytes is a size for people.
func humanBytes(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
