package aggregated

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// apiServiceName names the APIService by which the cluster finds this server.
var apiServiceName = v1alpha1.SchemeGroupVersion.Version + "." + v1alpha1.SchemeGroupVersion.Group

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

const (
	// lookPeriod is how often an APIService that was right is looked at: somebody
	// may have applied its manifest again.
	lookPeriod = 30 * time.Second
	// retryPause is how long is waited after a failure.
	retryPause = 2 * time.Second
)

// publisher keeps the caBundle of the APIService equal to the authorities by
// which this server's certificate is signed. It writes only what is not so yet.
type publisher struct {
	client dynamic.ResourceInterface
	bundle func() ([]byte, error)
	clock  clock.WithTicker
	// failure is the last one that was logged: it is told once.
	failure string
}

func newPublisher(client dynamic.Interface, bundle func() ([]byte, error), clk clock.WithTicker) *publisher {
	return &publisher{client: client.Resource(apiServices), bundle: bundle, clock: clk}
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	logger := klog.FromContext(ctx).WithValues("apiservice", apiServiceName)
	for {
		pause := lookPeriod
		changed, err := p.publish(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = retryPause
			if p.failure != err.Error() {
				p.failure = err.Error()
				logger.Error(err, "Cannot publish the certificate authority, so the cluster does not trust this server; trying on")
			}
		default:
			p.failure = ""
			if changed {
				logger.Info("Published the certificate authority")
			}
		}
		timer := p.clock.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
	}
}

// publish says whether it had to change the APIService.
func (p *publisher) publish(ctx context.Context) (changed bool, err error) {
	bundle, err := p.bundle()
	if err != nil {
		return false, err
	}
	found, err := p.client.Get(ctx, apiServiceName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, fmt.Errorf("there is no APIService %s, by which the cluster would find this server: apply the manifests", apiServiceName)
	}
	if err != nil {
		return false, fmt.Errorf("get APIService %s: %w", apiServiceName, err)
	}
	if isPublished(found, bundle) {
		return false, nil
	}
	patch, err := json.Marshal(map[string]any{
		// So that nobody's change in between is overwritten.
		"metadata": map[string]any{"resourceVersion": found.GetResourceVersion()},
		"spec":     map[string]any{"caBundle": bundle, "insecureSkipTLSVerify": nil},
	})
	if err != nil {
		return false, fmt.Errorf("encode the change of APIService %s: %w", apiServiceName, err)
	}
	if _, err := p.client.Patch(ctx, apiServiceName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: serverUser}); err != nil {
		return false, fmt.Errorf("write the certificate authority into APIService %s: %w", apiServiceName, err)
	}
	return true, nil
}

// isPublished says whether an APIService trusts just this bundle.
func isPublished(service *unstructured.Unstructured, bundle []byte) bool {
	// Fields that are missing or of another type are not what is wanted either.
	encoded, _, _ := unstructured.NestedString(service.Object, "spec", "caBundle")
	insecure, _, _ := unstructured.NestedBool(service.Object, "spec", "insecureSkipTLSVerify")
	current, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && !insecure && bytes.Equal(current, bundle)
}
