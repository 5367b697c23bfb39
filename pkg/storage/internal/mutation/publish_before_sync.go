//go:build mutate_publish_before_sync

package mutation

// Active is the mutation of this build.
const Active = PublishBeforeSync
