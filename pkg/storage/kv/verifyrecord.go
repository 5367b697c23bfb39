package kv

import (
	"fmt"
	"strings"
)

// header checks the header of a file.
func (v *verifier) header(at Problem, kind fileKind, value []byte) error {
	h, err := decodeHeader(value, kind)
	if err != nil {
		v.report.Partial = true
		at.What, at.Meaning = plain(err.Error()), meansRefused
		return v.add(at)
	}
	v.ids[kind] = h.id
	if kind == stateFile {
		v.report.CompactedRevision = h.compacted
	}
	return nil
}

// stateRecord checks a record of state.db. The header stands before the records.
func (v *verifier) stateRecord(at Problem, key, value []byte) error {
	v.report.StateRecords++
	at.Key, at.Meaning = string(key), meansState
	r, err := decodeStateRecord(key, value)
	if err != nil {
		v.report.Partial = true
		at.What = plain(err.Error())
		return v.add(at)
	}
	v.keys[at.Key] = keyRevs{create: r.createRev, mod: r.modRev}
	if r.createRev < firstWrite || r.createRev > r.modRev || v.stateKnown() && r.modRev > v.report.CompactedRevision {
		v.report.Partial = true
		at.What = fmt.Sprintf("it is of revision %d, created at %d, in a state of revision %d", r.modRev, r.createRev, v.report.CompactedRevision)
		return v.add(at)
	}
	return nil
}

func (v *verifier) stateKnown() bool {
	_, known := v.ids[stateFile]
	return known
}

// logRecord checks a record of log.db and applies it to what the keys are.
func (v *verifier) logRecord(at Problem, key, value []byte) error {
	v.report.LogRecords++
	rev, err := parseRevKey(key)
	if err != nil {
		v.report.Partial = true
		at.What, at.Meaning = fmt.Sprintf("log key %x: %v", key, err), meansLog
		return v.add(at)
	}
	at.Revision, at.Meaning = rev, meansLog
	old := v.stateKnown() && rev <= v.report.CompactedRevision
	if err := v.follow(at, old); err != nil {
		return err
	}
	r, err := decodeLogRecord(rev, value)
	if err != nil {
		at.What = plain(err.Error())
		if old {
			at.Meaning = meansOld
		} else {
			v.report.Partial = true
		}
		return v.add(at)
	}
	if old || r.op == opMark {
		return nil
	}
	return v.replay(at, r)
}

// follow checks that no revision is missing before this one.
func (v *verifier) follow(at Problem, old bool) error {
	before := v.last
	if before == 0 {
		before = at.Revision - 1 // trimmed up to there
		if v.stateKnown() && !old {
			before = v.report.CompactedRevision
		}
	}
	v.last = at.Revision
	v.report.Revision = max(v.report.Revision, at.Revision)
	if at.Revision == before+1 {
		return nil
	}
	v.report.Partial = true
	at.What, at.Meaning = fmt.Sprintf("revisions %d to %d are missing before this one", before+1, at.Revision-1), meansGap
	return v.add(at)
}

// replay checks that a write follows from what its key was.
func (v *verifier) replay(at Problem, r logRecord) error {
	key := string(r.key)
	was, exists := v.keys[key]
	if r.op == opDelete {
		delete(v.keys, key)
	} else {
		v.keys[key] = keyRevs{create: r.createRev, mod: at.Revision}
	}
	create := was.create
	if !exists {
		create = at.Revision
	}
	if v.report.Partial || r.prevRev == was.mod && r.createRev == create && (exists || r.op == opPut) {
		return nil
	}
	v.report.Partial = true
	at.Key = key
	at.What = fmt.Sprintf("the key was at revision %d, created at %d, when it was written, and is at %d, created at %d",
		r.prevRev, r.createRev, was.mod, was.create)
	return v.add(at)
}

// plain is the text of an error without what a report of problems says anyway.
func plain(text string) string { return strings.TrimPrefix(text, ErrCorrupt.Error()+": ") }
