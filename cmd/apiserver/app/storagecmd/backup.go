package storagecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"

	"arl.io/arl/cmd/apiserver/app/storageapi"
	"arl.io/arl/pkg/storage/kv"
)

// toStdout is the file name that stands for standard output.
const toStdout = "-"

type backup struct {
	source
	clock    clock.PassiveClock
	output   string
	progress bool
}

func newBackup(layout Layout) *cobra.Command {
	b := &backup{source: source{place: place{layout: layout}}, clock: clock.RealClock{}}
	cmd := &cobra.Command{
		Use:   "backup (--data-dir DIR | --kubeconfig FILE) --output FILE",
		Short: "Write all objects of a running server to one file",
		Long: `Write all objects of a running server to one file.

The backup shows one single revision: what is written while it is taken is not
in it. The server answers it from memory. No request waits for it, and a slow
client or disk slows nobody; one that takes nothing for a minute is cut off.
Two backups may be under way at a time, a third gets 429.

The file gets its name when it is whole, checked to its last byte and on disk:
until then it is FILE.partial. A FILE that exists is replaced at that moment,
never before. When the server or the connection dies, the command fails, and
no FILE is left, or the one of before.

You need what you need to administer the server: a kubeconfig of a user who may
GET ` + storageapi.BackupPath + `. Objects that the server encrypts are encrypted in the
backup: keep the keys, and not in the same place.

A backup has the objects of the API. It has no certificates, no kubeconfig and
nothing of containers: copy the folder DIR/` + layout.PKI + ` once, if clients are to go on
with the kubeconfigs they have after the loss of the whole directory.

With a stopped server, --offline reads the files in --data-dir, which it does
not change.`,
		Example: `  # to a file
  arl-apiserver storage backup --data-dir ./arl-data --output arl.backup

  # every night, compressed, the last 14 kept by something else
  arl-apiserver storage backup --data-dir /var/lib/arl --output - | gzip > /backup/arl-$(date +%F).gz

  # of a server that is stopped, or does not start any more
  arl-apiserver storage backup --data-dir ./arl-data --offline --output arl.backup`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	b.addFlags(cmd)
	cmd.Flags().StringVarP(&b.output, "output", "o", "", "The file to write; - is standard output. Required.")
	cmd.Flags().BoolVar(&b.progress, "progress", false, "Say on standard error how far it is, even if that is no terminal.")
	return cmd
}

func (b *backup) run(cmd *cobra.Command) error {
	if err := b.validate(); err != nil {
		return err
	}
	if b.output == "" {
		return errors.New("--output: must be given: a file, or - for standard output")
	}
	start := b.clock.Now()
	p := newProgress(cmd.ErrOrStderr(), "backing up", b.progress)
	var info kv.BackupInfo
	write := func(w io.Writer) (err error) {
		defer p.end()
		if b.offline {
			info, err = b.fromFiles(cmd.Context(), w, p.report)
		} else {
			info, err = b.fromServer(cmd.Context(), w, p.report)
		}
		return err
	}
	var err error
	if b.output == toStdout {
		err = write(cmd.OutOrStdout())
	} else {
		err = writeFile(b.output, write)
	}
	if err != nil {
		return err
	}
	// With the backup on standard output, words go to the other.
	out := cmd.OutOrStdout()
	if b.output == toStdout {
		out = cmd.ErrOrStderr()
	}
	fmt.Fprintf(out, "backed up revision %d: %d objects, %s in %.1f seconds, sha256 %s\n",
		info.Revision, info.Keys, humanBytes(info.Size), b.clock.Since(start).Seconds(), info.SHA256)
	return nil
}

// fromServer copies the backup of a running server, and checks it meanwhile.
func (b *backup) fromServer(ctx context.Context, w io.Writer, report func(kv.BackupProgress)) (info kv.BackupInfo, err error) {
	body, err := b.get(ctx, storageapi.BackupPath)
	if err != nil {
		return kv.BackupInfo{}, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	copied := &copyError{w: w}
	info, err = kv.CheckBackup(ctx, io.TeeReader(body, copied), report)
	switch {
	case copied.err != nil:
		return kv.BackupInfo{}, fmt.Errorf("write the backup: %w", copied.err)
	case err != nil && ctx.Err() == nil:
		return kv.BackupInfo{}, fmt.Errorf("the backup has not come whole; has the server been stopped? Take another: %w", err)
	}
	return info, err
}

// copyError tells a failure to write apart from one to read.
type copyError struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (c *copyError) Write(p []byte) (n int, err error) {
	n, err = c.w.Write(p)
	c.err = err
	return n, err
}

func (b *backup) fromFiles(ctx context.Context, w io.Writer, report func(kv.BackupProgress)) (info kv.BackupInfo, err error) {
	dir, err := b.storage()
	if err != nil {
		return kv.BackupInfo{}, err
	}
	database, err := kv.ReadOffline(dir)
	if errors.Is(err, kv.ErrLocked) {
		return kv.BackupInfo{}, fmt.Errorf("a server runs on %s: leave --offline out, so that it is asked: %w", b.dir, err)
	}
	if err != nil {
		return kv.BackupInfo{}, b.explain(err)
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	return database.Backup(ctx, w, report)
}

// writeFile gives the file its name when write has succeeded and all is on disk.
func writeFile(path string, write func(io.Writer) error) (err error) {
	partial := path + ".partial"
	file, err := createLocked(partial)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	renamed := false
	defer func() {
		err = errors.Join(err, file.Close())
		if !renamed {
			err = errors.Join(err, os.Remove(partial))
		}
	}()
	if err := write(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if err := os.Rename(partial, path); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	renamed = true
	return syncFolder(path)
}
