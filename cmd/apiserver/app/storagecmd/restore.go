package storagecmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/storage/kv"
)

type restore struct {
	place
	clock    clock.PassiveClock
	input    string
	bump     int64
	progress bool
}

func newRestore(layout Layout) *cobra.Command {
	r := &restore{place: place{layout: layout}, clock: clock.RealClock{}}
	cmd := &cobra.Command{
		Use:   "restore --input FILE --data-dir DIR",
		Short: "Make a new database of a backup",
		Long: `Make a new database of a backup.

The database goes to DIR/` + layout.Storage + `, which must be missing or empty: nothing is ever
overwritten. Move a damaged database away first; what verify and backup
--offline can still read of it may be worth keeping. The server must be stopped.

Every object has its content and resourceVersion as in the backup. Objects that
were made after it are gone, and deleted ones are back.

The revision of the database is raised, by --revision-bump and at least to the
microseconds since 1970, because the database that was lost went on after the
backup: resource versions that it gave out must never come to mean something
else, however often the same backup is restored. All history counts as
compacted. So every informer and watch that was running gets 410 Expired, lists
again, and has exactly the restored objects, without a restart.

Certificates are no part of a backup. If DIR/` + layout.PKI + ` is still there, all kubeconfigs
go on working; if not, the server makes new ones and clients need the new
kubeconfig. If the server encrypts objects, it needs the keys of the time of the
backup. Sandboxes that were in use fail, as their containers are gone or are
not those of the backup; pools fill anew.

The backup is checked to its last byte before anything counts as restored. After
an error DIR is as it was. When the command is killed, the server refuses to
start on what it left, and the same command can be run again.`,
		Example: `  # stop the server, then
  mv ./arl-data/storage ./arl-data/storage.damaged
  arl-apiserver storage restore --input arl.backup --data-dir ./arl-data
  arl-apiserver --standalone --data-dir ./arl-data

  # from a compressed backup
  zcat /backup/arl-2030-01-31.gz | arl-apiserver storage restore --input - --data-dir /var/lib/arl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	r.addFlag(cmd, "The data directory to restore into. Made if missing. Required.")
	cmd.Flags().StringVarP(&r.input, "input", "i", "", "The backup; - is standard input. Required.")
	cmd.Flags().Int64Var(&r.bump, "revision-bump", kv.DefaultBump,
		"By how much the revision is raised at least: more than there were writes between the backup and the loss.")
	cmd.Flags().BoolVar(&r.progress, "progress", false, "Say on standard error how far it is, even if that is no terminal.")
	return cmd
}

func (r *restore) run(cmd *cobra.Command) (err error) {
	dir, err := r.storage()
	if err != nil {
		return err
	}
	if r.bump < 1 {
		return fmt.Errorf("--revision-bump: must be at least 1, is %d", r.bump)
	}
	in, err := openInput(cmd, r.input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	p := newProgress(cmd.ErrOrStderr(), "restoring", r.progress)
	info, err := kv.Restore(cmd.Context(), in, dir, kv.RestoreOptions{
		Bump: r.bump, AtLeast: r.clock.Now().UnixMicro(), Progress: p.report,
	})
	p.end()
	if err != nil {
		return r.explainRestore(dir, err)
	}
	r.report(cmd.OutOrStdout(), dir, info)
	return nil
}

// openInput opens a backup to be read.
func openInput(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	switch name {
	case "":
		return nil, errors.New("--input: must be given: a backup file, or - for standard input")
	case "-":
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	return file, nil
}

func (r *restore) explainRestore(dir string, err error) error {
	switch {
	case errors.Is(err, kv.ErrNotEmpty):
		return fmt.Errorf("%w\nIf the database there is not needed: stop the server, 'mv %s %s.old', and restore again", err, dir, dir)
	case errors.Is(err, kv.ErrBackup), errors.Is(err, kv.ErrFormat):
		return fmt.Errorf("%s: %w\nNothing has been restored, and %s is as it was. Take another backup", inputName(r.input), err, dir)
	case errors.Is(err, kv.ErrNoSpace):
		return fmt.Errorf("%w\nNothing has been restored. Free some space, or choose another --data-dir", err)
	}
	return r.explain(err)
}

func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

// report says what there is now and what to do next.
func (r *restore) report(out io.Writer, dir string, info kv.RestoreInfo) {
	fmt.Fprintf(out, "restored %d objects of revision %d into %s\n", info.Backup.Keys, info.Backup.Revision, dir)
	fmt.Fprintf(out, "the database is at revision %d; watches of before get 410 Expired and list again\n", info.Revision)
	certificates := "its certificates are still there, so all kubeconfigs go on working"
	if _, err := os.Stat(filepath.Join(filepath.Dir(dir), r.layout.PKI, "ca.crt")); err != nil {
		certificates = "it will make new certificates: clients need the new " + filepath.Join(r.dir, r.layout.Kubeconfig)
	}
	fmt.Fprintf(out, "next, start the server, with the flags it had: %s\n  arl-apiserver --standalone --data-dir %s\n", certificates, r.dir)
}
