// Package pool keeps warm pools filled: it creates and deletes the pods that
// the ledger orders, and writes the status of pools. It decides nothing: what
// to start and stop is the ledger's to say.
//
// Three keyed queues feed it: pools, to be filled and described, pods to be
// deleted, and pods from before a restart, whose agents are asked whether they were used. Run owns the workers and joins them. The package holds no lock while
// it calls the ledger, the runtime or the API.
//
// Read filler.go first, then status.go and reaper.go.
package pool
