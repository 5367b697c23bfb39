//go:build mutate_no_checksum

package mutation

// Active is the mutation of this build.
const Active = NoChecksum
