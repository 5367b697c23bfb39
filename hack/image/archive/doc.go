// Package archive builds container images from files, without Docker and
// without a registry, and writes them as archives that containerd, podman,
// Docker and this project's own "oci-archive:" references read.
//
// What it writes depends on nothing but its input: every file has the time of
// its Image, files and tags are sorted, and owners are numbers. Two builds of the same
// files are the same bytes.
//
// It pulls nothing and starts nothing, and its functions hold no state. Read
// image.go, then write.go.
package archive
