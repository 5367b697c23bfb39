package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DefaultMaxProblems is how many problems Verify reports unless told otherwise:
// more of them tell nobody more.
const DefaultMaxProblems = 100

// What problems mean to somebody who has not read the code.
const (
	meansRefused = "The server refuses to start with this file. Restore the last backup."
	meansState   = "The object under this key cannot be trusted, and the server refuses to start. Restore the last backup."
	meansLog     = "This write cannot be replayed, nor what builds on it, and the server refuses to start. Restore the last backup."
	meansGap     = "Writes that were acknowledged are gone, and the server refuses to start. Restore the last backup."
	meansOld     = "This is history that has been compacted: the server does not read it, and removes it in time. But the disk may be failing."
)

// Problem is one thing that is wrong with a database.
type Problem struct {
	// File is the path of the file.
	File string
	// Page is the page it was found on; 0 if it is not of one page.
	Page uint64
	// Revision is that of the log entry, Key that of the record; zero if unknown.
	Revision int64
	Key      string
	// What is wrong, and what that means.
	What, Meaning string
}

// String is the problem on one line.
func (p Problem) String() string {
	out := p.File + ": "
	if p.Page > 0 {
		out += fmt.Sprintf("page %d: ", p.Page)
	}
	if p.Revision > 0 {
		out += fmt.Sprintf("revision %d: ", p.Revision)
	}
	if p.Key != "" {
		out += fmt.Sprintf("key %q: ", p.Key)
	}
	return out + p.What
}

// VerifyReport is what Verify found.
type VerifyReport struct {
	// Problems are what is wrong, in the order in which they were found.
	Problems []Problem
	// More says that there are more problems than were asked for.
	More bool
	// Partial says that, after damage, it was not checked whether records fit
	// each other; only whether each is whole.
	Partial bool
	// LogPages and StatePages are how many pages were read, LogRecords and StateRecords how many records.
	LogPages, StatePages     uint64
	LogRecords, StateRecords int64
	// Revision and CompactedRevision are those of the database, as far as they
	// can be told; Keys is how many are live.
	Revision, CompactedRevision int64
	Keys                        int64
}

// VerifyOptions tune Verify. The zero value is ready for use.
type VerifyOptions struct {
	// MaxProblems is how many problems are reported. 0: DefaultMaxProblems.
	MaxProblems int
}

// Verify reads all of a database that no process has open and reports what is
// wrong with it: every page in use of both files, every record's checksum, the
// order and completeness of the log, and whether each write follows from the
// ones before. Bytes that nothing refers to are not looked at. It writes
// nothing and opens nothing for writing. If the database is open, returns
// ErrLocked; if there is none, fs.ErrNotExist. Problems are no error.
func Verify(ctx context.Context, dir string, o VerifyOptions) (report VerifyReport, err error) {
	if o.MaxProblems <= 0 {
		o.MaxProblems = DefaultMaxProblems
	}
	unlock, err := shareDir(dir)
	if err != nil {
		return VerifyReport{}, fmt.Errorf("verify: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	v := &verifier{ctx: ctx.Err, dir: dir, max: o.MaxProblems, keys: map[string]keyRevs{}}
	if err := v.run(); err != nil && !errors.Is(err, errEnough) {
		return VerifyReport{}, fmt.Errorf("verify: %w", err)
	}
	return v.report, nil
}

// errEnough ends a verification that has found enough.
var errEnough = errors.New("enough problems")

// verifier collects problems. What it has seen of the state stands in for the
// state itself when the log is checked against it.
type verifier struct {
	ctx    func() error
	dir    string
	max    int
	report VerifyReport
	// ids are those in the headers that could be read.
	ids  map[fileKind][16]byte
	keys map[string]keyRevs
	// last is the newest revision seen in the log, 0 before the first.
	last int64
	// stop is what ended the walk of a file early.
	stop error
}

// keyRevs are the revisions of a live key.
type keyRevs struct{ create, mod int64 }

func (v *verifier) run() error {
	v.ids = map[fileKind][16]byte{}
	if err := refuseHalfRestored(v.dir); errors.Is(err, ErrCorrupt) {
		return v.add(Problem{File: filepath.Join(v.dir, restoreMark), What: "a restore was cut short", Meaning: "The server refuses to start. Restore again into the same directory."})
	} else if err != nil {
		return err
	}
	if err := v.missing(); err != nil {
		return err
	}
	// The state first: the log goes on from there.
	pages, err := v.file(stateName, stateFile, v.stateRecord)
	if err != nil {
		return err
	}
	v.report.StatePages = pages
	v.report.Revision = v.report.CompactedRevision
	if v.report.LogPages, err = v.file(logName, logFile, v.logRecord); err != nil {
		return err
	}
	v.report.Keys = int64(len(v.keys))
	return v.together()
}

// add notes a problem, and returns errEnough if it was one too many.
func (v *verifier) add(p Problem) error {
	if len(v.report.Problems) == v.max {
		v.report.More = true
		return errEnough
	}
	v.report.Problems = append(v.report.Problems, p)
	return nil
}

// missing notes which of the files is not there.
func (v *verifier) missing() error {
	for _, name := range []string{logName, stateName} {
		path := filepath.Join(v.dir, name)
		_, err := os.Lstat(path)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		p := Problem{File: path, What: "the file is missing", Meaning: "Half of the database is gone, and the server refuses to start. Put the file back, or restore the last backup."}
		if _, err := os.Lstat(path + newSuffix); err == nil {
			p.What, p.Meaning = "the file is missing; its creation was cut short", "Nothing was lost. The next start of the server completes it."
		}
		v.report.Partial = true
		if err := v.add(p); err != nil {
			return err
		}
	}
	return nil
}

// file checks one file, and hands every record of its bucket to record.
func (v *verifier) file(name string, kind fileKind, record func(at Problem, key, value []byte) error) (pages uint64, err error) {
	path := filepath.Join(v.dir, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil // noted already
	}
	var headers, buckets, records int
	c := &pageCheck{note: func(err error) error { return v.pageProblem(path, err) }}
	c.visit = func(page uint64, bucket string, key, value []byte) {
		if v.stop != nil {
			return
		}
		at := Problem{File: path, Page: page}
		switch {
		case bucket == string(metaBucket) && string(key) == string(headerKey):
			headers++
			v.stop = v.header(at, kind, value)
		case bucket == bucketOf(kind) && key == nil:
			buckets++
		case bucket == bucketOf(kind):
			if records++; records%progressKeys == 0 {
				v.stop = v.ctx()
			}
			if v.stop == nil {
				v.stop = record(at, key, value)
			}
		}
	}
	err = c.check(path)
	if v.stop != nil {
		return c.used, v.stop
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat) {
		return c.used, v.pageProblem(path, err)
	}
	if err != nil {
		return c.used, err
	}
	if headers == 0 {
		err = v.lacks(path, "its header was not found: not a database of this program, or the page with it is damaged")
	}
	if err == nil && buckets == 0 {
		err = v.lacks(path, fmt.Sprintf("bucket %q is missing", bucketOf(kind)))
	}
	return c.used, err
}

func (v *verifier) lacks(path, what string) error {
	v.report.Partial = true
	return v.add(Problem{File: path, What: what, Meaning: meansRefused})
}

func bucketOf(kind fileKind) string {
	if kind == stateFile {
		return string(stateBucket)
	}
	return string(logBucket)
}

// pageProblem notes what is wrong with a page or a whole file.
func (v *verifier) pageProblem(path string, err error) error {
	if v.stop != nil {
		return v.stop
	}
	if errors.Is(err, errEnough) {
		return err
	}
	v.report.Partial = true
	p := Problem{File: path, What: plain(strings.TrimPrefix(err.Error(), path+": ")), Meaning: meansRefused}
	if page := new(pageError); errors.As(err, &page) {
		p.Page, p.What = page.page, page.what
		p.Meaning = "What is on this page and below it cannot be read. " + meansRefused
	}
	return v.add(p)
}

// together checks what concerns both files.
func (v *verifier) together() error {
	if len(v.ids) == 2 && v.ids[logFile] != v.ids[stateFile] {
		p := Problem{File: v.dir, What: logName + " and " + stateName + " belong to different databases", Meaning: "One of the files was put here from elsewhere. Put the right one back, or restore the last backup."}
		if err := v.add(p); err != nil {
			return err
		}
	}
	if v.report.Partial {
		return nil
	}
	if v.report.Revision < firstWrite || v.last > 0 && v.last < v.report.CompactedRevision {
		return v.add(Problem{
			File:    filepath.Join(v.dir, logName),
			What:    fmt.Sprintf("the log ends at revision %d, the state is of revision %d", v.last, v.report.CompactedRevision),
			Meaning: meansGap,
		})
	}
	return nil
}
