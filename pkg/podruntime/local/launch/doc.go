// Package launch starts the container of one pod.
//
// A container is started by a launcher: this same binary, or a small one beside
// it (cmd/launcher), executed in a mount namespace of its own, and for a rootless server in a user namespace
// too. The launcher assembles the root file system, hands it to libcontainer,
// writes down which process came of it, and ends. So the machine's own mount
// namespace never sees a mount of ours: whoever is killed, and when, the mounts
// go with the last process that used them. The container belongs to nobody
// afterwards and outlives the server.
//
// InitProcess tells apart what such a binary was executed for: as the launcher,
// as libcontainer's init inside the container, which becomes the agent, or to
// probe the machine.
//
// The package does not decide what runs: a Spec says it all. It starts no
// goroutine that outlives a call. Read spec.go first, then start.go for the
// server's side and launcher.go for the other.
package launch
