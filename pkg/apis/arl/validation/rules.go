package validation

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxEnv bounds the environment variables of a sandbox or a step.
	maxEnv = 256
	// maxArgument is the longest argument or NAME=VALUE that Linux takes, in
	// bytes without the terminating NUL (MAX_ARG_STRLEN). A longer one would
	// fail every time the command is started.
	maxArgument = 128<<10 - 1
	// maxPath is the longest path that Linux takes, without the terminating
	// NUL (PATH_MAX).
	maxPath = 4095
	// maxTimeout is the longest timeout of a task or a step.
	maxTimeout = 24 * time.Hour

	maxIdleTimeoutSeconds       = 7 * 24 * 60 * 60
	maxMaxLifetimeSeconds       = 30 * 24 * 60 * 60
	maxAllocationTimeoutSeconds = 24 * 60 * 60
)

// omitted stands for a value that an error must not repeat.
var omitted = field.OmitValueType{}

// validateRange wants low <= value <= high.
func validateRange[T ~int32 | ~int64](value T, low, high T, fldPath *field.Path) field.ErrorList {
	if value >= low && value <= high {
		return nil
	}
	return field.ErrorList{field.Invalid(fldPath, value, fmt.Sprintf("must be between %d and %d", low, high))}
}

// validateOptionalRange accepts nil, too.
func validateOptionalRange(value *int32, low, high int32, fldPath *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return validateRange(*value, low, high, fldPath)
}

// lifecycleTimeouts are the three that a pool and its sandboxes share.
type lifecycleTimeouts struct {
	idle, maxLifetime, allocation *int32
}

// validate checks the timeouts as fields of spec.
func (t lifecycleTimeouts) validate(spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateOptionalRange(t.idle, 1, maxIdleTimeoutSeconds, spec.Child("idleTimeoutSeconds"))...)
	errs = append(errs, validateOptionalRange(t.maxLifetime, 1, maxMaxLifetimeSeconds, spec.Child("maxLifetimeSeconds"))...)
	errs = append(errs, validateOptionalRange(t.allocation, 0, maxAllocationTimeoutSeconds, spec.Child("allocationTimeoutSeconds"))...)
	return errs
}

// validateTimeout wants a Go duration string in (0, 24h].
func validateTimeout(timeout string, fldPath *field.Path) field.ErrorList {
	d, err := time.ParseDuration(timeout)
	if err != nil || d <= 0 || d > maxTimeout {
		return field.ErrorList{field.Invalid(fldPath, timeout,
			`must be a Go duration string such as "90s" or "5m", more than 0 and at most 24h`)}
	}
	return nil
}

// validateEnum wants value to be one of allowed.
func validateEnum[T ~string](value T, fldPath *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(fldPath, value, allowed)}
}

// validateOptionalEnum accepts the empty string, too.
func validateOptionalEnum[T ~string](value T, fldPath *field.Path, allowed ...T) field.ErrorList {
	if value == "" {
		return nil
	}
	return validateEnum(value, fldPath, allowed...)
}

// validateEnv bounds the number of variables and wants each to be one that can
// be passed to a process.
func validateEnv(env map[string]string, fldPath *field.Path) field.ErrorList {
	if len(env) > maxEnv {
		return field.ErrorList{field.TooMany(fldPath, len(env), maxEnv)}
	}
	var errs field.ErrorList
	for _, name := range sortedKeys(env) {
		errs = append(errs, validateEnvVar(name, env[name], fldPath.Key(name))...)
	}
	return errs
}

func validateEnvVar(name, value string, fldPath *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Invalid(fldPath, omitted, "the name of a variable must not be empty")}
	case strings.ContainsAny(name, "=\x00"):
		return field.ErrorList{field.Invalid(fldPath, omitted, "the name of a variable must not contain '=' or a NUL byte")}
	case strings.ContainsRune(value, 0):
		return field.ErrorList{field.Invalid(fldPath, omitted, "must not contain a NUL byte")}
	case len(name)+len("=")+len(value) > maxArgument:
		return field.ErrorList{field.Invalid(fldPath, omitted,
			fmt.Sprintf("name and value together must be at most %d bytes", maxArgument-len("=")))}
	}
	return nil
}

// validateArguments wants strings that can be passed to a process.
func validateArguments(arguments []string, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, argument := range arguments {
		switch {
		case len(argument) > maxArgument:
			errs = append(errs, field.TooLong(fldPath.Index(i), omitted, maxArgument))
		case strings.ContainsRune(argument, 0):
			errs = append(errs, field.Invalid(fldPath.Index(i), omitted, "must not contain a NUL byte"))
		}
	}
	return errs
}

// validatePath wants what the kernel would take for a path.
func validatePath(p string, fldPath *field.Path) field.ErrorList {
	if len(p) > maxPath {
		return field.ErrorList{field.TooLong(fldPath, omitted, maxPath)}
	}
	if strings.ContainsRune(p, 0) {
		return field.ErrorList{field.Invalid(fldPath, p, "must not contain a NUL byte")}
	}
	return nil
}

// validateAbsoluteDir wants an absolute path without "..", so that it means
// the same to everyone who joins something to it.
func validateAbsoluteDir(p string, fldPath *field.Path) field.ErrorList {
	if errs := validatePath(p, fldPath); len(errs) > 0 {
		return errs
	}
	if !path.IsAbs(p) || slices.Contains(strings.Split(p, "/"), "..") {
		return field.ErrorList{field.Invalid(fldPath, p, `must be an absolute path without ".." elements, such as "/workspace"`)}
	}
	return nil
}

// validateName wants value to be a DNS label of at most maxLength characters.
func validateName(value string, maxLength int, fldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, message := range nameValidator(maxLength)(value, false) {
		errs = append(errs, field.Invalid(fldPath, value, message))
	}
	return errs
}

// maxGenerateName is the longest metadata.generateName: as long as any name of Kubernetes.
const maxGenerateName = validation.DNS1123SubdomainMaxLength

// nameValidator is validateName in the form that metadata validation takes. A prefix may be longer
// than a name: the names that are generated from it are cut.
func nameValidator(maxLength int) apivalidation.ValidateNameFunc {
	return func(name string, prefix bool) []string {
		if prefix && len(name) > maxGenerateName {
			return []string{fmt.Sprintf("must be no more than %d characters", maxGenerateName)}
		}
		if prefix {
			name = name[:min(len(name), maxLength)]
		}
		messages := apivalidation.NameIsDNSLabel(name, prefix)
		if len(messages) == 0 && len(name) > maxLength {
			messages = append(messages, fmt.Sprintf("must be no more than %d characters", maxLength))
		}
		return messages
	}
}

// validateImmutable wants a field that an update has not changed. Empty and
// unset lists and maps are the same.
func validateImmutable(newValue, oldValue any, fldPath *field.Path) field.ErrorList {
	if apiequality.Semantic.DeepEqual(newValue, oldValue) {
		return nil
	}
	return field.ErrorList{field.Invalid(fldPath, omitted, "is immutable: delete the object and create another to change it")}
}

// validateSetOnce wants a string that, once set, stays as it is.
func validateSetOnce[T ~string](newValue, oldValue T, fldPath *field.Path) field.ErrorList {
	if oldValue == "" || newValue == oldValue {
		return nil
	}
	return field.ErrorList{field.Invalid(fldPath, newValue, fmt.Sprintf("must stay %q once set", oldValue))}
}

// validateCounters wants numbers that are not negative.
func validateCounters[T ~int32 | ~int64](fldPath *field.Path, counters map[string]T) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(counters) {
		errs = append(errs, apivalidation.ValidateNonnegativeField(int64(counters[name]), fldPath.Child(name))...)
	}
	return errs
}

// sortedKeys makes the order of errors the same each time.
func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
