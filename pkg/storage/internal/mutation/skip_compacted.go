//go:build mutate_skip_compacted

package mutation

// Active is the mutation of this build.
const Active = SkipCompacted
