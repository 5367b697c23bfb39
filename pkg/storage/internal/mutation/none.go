//go:build !(mutate_publish_before_sync || mutate_ack_before_commit || mutate_skip_precondition || mutate_reuse_revision || mutate_forget_log_tail || mutate_no_checksum || mutate_no_sync || mutate_trim_before_fold || mutate_skip_compacted) && !mutate_any_version

package mutation

// Active is the mutation of this build.
const Active = None
