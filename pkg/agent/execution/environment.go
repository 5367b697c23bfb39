package execution

import (
	"maps"
	"slices"
	"strings"

	"arl.io/arl/pkg/agent/process"
)

// ownPrefix is that of variables that are the agent's own business.
const ownPrefix = "ARL_"

// environment is what all commands have in common. It is not changed once made.
type environment struct {
	variables []string
}

// newEnvironment takes the image's environment from the agent's: the agent's
// own variables are left out, and PATH gets the usual value if there is none.
func newEnvironment(inherited []string) environment {
	var variables []string
	for _, variable := range inherited {
		if !strings.HasPrefix(variable, ownPrefix) {
			variables = append(variables, variable)
		}
	}
	if !slices.ContainsFunc(variables, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		variables = append(variables, "PATH="+process.DefaultPath)
	}
	return environment{variables: slices.Clip(variables)}
}

// CommandEnv returns the environment for the template's own command, given the
// agent's: what commands get before the execution's own variables.
func CommandEnv(inherited []string) []string { return newEnvironment(inherited).variables }

// with returns the environment with PWD set to dir and the layers on top; a later
// layer wins over an earlier one.
func (e environment) with(dir string, layers ...map[string]string) []string {
	top := map[string]string{"PWD": dir}
	for _, layer := range layers {
		maps.Copy(top, layer)
	}
	variables := make([]string, 0, len(e.variables)+len(top)+1)
	for _, variable := range e.variables {
		name, _, _ := strings.Cut(variable, "=")
		if _, hidden := top[name]; !hidden {
			variables = append(variables, variable)
		}
	}
	for name, value := range top {
		variables = append(variables, name+"="+value)
	}
	return variables
}
