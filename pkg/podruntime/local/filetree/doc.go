// Package filetree removes and measures directory trees that somebody hostile may have made: of any
// depth, with paths longer than the kernel takes, with directories that nobody may read, with links,
// with mounts, and with millions of files.
//
// A walk holds a constant number of file descriptors and 24 bytes for each level of depth. It names
// every file relative to an open directory, never follows a symbolic link, and never crosses a mount.
// It starts no goroutine; concurrent walks of the same tree are safe.
//
// Read walk.go first, which moves down and up; remove.go and measure.go are the two walks.
package filetree
