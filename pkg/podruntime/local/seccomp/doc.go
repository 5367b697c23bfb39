// Package seccomp assembles the filter of system calls for the containers of
// the local runtime. It needs neither libseccomp nor its headers.
//
// The filter is an allow list: Docker's default profile, for the capabilities
// that the container has, narrowed in narrow.go. A call that is not on the list
// fails with EPERM. A call that is newer than the list fails with ENOSYS, and so
// does every call of a foreign ABI (32-bit, x32): programs and C libraries take
// that for an older kernel, and fall back to calls that exist.
//
// The package only computes. The server assembles the filter, and package launch
// installs it: so the launcher and the init of a container do not carry the
// profile and its tables.
//
// It has no state and no goroutines. Read filter.go first.
package seccomp
