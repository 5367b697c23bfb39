package validation

import (
	"fmt"
	"path"
	"regexp"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

const (
	maxStepName = 63
	// maxArguments bounds a step's command.
	maxArguments = 1024
	// maxText bounds each of stdin, content and patch, in bytes. Larger
	// files belong in the image or a download.
	maxText = 1 << 20
	maxMode = 0o777

	stepNameFormat = `[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?`
)

var stepNamePattern = regexp.MustCompile("^" + stepNameFormat + "$")

func validateStep(step *arl.TaskStep, fldPath *field.Path) field.ErrorList {
	errs := validateStepName(step.Name, fldPath.Child("name"))
	switch step.Type {
	case arl.StepCommand:
		errs = append(errs, validateCommandStep(step, fldPath)...)
		errs = append(errs, forbid(fldPath, "only for steps of type FilePatch", map[string]bool{
			"path":    step.Path != "",
			"content": step.Content != nil,
			"patch":   step.Patch != nil,
			"mode":    step.Mode != nil,
		})...)
	case arl.StepFilePatch:
		errs = append(errs, validateFilePatchStep(step, fldPath)...)
		errs = append(errs, forbid(fldPath, "only for steps of type Command", map[string]bool{
			"command": len(step.Command) > 0,
			"env":     len(step.Env) > 0,
			"workDir": step.WorkDir != "",
			"stdin":   step.Stdin != "",
			"timeout": step.Timeout != "",
		})...)
	case "":
		errs = append(errs, field.Required(fldPath.Child("type"), "must be Command or FilePatch"))
	default:
		errs = append(errs, validateEnum(step.Type, fldPath.Child("type"), arl.StepCommand, arl.StepFilePatch)...)
	}
	return append(errs, validateOptionalEnum(step.OnFailure, fldPath.Child("onFailure"), arl.FailureStop, arl.FailureContinue)...)
}

// forbid refuses the fields that are set, in the order of their names.
func forbid(fldPath *field.Path, detail string, set map[string]bool) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(set) {
		if set[name] {
			errs = append(errs, field.Forbidden(fldPath.Child(name), detail))
		}
	}
	return errs
}

func validateStepName(name string, fldPath *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(fldPath, "must tell the steps of the task apart")}
	case len(name) > maxStepName:
		return field.ErrorList{field.TooLongCharacters(fldPath, name, maxStepName)}
	case !stepNamePattern.MatchString(name):
		return field.ErrorList{field.Invalid(fldPath, name, validation.RegexError(
			"must consist of letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
			stepNameFormat, "install-deps", "step_1"))}
	}
	return nil
}

func validateCommandStep(step *arl.TaskStep, fldPath *field.Path) field.ErrorList {
	errs := validateCommand(step.Command, fldPath.Child("command"))
	errs = append(errs, validateEnv(step.Env, fldPath.Child("env"))...)
	errs = append(errs, validateStepExec(step.Command, step.Env, fldPath.Child("env"))...)
	errs = append(errs, validatePath(step.WorkDir, fldPath.Child("workDir"))...)
	if len(step.Stdin) > maxText {
		errs = append(errs, field.TooLong(fldPath.Child("stdin"), omitted, maxText))
	}
	if step.Timeout != "" {
		errs = append(errs, validateTimeout(step.Timeout, fldPath.Child("timeout"))...)
	}
	return errs
}

func validateCommand(command []string, fldPath *field.Path) field.ErrorList {
	if len(command) == 0 {
		return field.ErrorList{field.Required(fldPath, "must hold the program and its arguments")}
	}
	if len(command) > maxArguments {
		return field.ErrorList{field.TooMany(fldPath, len(command), maxArguments)}
	}
	var errs field.ErrorList
	if command[0] == "" {
		errs = append(errs, field.Required(fldPath.Index(0), "must name the program"))
	}
	for i, argument := range command {
		if len(argument) > maxArgument {
			return append(errs, field.Invalid(fldPath.Index(i), omitted, longArgument))
		}
	}
	return append(errs, validateArguments(command, fldPath)...)
}

func validateFilePatchStep(step *arl.TaskStep, fldPath *field.Path) field.ErrorList {
	errs := validateFilePath(step, fldPath)
	errs = append(errs, validateFileChange(step, fldPath)...)
	if step.Mode != nil && (*step.Mode < 0 || *step.Mode > maxMode) {
		errs = append(errs, field.Invalid(fldPath.Child("mode"), *step.Mode,
			fmt.Sprintf("must be between 0 and %d (octal 0777)", maxMode)))
	}
	return errs
}

// validateFilePath wants the path of a file, or of a directory for a patch. Only the agent can say
// which of them it is if the path does not, and whether symbolic links lead out of the root.
func validateFilePath(step *arl.TaskStep, fldPath *field.Path) field.ErrorList {
	p, pathField := step.Path, fldPath.Child("path")
	if p == "" {
		return field.ErrorList{field.Required(pathField, "must name the file to write or patch, or the directory to patch")}
	}
	if errs := validatePath(p, pathField); len(errs) > 0 {
		return errs
	}
	switch _, last := path.Split(p); {
	case last != "" && last != "." && last != "..":
	case step.Patch == nil:
		return field.ErrorList{field.Invalid(pathField, p, "must name a file, not a directory, unless patch is set")}
	case step.Mode != nil:
		return field.ErrorList{field.Forbidden(fldPath.Child("mode"), "only if path names a file; the patch of a directory has the modes of its files")}
	}
	return nil
}

// validateFileChange wants exactly one of content and patch.
func validateFileChange(step *arl.TaskStep, fldPath *field.Path) field.ErrorList {
	const exactlyOne = "exactly one of content and patch must be set"
	content, patch := fldPath.Child("content"), fldPath.Child("patch")
	switch {
	case step.Content == nil && step.Patch == nil:
		return field.ErrorList{field.Required(content, exactlyOne)}
	case step.Content != nil && step.Patch != nil:
		return field.ErrorList{field.Forbidden(patch, exactlyOne)}
	case step.Content != nil && len(*step.Content) > maxText:
		return field.ErrorList{field.TooLong(content, omitted, maxText)}
	case step.Patch != nil && *step.Patch == "":
		return field.ErrorList{field.Required(patch, "must be a unified diff")}
	case step.Patch != nil && len(*step.Patch) > maxText:
		return field.ErrorList{field.TooLong(patch, omitted, maxText)}
	}
	return nil
}
