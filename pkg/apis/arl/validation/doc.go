// Package validation says which WarmPools, Sandboxes and Tasks are accepted.
//
// It enforces what the comments of pkg/apis/arl/v1alpha1 promise, and no more.
// Every function is pure: it reads its arguments, changes nothing, and asks
// nobody. Whether a referenced object exists, or a quota is left, is not its
// business; nor is the size of the whole object, which the storage bounds.
// Objects are internal ones with their defaults set.
//
// An update is checked for what it changes. A spec that stays as it was is not
// checked again, so that an object stored under older, laxer rules can still
// be labelled, finalized and given a status.
//
// Errors name the field and say what is allowed. Values that may be large or
// secret (file contents, environment variables) are not repeated in them.
//
// Read warmpool.go, sandbox.go and task.go first; rules.go holds what they share.
package validation
