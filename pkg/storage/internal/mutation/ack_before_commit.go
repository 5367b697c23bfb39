//go:build mutate_ack_before_commit

package mutation

// Active is the mutation of this build.
const Active = AckBeforeCommit
