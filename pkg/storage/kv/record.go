package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"arl.io/arl/pkg/storage/internal/mutation"
)

// The formats below are what is on disk. All integers are little-endian
// except revisions that serve as keys, which must sort.
//
//	header  magic[8] format u32 kind u32 id[16] compacted i64          crc u32
//	log     version u8 op u8 tags u16 keyLen u32
//	        createRev i64 prevRev i64 expiry i64 tag u64... key value  crc u32
//	state   version u8 0 u8 tags u16 0 u32
//	        createRev i64 modRev i64 expiry i64 tag u64... value       crc u32
//
// The tags are as many as the head says.
//
// A log record's checksum covers its revision too, a state record's its key,
// so that a record found in the wrong place is seen.
const (
	formatVersion = 1
	recordVersion = 1

	recordHead = 32
	recordCRC  = 4
	tagSize    = 8
	headerSize = 8 + 4 + 4 + 16 + 8 + recordCRC
	revKeySize = 8
)

const magic = "arl.kv\r\n"

type fileKind uint32

const (
	logFile   fileKind = 1
	stateFile fileKind = 2
)

// op is what a log record says.
type op uint8

const (
	// opMark takes a revision and changes nothing: the database's creation.
	opMark   op = 1
	opPut    op = 2
	opDelete op = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the one record of a file's meta bucket.
type header struct {
	kind fileKind
	id   [16]byte
	// compacted is meaningful in state.db only.
	compacted int64
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.kind))
	b = append(b, h.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.compacted))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeHeader(b []byte, kind fileKind) (header, error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return header{}, fmt.Errorf("%w: not a database of this program", ErrFormat)
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return header{}, fmt.Errorf("%w: format version is %d, this program reads %d", ErrFormat, v, formatVersion)
	}
	if len(b) != headerSize || !checksumOK(b, nil) {
		return header{}, fmt.Errorf("%w: header checksum does not match", ErrCorrupt)
	}
	h := header{kind: fileKind(binary.LittleEndian.Uint32(b[12:])), compacted: int64(binary.LittleEndian.Uint64(b[32:]))}
	copy(h.id[:], b[16:32])
	if h.kind != kind {
		return header{}, fmt.Errorf("%w: this is the other file of a database, under the wrong name", ErrFormat)
	}
	return h, nil
}

// checksumOK checks the last four bytes of b over prefix and the rest of b.
func checksumOK(b, prefix []byte) bool {
	body := b[:len(b)-recordCRC]
	sum := crc32.Update(crc32.Checksum(prefix, castagnoli), castagnoli, body)
	return sum == binary.LittleEndian.Uint32(b[len(body):]) || mutation.Active == mutation.NoChecksum
}

func seal(b []byte, start int, prefix []byte) []byte {
	sum := crc32.Update(crc32.Checksum(prefix, castagnoli), castagnoli, b[start:])
	return binary.LittleEndian.AppendUint32(b, sum)
}

// revKey is the key of a revision in the log bucket.
func revKey(rev int64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, revKeySize), uint64(rev))
}

// logRecord is a decoded log record. key and value alias what was decoded, tags do not.
type logRecord struct {
	op                         op
	createRev, prevRev, expiry int64
	tags                       []uint64
	key, value                 []byte
}

// appendLogRecord appends the encoding of r, the write of revision rev with this
// value, to b.
func appendLogRecord(b []byte, rev int64, r record, value []byte) []byte {
	start := len(b)
	kind, key := r.op(), r.key()
	var createRev, prevRev, expiry int64
	var tags []uint64
	if r.prev != nil {
		createRev, prevRev = r.prev.CreateRev, r.prev.ModRev
	}
	if r.cur != nil {
		createRev, expiry, tags = r.cur.CreateRev, r.cur.Expiry, r.cur.Tags
	}
	b = appendHead(b, byte(kind), len(tags), len(key))
	b = appendRevs(b, createRev, prevRev, expiry)
	b = appendTags(b, tags)
	b = append(b, key...)
	b = append(b, value...)
	return seal(b, start, revKey(rev))
}

func decodeLogRecord(rev int64, b []byte) (logRecord, error) {
	if err := checkRecord(b, revKey(rev)); err != nil {
		return logRecord{}, err
	}
	r := logRecord{op: op(b[1])}
	r.createRev, r.prevRev, r.expiry = revs(b)
	body := b[recordHead : len(b)-recordCRC]
	var err error
	if r.tags, body, err = splitTags(b, body); err != nil {
		return logRecord{}, err
	}
	keyLen := int64(binary.LittleEndian.Uint32(b[4:]))
	if keyLen > int64(len(body)) || r.op < opMark || r.op > opDelete || (r.op != opMark) != (keyLen > 0) {
		return logRecord{}, fmt.Errorf("%w: record makes no sense", ErrCorrupt)
	}
	r.key, r.value = body[:keyLen:keyLen], body[keyLen:]
	return r, nil
}

// encodeStateRecord encodes what state.db keeps under e.Key, whose value is value.
func encodeStateRecord(e *Entry, value []byte) []byte {
	b := make([]byte, 0, recordHead+tagSize*len(e.Tags)+len(value)+recordCRC)
	b = appendHead(b, 0, len(e.Tags), 0)
	b = appendRevs(b, e.CreateRev, e.ModRev, e.Expiry)
	b = appendTags(b, e.Tags)
	b = append(b, value...)
	return seal(b, 0, []byte(e.Key))
}

// stateRecord is a decoded record of state.db. Its value aliases what was decoded, tags do not.
type stateRecord struct {
	createRev, modRev, expiry int64
	tags                      []uint64
	value                     []byte
}

func decodeStateRecord(k, b []byte) (r stateRecord, err error) {
	if err := checkRecord(b, k); err != nil {
		return stateRecord{}, err
	}
	r.createRev, r.modRev, r.expiry = revs(b)
	if r.tags, r.value, err = splitTags(b, b[recordHead:len(b)-recordCRC]); err != nil {
		return stateRecord{}, err
	}
	return r, nil
}

func checkRecord(b, prefix []byte) error {
	switch {
	case len(b) < recordHead+recordCRC:
		return fmt.Errorf("%w: record is cut short", ErrCorrupt)
	case !checksumOK(b, prefix):
		return fmt.Errorf("%w: record checksum does not match", ErrCorrupt)
	case b[0] != recordVersion:
		return fmt.Errorf("%w: record version %d, this program reads %d", ErrFormat, b[0], recordVersion)
	}
	return nil
}

func appendHead(b []byte, kind byte, tags, keyLen int) []byte {
	b = append(b, recordVersion, kind)
	b = binary.LittleEndian.AppendUint16(b, uint16(tags))
	return binary.LittleEndian.AppendUint32(b, uint32(keyLen))
}

func appendTags(b []byte, tags []uint64) []byte {
	for _, tag := range tags {
		b = binary.LittleEndian.AppendUint64(b, tag)
	}
	return b
}

// splitTags takes the tags, which are as many as the head of b says, off body.
func splitTags(b, body []byte) (tags []uint64, rest []byte, err error) {
	n := int(binary.LittleEndian.Uint16(b[2:]))
	if n > MaxTags || n*tagSize > len(body) {
		return nil, nil, fmt.Errorf("%w: record of %d bytes cannot have %d tags", ErrCorrupt, len(b), n)
	}
	if n == 0 {
		return nil, body, nil
	}
	tags = make([]uint64, n)
	for i := range tags {
		tags[i] = binary.LittleEndian.Uint64(body[i*tagSize:])
		if i > 0 && tags[i-1] >= tags[i] {
			return nil, nil, fmt.Errorf("%w: tags are not ascending", ErrCorrupt)
		}
	}
	return tags, body[n*tagSize:], nil
}

func appendRevs(b []byte, createRev, rev, expiry int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(createRev))
	b = binary.LittleEndian.AppendUint64(b, uint64(rev))
	return binary.LittleEndian.AppendUint64(b, uint64(expiry))
}

func revs(b []byte) (createRev, rev, expiry int64) {
	return int64(binary.LittleEndian.Uint64(b[8:])), int64(binary.LittleEndian.Uint64(b[16:])), int64(binary.LittleEndian.Uint64(b[24:]))
}

// parseRevKey is the inverse of revKey.
func parseRevKey(k []byte) (int64, error) {
	if len(k) != revKeySize || k[0] > 0x7f {
		return 0, errors.New("key is not a revision")
	}
	return int64(binary.BigEndian.Uint64(k)), nil
}
