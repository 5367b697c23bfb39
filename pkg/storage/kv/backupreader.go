package kv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"
)

// maxBackupRecord is far above what any database takes as a value: a record
// that claims to be longer is not believed.
const maxBackupRecord = 1 << 28

// CheckBackup reads a backup to its end and says what is in it. If it is
// damaged or cut short, returns ErrBackup with the place; if it is no backup,
// or one of another version, ErrFormat. progress may be nil.
func CheckBackup(ctx context.Context, r io.Reader, progress func(BackupProgress)) (BackupInfo, error) {
	b, err := openBackup(ctx, r, progress)
	if err != nil {
		return BackupInfo{}, err
	}
	return b.each(func(*Entry) error { return nil })
}

// backupReader reads a backup from its head, which openBackup has read, to its end.
type backupReader struct {
	in    *bufio.Reader
	sum   *digest
	meter meter
	info  BackupInfo
	// last is the key of the record before.
	last string
	body bytes.Buffer
}

// openBackup reads the head.
func openBackup(ctx context.Context, r io.Reader, progress func(BackupProgress)) (*backupReader, error) {
	b := &backupReader{in: bufio.NewReaderSize(r, backupBuffer), sum: newDigest()}
	b.meter = newMeter(ctx, progress)
	magic, err := b.read(len(backupMagic))
	if !strings.HasPrefix(backupMagic, string(magic)) {
		return nil, fmt.Errorf("%w: not a backup of this program", ErrFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("%w (in its head)", err)
	}
	h := append(make([]byte, 0, backupHead), magic...)
	version, err := b.read(4)
	if err != nil {
		return nil, fmt.Errorf("%w (in its head)", err)
	}
	if v := binary.LittleEndian.Uint32(version); v != backupFormat {
		return nil, fmt.Errorf("%w: the backup's format version is %d, this program reads %d", ErrFormat, v, backupFormat)
	}
	rest, err := b.read(backupHead - len(backupMagic) - len(version))
	if err != nil {
		return nil, fmt.Errorf("%w (in its head)", err)
	}
	h = append(append(h, version...), rest...)
	if !checksumOK(h, nil) {
		return nil, fmt.Errorf("%w: the checksum of its head does not match", ErrBackup)
	}
	b.info.DatabaseID = hex.EncodeToString(h[16:32])
	b.info.Revision = int64(binary.LittleEndian.Uint64(h[32:]))
	b.meter.state.TotalKeys = int64(binary.LittleEndian.Uint64(h[40:]))
	b.meter.state.TotalBytes = int64(binary.LittleEndian.Uint64(h[48:]))
	return b, nil
}

// each calls fn for every entry. Until it returns without an error nothing is
// known to be right: the digest stands at the end.
func (b *backupReader) each(fn func(*Entry) error) (BackupInfo, error) {
	for b.meter.state.Keys < b.meter.state.TotalKeys {
		e, err := b.entry()
		if err != nil {
			return BackupInfo{}, fmt.Errorf("%w (record %d of %d, after key %q)", err, b.meter.state.Keys+1, b.meter.state.TotalKeys, b.last)
		}
		if err := fn(e); err != nil {
			return BackupInfo{}, err
		}
		b.last = e.Key
		if err := b.meter.done(entryBytes(e)); err != nil {
			return BackupInfo{}, fmt.Errorf("read backup: %w", err)
		}
	}
	b.meter.report()
	if err := b.trailer(); err != nil {
		return BackupInfo{}, fmt.Errorf("%w (in its trailer, after all %d records)", err, b.meter.state.TotalKeys)
	}
	return b.info, nil
}

func (b *backupReader) entry() (*Entry, error) {
	start := b.sum.size
	frame, err := b.read(frameHead)
	if err != nil {
		return nil, err
	}
	keyLen, recordLen := binary.LittleEndian.Uint32(frame), binary.LittleEndian.Uint32(frame[4:])
	if crc32.Checksum(frame[:8], castagnoli) != binary.LittleEndian.Uint32(frame[8:]) || keyLen > maxKeyBytes || recordLen > maxBackupRecord {
		return nil, fmt.Errorf("%w: at byte %d the lengths of the record make no sense", ErrBackup, start)
	}
	key, err := b.read(int(keyLen))
	if err != nil {
		return nil, err
	}
	record, err := b.read(int(recordLen))
	if err != nil {
		return nil, err
	}
	r, err := decodeStateRecord(key, record)
	e := &Entry{Key: string(key), Value: r.value, CreateRev: r.createRev, ModRev: r.modRev, Expiry: r.expiry, Tags: r.tags}
	switch {
	case errors.Is(err, ErrFormat):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: at byte %d: %w", ErrBackup, start, err)
	case e.Key <= b.last || e.CreateRev < firstWrite || e.CreateRev > e.ModRev || e.ModRev > b.info.Revision:
		return nil, fmt.Errorf("%w: at byte %d: key %q, created at revision %d and written at %d, does not belong here",
			ErrBackup, start, e.Key, e.CreateRev, e.ModRev)
	}
	return e, nil
}

func (b *backupReader) trailer() error {
	start := b.sum.size
	t, err := b.read(backupTrailer - sha256.Size)
	if err != nil {
		return err
	}
	if string(t[:8]) != trailerMagic || int64(binary.LittleEndian.Uint64(t[8:])) != b.meter.state.Keys || b.meter.state.Bytes != b.meter.state.TotalBytes {
		return fmt.Errorf("%w: at byte %d: it does not fit what is before it", ErrBackup, start)
	}
	want := b.sum.value()
	got, err := b.read(sha256.Size)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: the digest of the whole does not match", ErrBackup)
	}
	if _, err := b.in.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("read backup: %w", err)
		}
		return fmt.Errorf("%w: there is something behind its end, at byte %d", ErrBackup, b.sum.size)
	}
	b.info.Keys, b.info.Bytes = b.meter.state.Keys, b.meter.state.Bytes
	b.info.Size, b.info.SHA256 = b.sum.size, hex.EncodeToString(want)
	return nil
}

// read returns the next n bytes, and what there is of them with an error. It
// takes no more memory than there are bytes, whatever n is.
func (b *backupReader) read(n int) ([]byte, error) {
	b.body.Reset()
	_, err := io.CopyN(&b.body, b.in, int64(n))
	p := bytes.Clone(b.body.Bytes())
	b.sum.add(p)
	if errors.Is(err, io.EOF) {
		return p, fmt.Errorf("%w: it is cut short at byte %d", ErrBackup, b.sum.size)
	}
	if err != nil {
		return p, fmt.Errorf("read backup: %w", err)
	}
	return p, nil
}

// digest is the digest and the length of a stream.
type digest struct {
	hash hash.Hash
	size int64
}

func newDigest() *digest { return &digest{hash: sha256.New()} }

func (d *digest) add(p []byte) {
	_, _ = d.hash.Write(p) // never fails
	d.size += int64(len(p))
}

func (d *digest) value() []byte { return d.hash.Sum(nil) }
