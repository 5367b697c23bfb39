package validation

import (
	"fmt"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"arl.io/arl/pkg/apis/arl"
)

// Limits of the server, which an object and its status have to fit into together.
const (
	// StorageLimit is the size of the largest object that the storage takes, encoded. The storage
	// takes 64 KiB more than this, for what its envelope and encryption add.
	StorageLimit = 3 << 19
	// RequestLimit is the size of the largest request body that the server reads. Clients that
	// change an object by sending the whole of it as JSON need it to fit.
	RequestLimit = 3 << 20

	// MaxItems bounds the keys of every map and the items of every list of an object: labels,
	// finalizers, environment variables, containers and so on. Some have lower bounds of their own.
	MaxItems = 1024

	// The largest parts of a task's status. The scheduler keeps to them.

	// TaskOutputLimit bounds each of status.stdout and status.stderr, in bytes as the steps wrote them.
	TaskOutputLimit = 32<<10 + 256
	// TaskMessageLimit bounds status.message, which the conditions Succeeded and Stalled repeat.
	TaskMessageLimit = 4 << 10
	// TaskStepMessagesLimit bounds the messages of all steps together.
	TaskStepMessagesLimit = 64 << 10

	// Bytes of a step's status besides its message, and of all other fields of a task's status with
	// the managed fields that its writer adds, encoded for the storage and as JSON.
	stepStatusStored, stepStatusJSON = 256, 512
	restOfStatus                     = 16 << 10

	// TaskStatusReserve is the size of the largest status of a task, encoded for the storage.
	// Output that is not UTF-8 is kept twice: as bytes, and as text in which U+FFFD stands for each
	// run of bytes that are not, which is at most twice as long.
	TaskStatusReserve = 2*(1+2)*TaskOutputLimit + 3*TaskMessageLimit +
		TaskStepMessagesLimit + MaxTaskSteps*stepStatusStored + restOfStatus
	// TaskStatusReserveJSON is the same as JSON: six bytes for a control character, and four for
	// three bytes in base64.
	TaskStatusReserveJSON = 2*(maxEscape+2)*TaskOutputLimit + 3*maxEscape*TaskMessageLimit +
		maxEscape*TaskStepMessagesLimit + MaxTaskSteps*stepStatusJSON + restOfStatus

	// otherStatusReserve is for the status of a pool or a sandbox, whose messages are short, and
	// the managed fields that its writer adds.
	otherStatusReserve = 64 << 10

	// maxEscape is how many bytes of JSON one byte of text takes at most: "\u0000".
	maxEscape = 6
)

// Largest sizes of an object without its status.
const (
	maxTaskStored  = StorageLimit - TaskStatusReserve
	maxTaskJSON    = RequestLimit - TaskStatusReserveJSON
	maxOtherStored = StorageLimit - otherStatusReserve
)

// size is an upper bound of what an object takes.
type size struct {
	// stored is its size encoded for the storage, asJSON as a request of a client.
	stored, asJSON int
}

const (
	// fieldStored bounds what the tag and the length of a field take in the storage's encoding.
	fieldStored = 6
	// fieldJSON bounds what the name, the quotes and the punctuation of a field take in JSON.
	fieldJSON = 40
)

// text adds a field of type string.
func (s *size) text(text string) {
	s.stored += fieldStored + len(text)
	s.asJSON += fieldJSON + escaped(text)
}

// pairs adds a map of strings.
func (s *size) pairs(pairs map[string]string) {
	for name, value := range pairs {
		s.other(1)
		s.text(name)
		s.text(value)
	}
}

// other adds so many fields of other types, which are numbers, times or messages.
func (s *size) other(fields int) {
	s.stored += fields * (fieldStored + 12)
	s.asJSON += fields * (fieldJSON + 32)
}

// metadata adds an object's metadata.
func (s *size) metadata(meta *metav1.ObjectMeta) {
	s.other(8)
	for _, text := range []string{meta.Name, meta.GenerateName, meta.Namespace, string(meta.UID), meta.ResourceVersion} {
		s.text(text)
	}
	s.pairs(meta.Labels)
	s.pairs(meta.Annotations)
	for _, finalizer := range meta.Finalizers {
		s.text(finalizer)
	}
	for i := range meta.OwnerReferences {
		owner := &meta.OwnerReferences[i]
		s.other(3)
		for _, text := range []string{owner.APIVersion, owner.Kind, owner.Name, string(owner.UID)} {
			s.text(text)
		}
	}
	for i := range meta.ManagedFields {
		entry := &meta.ManagedFields[i]
		s.other(3)
		for _, text := range []string{entry.Manager, string(entry.Operation), entry.APIVersion, entry.FieldsType, entry.Subresource} {
			s.text(text)
		}
		if entry.FieldsV1 != nil {
			// It is JSON already, and part of the JSON as it stands.
			s.stored += fieldStored + len(entry.FieldsV1.GetRawBytes())
			s.asJSON += fieldJSON + len(entry.FieldsV1.GetRawBytes())
		}
	}
}

// sizeOfTask returns the size of a task without its status.
func sizeOfTask(task *arl.Task) size {
	var s size
	s.metadata(&task.ObjectMeta)
	spec := &task.Spec
	s.other(10)
	for _, text := range []string{
		spec.SandboxRef, spec.PoolRef, spec.Timeout, string(spec.RetryPolicy), spec.TraceID, string(spec.RetentionPolicy),
	} {
		s.text(text)
	}
	for i := range spec.Steps {
		s.step(&spec.Steps[i])
	}
	return s
}

func (s *size) step(step *arl.TaskStep) {
	s.other(2)
	for _, text := range []string{
		step.Name, string(step.Type), step.WorkDir, step.Stdin, step.Timeout, string(step.OnFailure), step.Path,
	} {
		s.text(text)
	}
	for _, argument := range step.Command {
		s.text(argument)
	}
	s.pairs(step.Env)
	for _, text := range []*string{step.Content, step.Patch} {
		if text != nil {
			s.text(*text)
		}
	}
}

// validateTaskSize wants a task beside which every status fits, whatever becomes of it.
func validateTaskSize(task *arl.Task, fldPath *field.Path) field.ErrorList {
	const advice = "so that the task's status can be stored beside them: split the task, have a step download large files, or put them into the image"
	switch s := sizeOfTask(task); {
	case s.stored > maxTaskStored:
		return field.ErrorList{field.Invalid(fldPath, omitted, fmt.Sprintf(
			"metadata and spec together are %d bytes; at most %d are allowed, %s", s.stored, maxTaskStored, advice))}
	case s.asJSON > maxTaskJSON:
		return field.ErrorList{field.Invalid(fldPath, omitted, fmt.Sprintf(
			"metadata and spec together are %d bytes as JSON, in which control characters, quotes, '<', '>' and '&' are escaped; at most %d are allowed, %s",
			s.asJSON, maxTaskJSON, advice))}
	}
	return nil
}

// validateStoredSize wants an object beside which every status fits. What is its size without
// the status, encoded for the storage.
func validateStoredSize(stored int, fldPath *field.Path) field.ErrorList {
	if stored <= maxOtherStored {
		return nil
	}
	return field.ErrorList{field.Invalid(fldPath, omitted, fmt.Sprintf(
		"metadata and spec together are %d bytes; at most %d are allowed, so that the status can be stored beside them", stored, maxOtherStored))}
}

// ifNew returns what is wrong now and was not before: an object that was stored before there was
// a limit can still be changed, for instance cancelled.
func ifNew(now, before field.ErrorList) field.ErrorList {
	if len(before) > 0 {
		return nil
	}
	return now
}

func storedSizeOfSandbox(sandbox *arl.Sandbox) int {
	var s size
	s.metadata(&sandbox.ObjectMeta)
	s.other(16)
	s.text(sandbox.Spec.PoolRef)
	s.pairs(sandbox.Spec.Env)
	if resources := sandbox.Spec.Resources; resources != nil {
		s.stored += fieldStored + resources.Size()
	}
	return s.stored
}

func storedSizeOfWarmPool(pool *arl.WarmPool) int {
	var s size
	s.metadata(&pool.ObjectMeta)
	s.other(16)
	s.text(pool.Spec.WorkDir)
	s.stored += fieldStored + pool.Spec.Template.Size()
	return s.stored
}

// escapes says how many bytes a byte below 0x80 takes in JSON besides itself.
var escapes = func() (extra [utf8.RuneSelf]byte) {
	for c := range extra {
		switch c {
		case '"', '\\', '\n', '\r', '\t', '\b', '\f':
			extra[c] = 1
		case '<', '>', '&':
			extra[c] = maxEscape - 1
		default:
			if c < ' ' {
				extra[c] = maxEscape - 1
			}
		}
	}
	return extra
}()

// escaped returns how many bytes a text takes in JSON as Kubernetes' encoders write it, between the quotes.
func escaped(text string) int {
	n := len(text)
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c < utf8.RuneSelf {
			n += int(escapes[c])
			continue
		}
		r, width := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && width == 1 || r == '\u2028' || r == '\u2029' {
			n += maxEscape - width
		}
		i += width - 1
	}
	return n
}
