package cluster

import (
	"context"
	"fmt"
	"strings"
)

// KillContainer kills the first process of a container with SIGKILL. The ID is
// as a pod's status has it.
func (c *Cluster) KillContainer(ctx context.Context, id string) error {
	_, id, _ = strings.Cut(id, "://")
	if _, err := c.ctr(ctx, "tasks", "kill", "--signal", "SIGKILL", id); err != nil {
		return fmt.Errorf("kill container %s: %w", id, err)
	}
	return nil
}
