package core

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// selectable are the fields that lists of a kind can be narrowed down by.
var selectable = map[string][]string{
	"Namespace": {"metadata.name", "status.phase"},
	"Pod": {
		"metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
		"spec.serviceAccountName", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
	},
	"Event": {
		"metadata.name", "metadata.namespace", "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
		"involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
		"reason", "reportingComponent", "source", "type",
	},
}

func onlyLabels(labels []string) runtime.FieldLabelConversionFunc {
	return func(label, value string) (string, string, error) {
		if !slices.Contains(labels, label) {
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}
		return label, value, nil
	}
}

// addLogOptions teaches a scheme to read the query parameters of a pod's log.
func addLogOptions(scheme *runtime.Scheme) error {
	return scheme.AddConversionFunc((*url.Values)(nil), (*corev1.PodLogOptions)(nil), func(a, b any, _ conversion.Scope) error {
		in, out := *a.(*url.Values), b.(*corev1.PodLogOptions)
		out.Container = in.Get("container")
		for name, field := range map[string]*bool{
			"follow": &out.Follow, "previous": &out.Previous, "timestamps": &out.Timestamps,
			"insecureSkipTLSVerifyBackend": &out.InsecureSkipTLSVerifyBackend,
		} {
			text, given := in[name]
			// As everywhere in Kubernetes, the bare name of a flag sets it.
			*field = given && (len(text) == 0 || text[0] != "false" && text[0] != "0")
		}
		for name, field := range map[string]**int64{
			"sinceSeconds": &out.SinceSeconds, "tailLines": &out.TailLines, "limitBytes": &out.LimitBytes,
		} {
			if text := in.Get(name); text != "" {
				value, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return fmt.Errorf("%s: %q is no whole number", name, text)
				}
				*field = &value
			}
		}
		if text := in.Get("sinceTime"); text != "" {
			since := &metav1.Time{}
			if err := since.UnmarshalQueryParameter(text); err != nil {
				return fmt.Errorf("sinceTime: %w", err)
			}
			out.SinceTime = since
		}
		if text := in.Get("stream"); text != "" {
			out.Stream = &text
		}
		return nil
	})
}
