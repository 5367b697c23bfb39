package apiserver

import (
	"testing"

	genericapiserver "k8s.io/apiserver/pkg/server"

	"arl.io/arl/pkg/apis/arl/validation"
	"arl.io/arl/pkg/storage/kv"
)

// TestLimitsAreThoseOfTheServer compares the limits that validation computes with to those that
// refuse a write.
func TestLimitsAreThoseOfTheServer(t *testing.T) {
	const envelope = 64 << 10
	if got := kv.DefaultMaxValueBytes; got != validation.StorageLimit+envelope {
		t.Errorf("the storage takes values of %d bytes, want %d for objects of %d", got, validation.StorageLimit+envelope, validation.StorageLimit)
	}
	if got := genericapiserver.NewConfig(Codecs).MaxRequestBodyBytes; got != validation.RequestLimit {
		t.Errorf("the server reads requests of %d bytes, want %d", got, validation.RequestLimit)
	}
}
