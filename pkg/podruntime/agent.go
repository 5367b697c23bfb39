package podruntime

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"arl.io/arl/pkg/agent/wire"
)

// CheckAgent says whether the agent that answered so is the one of the pod with
// this UID, can be talked to, and has the pod as its template wants it. If not,
// the pod cannot become Ready, and the error says why.
func CheckAgent(health wire.Health, uid types.UID) error {
	switch {
	case health.PodUID != string(uid):
		return fmt.Errorf("the agent says it is of pod %q", health.PodUID)
	case health.ProtocolVersion != wire.ProtocolVersion:
		return fmt.Errorf("the agent, version %s, speaks protocol version %d, the server %d", health.Version, health.ProtocolVersion, wire.ProtocolVersion)
	case health.Main != nil && health.Main.Error != "":
		return fmt.Errorf("the template's command cannot be started: %s", health.Main.Error)
	}
	return nil
}
