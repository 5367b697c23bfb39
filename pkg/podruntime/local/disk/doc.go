// Package disk keeps pods from filling the disk that they share with the database.
//
// Nothing here limits a pod's writes in the kernel: that takes project quotas, which few root file
// systems have. Instead a Guard measures. Every few hundred milliseconds it asks the file system what is
// free, which costs nothing. It measures the files of a pod only if the file system has grown since the
// last time by as much as the pod's limit leaves, and of every pod once in a while, and never for more
// than a fifth of a processor. A pod above its limit is failed.
//
// If only the reserve of the disk is left, all pods are measured and the one that uses most beyond its
// request is failed, then the next, until there is room. A pod whose files cannot be counted, because
// there are too many or they are moved all the time, goes first.
//
// A Guard has two goroutines, which Run starts and joins: limits and reserve. Guard.mu is held over no
// call.
package disk
