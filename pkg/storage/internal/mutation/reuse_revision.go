//go:build mutate_reuse_revision

package mutation

// Active is the mutation of this build.
const Active = ReuseRevision
