package execution

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"arl.io/arl/pkg/agent/wire"
)

const (
	maxIDLength = 128
	// maxSteps bounds the events of an execution.
	maxSteps = wire.MaxSteps
	// DefaultOutputLimit and MaxOutputLimit are of each of stdout and stderr.
	DefaultOutputLimit = wire.DefaultOutputLimitBytes
	MaxOutputLimit     = wire.MaxOutputLimitBytes
)

// validate says what is wrong with an execution, before anything is begun.
func validate(ex wire.Execution) error {
	if err := validateID(ex.ID); err != nil {
		return err
	}
	switch {
	case len(ex.Steps) == 0:
		return errors.New("steps: needs at least one")
	case len(ex.Steps) > maxSteps:
		return fmt.Errorf("steps: %d are too many; at most %d", len(ex.Steps), maxSteps)
	case ex.TimeoutMillis < 0:
		return errors.New("timeoutMillis: must not be negative")
	case ex.OutputLimitBytes < 0 || ex.OutputLimitBytes > MaxOutputLimit:
		return fmt.Errorf("outputLimitBytes: must be 0 to %d", MaxOutputLimit)
	case ex.GraceMillis != nil && (*ex.GraceMillis < 0 || *ex.GraceMillis > wire.MaxGraceMillis):
		return fmt.Errorf("graceMillis: must be 0 to %d", wire.MaxGraceMillis)
	case ex.WorkDir != "" && !path.IsAbs(ex.WorkDir):
		return errors.New("workDir: must be absolute")
	case strings.ContainsRune(ex.WorkDir, 0):
		return errors.New("workDir: holds a NUL byte")
	}
	if err := validateEnv(ex.Env); err != nil {
		return err
	}
	for i, step := range ex.Steps {
		if err := validateStep(step); err != nil {
			return fmt.Errorf("steps[%d] (%s): %w", i, step.Name, err)
		}
	}
	return nil
}

func validateID(id string) error {
	if id == "" || len(id) > maxIDLength {
		return fmt.Errorf("id: must have 1 to %d characters", maxIDLength)
	}
	for _, c := range []byte(id) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune("-_.:", rune(c)) {
			return errors.New("id: may hold letters, digits, '-', '_', '.' and ':' only")
		}
	}
	return nil
}

func validateEnv(env map[string]string) error {
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return fmt.Errorf("env[%q]: a name must not be empty or hold '=', and neither it nor the value a NUL byte", name)
		}
	}
	return nil
}

func validateStep(step wire.Step) error {
	if step.TimeoutMillis < 0 {
		return errors.New("timeoutMillis: must not be negative")
	}
	switch step.Type {
	case wire.StepCommand:
		return validateCommand(step)
	case wire.StepFilePatch:
		return validateFilePatch(step)
	default:
		return fmt.Errorf("type: %q is not known; must be %q or %q", step.Type, wire.StepCommand, wire.StepFilePatch)
	}
}

func validateCommand(step wire.Step) error {
	if len(step.Command) == 0 || step.Command[0] == "" {
		return errors.New("command: must name a program")
	}
	for i, arg := range step.Command {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("command[%d]: holds a NUL byte", i)
		}
	}
	if strings.ContainsRune(step.WorkDir, 0) {
		return errors.New("workDir: holds a NUL byte")
	}
	return validateEnv(step.Env)
}

func validateFilePatch(step wire.Step) error {
	switch {
	case step.Path == "" || strings.ContainsRune(step.Path, 0):
		return errors.New("path: must not be empty or hold a NUL byte")
	case (step.Content == nil) == (step.Patch == nil):
		return errors.New("content, patch: exactly one must be set")
	case step.Mode != nil && (*step.Mode < 0 || *step.Mode > 0o777):
		return errors.New("mode: must be 0 to 0777")
	}
	return nil
}
