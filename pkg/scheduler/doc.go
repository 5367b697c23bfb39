// Package scheduler decides who gets which pod and which task runs when, and
// carries it out. It is the only writer of the status of pools, sandboxes and
// tasks, except that the create of a sandbox writes what Reserve gives it.
//
// It talks to the API like any other client, through informers and a clientset,
// and to pods through podruntime.Runtime. It knows nothing of the storage and
// the registry.
//
// The rooms:
//
//	plan     pure decisions
//	ledger   which pod is whose; the one place where pods are given out
//	pool     fills pools, deletes pods
//	bind     carries sandboxes through their lives
//	execute  runs tasks
//	health   probes the agents of pods
//	timer    every deadline, on one heap
//	work     loops over keyed queues
//
// Informers and the runtime tell of changes; each is noted in the index of a
// room and puts keys on queues, whose workers compare what is with what should be and
// do what is missing. Nothing is polled, and nothing is searched for on an event.
//
// Nothing but the API objects and the runtime's pods is durable. Run waits until all of
// them have been told, and then lets the ledger and the executor take up what they find.
//
// Run owns all goroutines and joins them. Lock order: ledger or executor, then
// timer; they are never held together.
//
// Read scheduler.go first, then events.go, then the package docs of ledger and execute.
package scheduler
