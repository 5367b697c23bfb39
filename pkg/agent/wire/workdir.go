package wire

// Names in the volume that "arl-agent workdir" fills. HomeSubPath is also a directory that "arl-agent
// prepare" leaves beside the agent, for HOME to be mounted on.
const (
	// WorkSubPath is the directory that stands in for the image's work directory.
	WorkSubPath = "work"
	// HomeSubPath is the directory that stands in for the user's home.
	HomeSubPath = "home"
)

// WorkDirReport is what "arl-agent workdir" reports of the image in which it ran, as JSON. It is the
// word of a process in the user's own image: it decides how other pods of the same template are made
// and nothing else.
type WorkDirReport struct {
	// UID and GID are those of the user that the image or the template names.
	UID int `json:"uid"`
	GID int `json:"gid"`
	// OwnWorkDir says that this user has, or can make, the work directory and a home in the image
	// itself, so the pod needs no volume for them.
	OwnWorkDir bool `json:"ownWorkDir,omitempty"`
}
