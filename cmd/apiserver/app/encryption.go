package app

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/controller"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"

	"arl.io/arl/cmd/apiserver/app/options"
)

// encryption is what objects pass through on their way to the disk and back.
// Kubernetes' own packages read the configuration, hold the keys and talk to
// KMS plugins. What those start ends with close, which does not wait for it;
// the loop that looks for changes is run, and so is joined by the caller.
type encryption struct {
	file string
	// transformers is nil if there is no configuration.
	transformers value.ResourceTransformers
	checks       []healthz.HealthChecker
	// reload is nil unless changes of the file are to take effect.
	reload *controller.DynamicEncryptionConfigContent
	// close ends the connections to KMS plugins. Nothing can be encrypted with
	// such a plugin after it, so it comes after the last write.
	close context.CancelFunc

	// configured are the resources that the configuration names, and served
	// those that were asked for.
	configured map[schema.GroupResource]value.Transformer
	served     []schema.GroupResource
}

// newEncryption loads the configuration. A KMS plugin that does not answer is
// no error: it may start later than the server, and the health check says so.
// The connections outlive ctx; close ends them.
func newEncryption(ctx context.Context, o options.EncryptionOptions, serverID string) (_ *encryption, err error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &encryption{file: o.ConfigFile, close: cancel}
	if o.ConfigFile == "" {
		return e, nil
	}
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, o.ConfigFile, o.AutomaticReload, serverID)
	if err != nil {
		return nil, fmt.Errorf("--%s: %s: %w", options.EncryptionConfigFlag, o.ConfigFile, err)
	}
	metrics.RecordEncryptionConfigLastConfigInfo(serverID, loaded.EncryptionFileContentHash)
	e.configured = loaded.Transformers
	e.checks = loaded.HealthChecks
	if !o.AutomaticReload {
		e.transformers = encryptionconfig.StaticTransformers(loaded.Transformers)
		return e, nil
	}
	if len(loaded.HealthChecks) != 1 {
		return nil, fmt.Errorf("--%s: %s: %d health checks, want the one that can follow a reload",
			options.EncryptionConfigFlag, o.ConfigFile, len(loaded.HealthChecks))
	}
	dynamic := encryptionconfig.NewDynamicTransformers(
		loaded.Transformers, loaded.HealthChecks[0], cancel, loaded.KMSCloseGracePeriod)
	e.transformers = dynamic
	e.checks = []healthz.HealthChecker{dynamic}
	e.reload = controller.NewDynamicEncryptionConfiguration(
		"encryption-config", o.ConfigFile, dynamic, loaded.EncryptionFileContentHash, serverID)
	return e, nil
}

// applyTo has the server ask KMS plugins how they are. It does not make them a
// condition of being alive: a restart of the server mends no plugin.
func (e *encryption) applyTo(config *genericapiserver.Config) {
	config.HealthzChecks = append(config.HealthzChecks, e.checks...)
	config.ReadyzChecks = append(config.ReadyzChecks, e.checks...)
}

// transformerFor returns what encrypts a resource; nil if nothing does.
func (e *encryption) transformerFor(resource schema.GroupResource) value.Transformer {
	if e.transformers == nil {
		return nil
	}
	if !slices.Contains(e.served, resource) {
		e.served = append(e.served, resource)
	}
	return e.transformers.TransformerForResource(resource)
}

// report logs what the configuration covers, once all resources have been
// asked for. As in kube-apiserver, resources that are not served, or not
// named, are no error; but who leaves out the group of a resource should hear of it.
func (e *encryption) report(ctx context.Context) {
	if e.transformers == nil {
		return
	}
	logger := klog.FromContext(ctx).WithValues("file", e.file)
	logger.Info("Encryption at rest is configured", "automaticReload", e.reload != nil)
	for _, resource := range e.served {
		if !e.covers(resource) {
			logger.Info("WARNING: the encryption configuration does not name this resource, so it is stored in clear", "resource", resource)
		}
	}
	for resource := range e.configured {
		if resource.Resource != "*" && !slices.Contains(e.served, resource) {
			logger.Info("WARNING: the encryption configuration names a resource that this server does not store", "resource", resource)
		}
	}
}

func (e *encryption) covers(resource schema.GroupResource) bool {
	for _, name := range []schema.GroupResource{resource, {Group: resource.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
		if e.configured[name] != nil {
			return true
		}
	}
	return false
}

// run has changes of the file take effect until ctx ends. A file that is no
// good changes nothing; it is logged, counted and tried again.
func (e *encryption) run(ctx context.Context) {
	if e.reload != nil {
		e.reload.Run(ctx)
	}
}
