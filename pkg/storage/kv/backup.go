package kv

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// A backup is a stream of its own format, so that it can be piped, and does not
// depend on bbolt. All integers are little-endian:
//
//	head     magic[8] format u32 0 u32 id[16] revision i64
//	         keys i64 valueBytes i64                            crc u32
//	record   keyLen u32 recordLen u32                           crc u32
//	         key, then the record as state.db has it, with its own checksum
//	trailer  magic[8] keys i64 sha256[32]
//
// Records are in the order of their keys. The checksum of the lengths keeps a
// reader from believing a wrong one; the digest covers all before it, so that
// nothing can be missing, added or exchanged.
const (
	backupMagic   = "arl.bak\n"
	trailerMagic  = "arl.end\n"
	backupFormat  = 1
	backupHead    = 8 + 4 + 4 + 16 + 8 + 8 + 8 + recordCRC
	frameHead     = 4 + 4 + recordCRC
	backupTrailer = 8 + 8 + sha256.Size

	backupBuffer = 256 << 10
	// progressKeys and progressBytes are how much is written or read between
	// two calls of a progress function, and two looks at the context.
	progressKeys  = 1024
	progressBytes = 1 << 20
)

// BackupProgress says how far a backup has been written or read.
type BackupProgress struct {
	// Keys and Bytes, of keys and values, are done; the totals are known from the start.
	Keys, TotalKeys   int64
	Bytes, TotalBytes int64
}

// BackupInfo describes a whole backup.
type BackupInfo struct {
	// DatabaseID is the ID of the database it was taken of, in hexadecimal.
	DatabaseID string
	// Revision is the one revision that the backup shows.
	Revision int64
	// Keys is how many keys there are, Bytes what they and their values take.
	Keys, Bytes int64
	// Size is the length of the backup itself.
	Size int64
	// SHA256 is the digest that the backup ends with, in hexadecimal.
	SHA256 string
}

// Backup writes the newest published state to w. It makes no writer wait,
// however slow w is; what changes meanwhile is not in it. Large values are read
// one by one, so while it runs Stats.BackupRevision asks whoever compacts to
// stay below its revision. If compaction does not, and a large value is gone
// before it was written, returns ErrCompacted. progress is called now and then,
// and may be nil. Of what was written before an error nothing can be restored.
func (db *DB) Backup(ctx context.Context, w io.Writer, progress func(BackupProgress)) (BackupInfo, error) {
	s, release := db.hold()
	defer release()
	return writeBackup(ctx, w, db.files.id, s, progress)
}

func writeBackup(ctx context.Context, w io.Writer, id [16]byte, s Snapshot, progress func(BackupProgress)) (BackupInfo, error) {
	b := newBackupWriter(ctx, w, progress)
	b.info = BackupInfo{DatabaseID: hex.EncodeToString(id[:]), Revision: s.rev}
	s.Ascend("", "", func(e Entry) bool {
		b.meter.state.TotalKeys++
		b.meter.state.TotalBytes += entryBytes(&e)
		return true
	})
	b.head(id)
	s.Ascend("", "", func(e Entry) bool {
		b.entry(&e)
		return b.err == nil
	})
	b.trailer()
	if b.err != nil {
		return BackupInfo{}, fmt.Errorf("write backup: %w", b.err)
	}
	return b.info, nil
}

func entryBytes(e *Entry) int64 { return int64(len(e.Key) + e.Size()) }

// backupWriter writes until its first error, which it keeps.
type backupWriter struct {
	out   *bufio.Writer
	sum   *digest
	meter meter
	info  BackupInfo
	err   error
}

func newBackupWriter(ctx context.Context, w io.Writer, progress func(BackupProgress)) *backupWriter {
	b := &backupWriter{out: bufio.NewWriterSize(w, backupBuffer), sum: newDigest()}
	b.meter = newMeter(ctx, progress)
	return b
}

func (b *backupWriter) write(p []byte) {
	if b.err == nil {
		b.sum.add(p)
		_, b.err = b.out.Write(p)
	}
}

func (b *backupWriter) head(id [16]byte) {
	h := append(make([]byte, 0, backupHead), backupMagic...)
	h = binary.LittleEndian.AppendUint32(h, backupFormat)
	h = binary.LittleEndian.AppendUint32(h, 0)
	h = append(h, id[:]...)
	h = binary.LittleEndian.AppendUint64(h, uint64(b.info.Revision))
	h = binary.LittleEndian.AppendUint64(h, uint64(b.meter.state.TotalKeys))
	h = binary.LittleEndian.AppendUint64(h, uint64(b.meter.state.TotalBytes))
	b.write(seal(h, 0, nil))
}

func (b *backupWriter) entry(e *Entry) {
	value, err := e.Load()
	if err != nil {
		if b.err == nil {
			b.err = err
		}
		return
	}
	record := encodeStateRecord(e, value)
	frame := binary.LittleEndian.AppendUint32(make([]byte, 0, frameHead), uint32(len(e.Key)))
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(record)))
	b.write(binary.LittleEndian.AppendUint32(frame, crc32.Checksum(frame, castagnoli)))
	b.write([]byte(e.Key))
	b.write(record)
	if b.err == nil {
		b.err = b.meter.done(entryBytes(e))
	}
}

func (b *backupWriter) trailer() {
	b.meter.report()
	t := append(make([]byte, 0, backupTrailer), trailerMagic...)
	b.write(binary.LittleEndian.AppendUint64(t, uint64(b.meter.state.Keys)))
	sum := b.sum.value()
	b.write(sum)
	if b.err == nil {
		b.err = b.out.Flush()
	}
	b.info.Keys, b.info.Bytes = b.meter.state.Keys, b.meter.state.Bytes
	b.info.Size, b.info.SHA256 = b.sum.size, hex.EncodeToString(sum)
}

// meter counts what is done, tells about it and looks at the context, now and then.
type meter struct {
	check    func() error
	progress func(BackupProgress)
	state    BackupProgress
	// keys and bytes are the counts at the last report.
	keys, bytes int64
}

func newMeter(ctx context.Context, progress func(BackupProgress)) meter {
	if progress == nil {
		progress = func(BackupProgress) {}
	}
	return meter{check: func() error { return context.Cause(ctx) }, progress: progress}
}

// done counts one key.
func (m *meter) done(bytes int64) error {
	m.state.Keys++
	m.state.Bytes += bytes
	if m.state.Keys-m.keys < progressKeys && m.state.Bytes-m.bytes < progressBytes {
		return nil
	}
	m.report()
	return m.check()
}

func (m *meter) report() {
	m.keys, m.bytes = m.state.Keys, m.state.Bytes
	m.progress(m.state)
}

// ID is the random ID of the database, in hexadecimal. It stays the same for
// good; a database restored from a backup has another one.
func (db *DB) ID() string { return hex.EncodeToString(db.files.id[:]) }
