package plan

import (
	"fmt"
	"slices"
	"strings"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// executorContainer is the container in which steps run; without one of that
// name they run in the first.
const executorContainer = "executor"

// Insufficient says in which ways the pods of a pool are smaller than a sandbox
// asks for, or "" if they are large enough.
func Insufficient(sandbox *v1alpha1.Sandbox, pool *v1alpha1.WarmPool) string {
	if sandbox.Spec.Resources == nil || len(pool.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	containers := pool.Spec.Template.Spec.Containers
	executor := &containers[0]
	for i := range containers {
		if containers[i].Name == executorContainer {
			executor = &containers[i]
		}
	}
	var missing []string
	for name, wanted := range sandbox.Spec.Resources.Requests {
		offered := executor.Resources.Requests[name]
		if offered.Cmp(wanted) < 0 {
			missing = append(missing, fmt.Sprintf("%s: %s asked, %s offered", name, wanted.String(), offered.String()))
		}
	}
	slices.Sort(missing)
	return strings.Join(missing, "; ")
}
