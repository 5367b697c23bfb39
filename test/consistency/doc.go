// Package consistency shows what a client of the storage may rely on. It knows
// package bolt as a storage.Interface and nothing of how it works, so that a
// storage written anew is held to the same promises.
//
// # Linearizability
//
// Clients create, read, update, delete and list the same few objects at once,
// and write down each request, its answer and when both were. A history is
// right if there is an order of all requests, each between its beginning and
// its end, in which a machine that does one at a time gives the same answers.
// That machine is spec_test.go; the order is looked for by porcupine. The
// machine counts revisions, so a write that reuses or skips one, a list that
// mixes two revisions and a precondition that is not checked have no place in
// any order.
//
// In crash_test.go a process that serves the requests is killed and started
// again in the middle of the history. A request that got no answer may have
// taken effect, at any time after it began, or not. Everything answered must
// still be there.
//
// # Watches
//
// The promises are those that etcd gives: events are ordered, unique, complete
// and resumable, and a bookmark says up to where. Writers keep what was
// acknowledged; watches that start, end and resume at random must show what
// follows from it, event for event, or say 410 Expired. See past_test.go
// and session_test.go.
//
// # When a test fails
//
// It prints its seed, and for a history without an order the path of a page
// that shows how far an order could be found. That a wrong history is seen to be
// wrong is what check_test.go is about, and hack/verify-mutations.sh.
package consistency
