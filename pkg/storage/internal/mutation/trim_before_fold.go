//go:build mutate_trim_before_fold

package mutation

// Active is the mutation of this build.
const Active = TrimBeforeFold
