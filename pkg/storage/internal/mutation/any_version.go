//go:build mutate_any_version

package mutation

// Active is the mutation of this build.
const Active = AnyVersion
