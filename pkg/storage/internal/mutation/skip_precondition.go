//go:build mutate_skip_precondition

package mutation

// Active is the mutation of this build.
const Active = SkipPrecondition
