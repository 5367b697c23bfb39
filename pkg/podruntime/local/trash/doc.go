// Package trash removes directories that are not needed any more, such as those of deleted pods and of
// images. A directory gets out of the way at once, by a rename into the trash, so that what is half
// removed is never taken for what it was. What cannot be removed stays in the trash: it is reported
// once, with its size, and tried again with back-off. Nobody waits for it.
//
// A Bin has one goroutine, Run, which its caller starts and joins. Bin.mu is held over no call to the
// kernel.
package trash
