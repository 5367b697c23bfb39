package kv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// DefaultBump is by how much Restore raises the revision at least. The
	// database that was lost went on after the backup, and nobody knows how far:
	// it gave out revisions that clients still remember. None of them may ever
	// stand for something else, so the restored database begins above all of
	// them. A billion is more than ten thousand writes per second make in a
	// day, and nothing beside the 9×10¹⁸ that there are. See also RestoreOptions.AtLeast.
	DefaultBump = 1_000_000_000
	// restoreMark is in the directory while a restore is under way. Without it
	// a restore that was cut short would look like an empty directory, and a
	// server would begin anew in it.
	restoreMark = "restore.incomplete"
	// maxRestored keeps the raised revision far from the end of the numbers.
	maxRestored = math.MaxInt64 / 2
)

// RestoreOptions tune Restore. The zero value is ready for use.
type RestoreOptions struct {
	// Bump is what is added to the backup's revision. 0: DefaultBump. It must
	// be more than the number of writes between the backup and the loss.
	Bump int64
	// AtLeast is what the revision is raised to at least. A bump alone is not
	// enough for the second restore of the same backup, which would begin where
	// the first one did, and reuse what was given out since. A number that grows
	// faster than any database, such as the microseconds of the clock, keeps
	// every restore above all before it. 0: the bump alone.
	AtLeast int64
	// Progress is called now and then. May be nil.
	Progress func(BackupProgress)
	// FreeBytes is that of Options.
	FreeBytes func(dir string) (uint64, error)

	// step is called after each step; tests look at the directory in it.
	step func(name string)
}

// RestoreInfo describes a restored database.
type RestoreInfo struct {
	Backup BackupInfo
	// DatabaseID is the new database's, in hexadecimal: it is another one than
	// that of the backup, so that their files cannot be mixed up.
	DatabaseID string
	// Revision is the newest and the compacted one: there is no history.
	Revision int64
}

// Restore makes a new database of a backup. Every key has its value and its
// revisions as in the backup; the revision of the database is raised, by
// o.Bump and to o.AtLeast, and all history is compacted, so that whoever watched
// the old database is told ErrCompacted and has to read everything anew.
//
// The directory must be missing, empty, or hold a restore that was cut short;
// else returns ErrNotEmpty. If the backup is damaged, returns ErrBackup; if
// there is not enough room, ErrNoSpace. After an error the directory is as it
// was before, and after a crash Open refuses it until a restore has succeeded.
func Restore(ctx context.Context, r io.Reader, dir string, o RestoreOptions) (info RestoreInfo, err error) {
	if o.Bump == 0 {
		o.Bump = DefaultBump
	}
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	b, err := openBackup(ctx, r, o.Progress)
	if err != nil {
		return RestoreInfo{}, err
	}
	if o.Bump < 0 || o.AtLeast > maxRestored || b.info.Revision < firstWrite || b.info.Revision > maxRestored-min(o.Bump, maxRestored) {
		return RestoreInfo{}, fmt.Errorf("revision %d cannot be raised by %d", b.info.Revision, o.Bump)
	}
	made, err := missingDirs(dir)
	if err != nil {
		return RestoreInfo{}, err
	}
	if err := makeDir(dir); err != nil {
		return RestoreInfo{}, err
	}
	defer func() {
		if err != nil {
			for _, d := range made {
				err = errors.Join(err, ignoreNotEmpty(os.Remove(d)))
			}
		}
	}()
	lock, err := lockDir(dir)
	if err != nil {
		return RestoreInfo{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	disclaim, err := claimDir(dir)
	if err != nil {
		return RestoreInfo{}, err
	}
	o.step("claimed")
	info, err = restoreFiles(ctx, b, dir, o)
	if err != nil {
		return RestoreInfo{}, errors.Join(fmt.Errorf("restore: %w", err), disclaim())
	}
	return info, nil
}

// restoreFiles writes the database into a directory that has been claimed.
func restoreFiles(ctx context.Context, b *backupReader, dir string, o RestoreOptions) (info RestoreInfo, err error) {
	need := rewriteNeeds(b.meter.state.TotalKeys, b.meter.state.TotalBytes)
	if err := wantRoom(dir, need, o.FreeBytes); err != nil {
		return RestoreInfo{}, err
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return RestoreInfo{}, err
	}
	owner, err := os.Stat(dir)
	if err != nil {
		return RestoreInfo{}, err
	}
	w := newRewriter(dir, newSuffix, id, max(b.info.Revision+o.Bump, o.AtLeast))
	err = w.write(owner, func(add func(*Entry) error) (err error) {
		info.Backup, err = b.each(add)
		return err
	})
	if err != nil {
		return RestoreInfo{}, err
	}
	o.step("written")
	// Reading it back checks each record's checksum, and there is nothing to compare it with.
	if err := w.check(ctx, info.Backup.Keys, func(root) error { return nil }); err != nil {
		return RestoreInfo{}, err
	}
	for _, name := range []string{stateName, logName} {
		if err := publishFiles(dir, filepath.Join(dir, name)); err != nil {
			return RestoreInfo{}, err
		}
		o.step("renamed " + name)
	}
	if err := os.Remove(filepath.Join(dir, restoreMark)); err != nil {
		return RestoreInfo{}, err
	}
	o.step("done")
	info.DatabaseID, info.Revision = hex.EncodeToString(id[:]), w.revision
	return info, syncDir(dir)
}

// restoredFiles is all that a restore ever leaves behind, beside its mark.
var restoredFiles = []string{logName, stateName, logName + newSuffix, stateName + newSuffix}

// claimDir sees that there is nothing in dir but what a restore left that was
// cut short, removes that, and leaves the mark of a new one. disclaim takes the
// new one back.
func claimDir(dir string) (disclaim func() error, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	mark := filepath.Join(dir, restoreMark)
	toRemove := []string{mark}
	if len(entries) > 0 {
		if _, err := os.Lstat(mark); err != nil {
			return nil, fmt.Errorf("%w: %s has %s in it, and nothing is ever overwritten", ErrNotEmpty, dir, listNames(entries))
		}
		for _, entry := range entries {
			if entry.Name() != restoreMark && !slices.Contains(restoredFiles, entry.Name()) {
				return nil, fmt.Errorf("%w: %s has %s in it, which no restore made", ErrNotEmpty, dir, entry.Name())
			}
		}
		toRemove = nil // the earlier restore is still incomplete
	}
	clear := func() error {
		for _, name := range restoredFiles {
			if err := removeFiles(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	}
	disclaim = func() error { return errors.Join(clear(), removeFiles(toRemove...), syncDir(dir)) }
	err = os.WriteFile(mark, nil, fileMode)
	if err == nil {
		err = errors.Join(clear(), syncDir(dir))
	}
	if err != nil {
		return nil, errors.Join(err, disclaim())
	}
	return disclaim, nil
}

// refuseHalfRestored fails if a restore into dir was cut short.
func refuseHalfRestored(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, restoreMark))
	switch {
	case err == nil:
		return fmt.Errorf("%w: a restore into %s was cut short: restore again, which takes up the same directory", ErrCorrupt, dir)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// missingDirs returns dir and those above it that are missing, the innermost first.
func missingDirs(dir string) (missing []string, err error) {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		_, err := os.Stat(dir)
		if err == nil {
			return missing, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append(missing, dir)
	}
}

// ignoreNotEmpty lets pass that somebody else has put something there meanwhile.
func ignoreNotEmpty(err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func listNames(entries []fs.DirEntry) string {
	const most = 4
	var names []string
	for _, e := range entries[:min(most, len(entries))] {
		names = append(names, e.Name())
	}
	if more := len(entries) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
