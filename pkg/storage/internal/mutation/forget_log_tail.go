//go:build mutate_forget_log_tail

package mutation

// Active is the mutation of this build.
const Active = ForgetLogTail
