package bolt

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/features"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
)

// The tests of this file and of watch_suite_test.go are the suite that every
// storage of Kubernetes passes. suite_test.go sees to it that none is missing.

func TestCreate(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestCreate(t.Context(), t, f, f.checkStored)
}

func TestCreateWithTTL(t *testing.T) {
	storagetesting.RunTestCreateWithTTL(t.Context(), t, newFixture(t))
}

func TestCreateWithKeyExist(t *testing.T) {
	storagetesting.RunTestCreateWithKeyExist(t.Context(), t, newFixture(t))
}

func TestGet(t *testing.T) {
	storagetesting.RunTestGet(t.Context(), t, newFixture(t))
}

func TestUnconditionalDelete(t *testing.T) {
	storagetesting.RunTestUnconditionalDelete(t.Context(), t, newFixture(t))
}

func TestConditionalDelete(t *testing.T) {
	storagetesting.RunTestConditionalDelete(t.Context(), t, newFixture(t))
}

func TestDeleteWithSuggestion(t *testing.T) {
	storagetesting.RunTestDeleteWithSuggestion(t.Context(), t, newFixture(t))
}

func TestDeleteWithSuggestionAndConflict(t *testing.T) {
	storagetesting.RunTestDeleteWithSuggestionAndConflict(t.Context(), t, newFixture(t))
}

func TestDeleteWithSuggestionOfDeletedObject(t *testing.T) {
	storagetesting.RunTestDeleteWithSuggestionOfDeletedObject(t.Context(), t, newFixture(t))
}

func TestValidateDeletionWithSuggestion(t *testing.T) {
	storagetesting.RunTestValidateDeletionWithSuggestion(t.Context(), t, newFixture(t))
}

func TestValidateDeletionWithOnlySuggestionValid(t *testing.T) {
	storagetesting.RunTestValidateDeletionWithOnlySuggestionValid(t.Context(), t, newFixture(t))
}

func TestDeleteWithConflict(t *testing.T) {
	storagetesting.RunTestDeleteWithConflict(t.Context(), t, newFixture(t))
}

func TestPreconditionalDeleteWithSuggestion(t *testing.T) {
	storagetesting.RunTestPreconditionalDeleteWithSuggestion(t.Context(), t, newFixture(t))
}

func TestPreconditionalDeleteWithSuggestionPass(t *testing.T) {
	storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass(t.Context(), t, newFixture(t))
}

func TestDeleteWithConflictAndMissingExpectedTransformOrDecodeError(t *testing.T) {
	allowUnsafeDeletion(t, true)
	codec := &failingCodec{}
	f := newFixture(t, codec.into)
	storagetesting.RunTestDeleteWithConflictAndMissingExpectedTransformOrDecodeError(t.Context(), t, f, codec.fail.Store)
}

func TestDeleteExpectedTransformError(t *testing.T) {
	allowUnsafeDeletion(t, true)
	f := newFixture(t)
	storagetesting.RunTestDeleteExpectedTransformOrDecodeError(t.Context(), t, f, func(fail bool) {
		prefix := testPrefix
		if fail {
			prefix = "another!"
		}
		f.transformer.set(storagetesting.NewPrefixTransformer([]byte(prefix), false))
	})
}

func TestDeleteExpectedDecodeError(t *testing.T) {
	allowUnsafeDeletion(t, true)
	codec := &failingCodec{}
	f := newFixture(t, codec.into)
	storagetesting.RunTestDeleteExpectedTransformOrDecodeError(t.Context(), t, f, codec.fail.Store)
}

func TestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError(t *testing.T) {
	allowUnsafeDeletion(t, true)
	storagetesting.RunTestDeleteWithSuggestionAndMissingExpectedTransformOrDecodeError(t.Context(), t, newFixture(t))
}

func TestList(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestList(t.Context(), t, f, f.compact, false, nil)
}

func TestListPaging(t *testing.T) {
	storagetesting.RunTestListPaging(t.Context(), t, newFixture(t))
}

func TestGetListNonRecursive(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestGetListNonRecursive(t.Context(), t, f.increaseRV, f)
}

func TestGetListRecursivePrefix(t *testing.T) {
	storagetesting.RunTestGetListRecursivePrefix(t.Context(), t, newFixture(t))
}

func TestKeySchema(t *testing.T) {
	storagetesting.RunTestKeySchema(t.Context(), t, newFixture(t))
}

func TestGetListWithErrorAggregation(t *testing.T) {
	allowUnsafeDeletion(t, true)
	storagetesting.RunTestGetListWithErrorAggregation(t.Context(), t, newFixture(t), errFlippedBits)
}

func TestGetListWithoutErrorAggregation(t *testing.T) {
	allowUnsafeDeletion(t, false)
	storagetesting.RunTestGetListWithoutErrorAggregation(t.Context(), t, newFixture(t), errFlippedBits)
}

func TestConsistentList(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestConsistentList(t.Context(), t, f, f.increaseRV, false, true, false)
}

func TestCompactRevision(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestCompactRevision(t.Context(), t, f, f.increaseRV, f.compact)
}

func TestListContinuation(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestListContinuation(t.Context(), t, f, f.checkReads)
}

func TestListPaginationRareObject(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestListPaginationRareObject(t.Context(), t, f, f.checkReads)
}

func TestListContinuationWithFilter(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestListContinuationWithFilter(t.Context(), t, f, f.checkReads)
}

func TestListInconsistentContinuation(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestListInconsistentContinuation(t.Context(), t, f, f.compact)
}

func TestListResourceVersionMatch(t *testing.T) {
	storagetesting.RunTestListResourceVersionMatch(t.Context(), t, newFixture(t))
}

func TestNamespaceScopedList(t *testing.T) {
	storagetesting.RunTestNamespaceScopedList(t.Context(), t, newFixture(t))
}

func TestGuaranteedUpdate(t *testing.T) {
	f := newFixture(t)
	storagetesting.RunTestGuaranteedUpdate(t.Context(), t, f, f.checkStored)
}

func TestGuaranteedUpdateWithTTL(t *testing.T) {
	storagetesting.RunTestGuaranteedUpdateWithTTL(t.Context(), t, newFixture(t))
}

func TestGuaranteedUpdateChecksStoredData(t *testing.T) {
	storagetesting.RunTestGuaranteedUpdateChecksStoredData(t.Context(), t, newFixture(t))
}

func TestGuaranteedUpdateWithConflict(t *testing.T) {
	storagetesting.RunTestGuaranteedUpdateWithConflict(t.Context(), t, newFixture(t))
}

func TestGuaranteedUpdateWithSuggestionAndConflict(t *testing.T) {
	storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict(t.Context(), t, newFixture(t))
}

func TestTransformationFailure(t *testing.T) {
	storagetesting.RunTestTransformationFailure(t.Context(), t, newFixture(t))
}

func TestStats(t *testing.T) {
	for _, sizes := range []bool{true, false} {
		t.Run(fmt.Sprintf("sizes=%t", sizes), func(t *testing.T) {
			f := newFixture(t)
			if sizes {
				if err := f.EnableResourceSizeEstimation(noKeys); err != nil {
					t.Fatal(err)
				}
			}
			storagetesting.RunTestStats(t.Context(), t, f, f.codec, f.transformer, sizes)
		})
	}
}

// noKeys is a storage.KeysFunc that nothing should call.
func noKeys(context.Context) ([]string, error) { return nil, errors.New("keys are not needed") }

// errFlippedBits is how a transformer says that a value is damaged.
var errFlippedBits = &corruptError{problem: untransformable, err: errors.New("bits flipped")}

func allowUnsafeDeletion(t *testing.T, allow bool) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.AllowUnsafeMalformedObjectDeletion, allow)
}

// failingCodec is a codec that decodes nothing while it is told to fail.
type failingCodec struct {
	runtime.Codec
	fail atomic.Bool
}

func (c *failingCodec) into(config *Config) {
	c.Codec = config.Codec
	config.Codec = c
}

func (c *failingCodec) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if c.fail.Load() {
		return nil, nil, errors.New("synthetic error")
	}
	return c.Codec.Decode(data, gvk, into)
}

// checkReads is a storagetesting.CallsValidation: a list reads each object that
// it must look at, once, and no other.
func (f *fixture) checkReads(t *testing.T, _, want uint64) {
	t.Helper()
	if got := f.transformer.get().(*storagetesting.PrefixTransformer).GetReadsAndReset(); got != want {
		t.Errorf("the list read %d objects, want %d", got, want)
	}
}
