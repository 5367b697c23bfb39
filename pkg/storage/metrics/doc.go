// Package metrics makes metrics of the database and its stores, in the style of
// the API server's own: arl_storage_*, all of stability ALPHA. They are listed
// in docs/metrics.md.
//
// It decides nothing and stores nothing. Metrics of events (commits,
// compactions) are counted as they happen; metrics of state (sizes, revisions,
// watches) are looked up when somebody asks. Labels are files, results and
// resources, never names of objects.
//
// It starts no goroutines. Everything may be called concurrently.
//
// Read metrics.go first, then collector.go.
package metrics
