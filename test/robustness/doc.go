// Package robustness kills, starves and damages databases, many times, and
// looks whether each keeps its promise: what was acknowledged is there, no
// revision stands for two things, and what cannot be read is refused and never
// passed over. docs/faults.md lists each fault with the test that injects it.
//
// A test starts copies of its own binary as children, which write as fast as
// they can and say on their standard output what they intend, before they do
// it, and what was acknowledged. When a child has ended, whichever way, its
// parent opens the files and compares them with the ledger of all that any
// child has said.
//
// Flags: -rounds for how long, -seed to repeat a run; every failure names the
// seed and the round. "make robustness" runs all of it.
//
// Read first: ledger_test.go (what is checked), child_test.go (what is done to
// the database), fault/doc.go (how calls are made to fail).
package robustness
