// Package bind carries sandboxes through their lives: it writes what the ledger
// has decided about their pods into their status, tells those that wait where
// they stand, and deletes them when their idle timeout or lifetime is over.
//
// It chooses no pod: the ledger does. Nor does it know tasks, except for when
// the last one of a sandbox ended and whether there are any.
//
// Four keyed queues feed it: sandboxes to look at, pools whose queue is to be
// described, sandboxes whose bookkeeping (lastTaskTime, observedGeneration)
// is to be written, and sandboxes whose pod is to name them in a label. A look at a sandbox compares what is stored with where it stands and does
// what is missing, so looking once too often is harmless. Run owns the
// workers and joins them. The package has one mutex, a leaf.
//
// Read binder.go first, then allocate.go, attend.go, round.go and label.go.
package bind
