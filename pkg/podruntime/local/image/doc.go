// Package image keeps container images unpacked on disk, each once, as the
// lower directories of the overlays of pods.
//
// An image comes from a registry, or from a file or folder of the machine (an
// OCI archive or layout, a docker archive). Its layers are applied one on
// another into one directory, named by the digest of the image's manifest. A
// directory gets its name only when it is complete, so a process that dies
// leaves nothing that could be taken for an image. Layers are not trusted:
// nothing they hold reaches outside that directory, and their size, number of files and depth are
// bounded, and so is the memory and the work that they take (tree.go, decompress.go). The same holds
// for manifests and configurations (document.go).
//
// Images that nothing uses are removed, the least recently used first, when the
// disk fills up (collect.go). The package does not mount or start anything, and
// removes nothing in use. Extended attributes and device nodes of
// layers are left out: in a container neither would have an effect.
//
// A pull has a goroutine of its own, which all who ask for the same image at
// the time wait for; Close ends and joins them. Collector.Run is one of its
// caller's. There is one lock, Store.mu,
// never held over work on disk or the network. Read store.go first, then
// source.go and unpack.go.
package image
