//go:build mutate_no_sync

package mutation

// Active is the mutation of this build.
const Active = NoSync
