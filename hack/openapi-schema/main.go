// Openapi-schema prints the OpenAPI v2 models of the arl.io types as JSON.
//
// Only hack/update-codegen.sh runs it: applyconfiguration-gen embeds the models
// in the apply configurations, which need them to extract the fields that a
// field manager owns.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"arl.io/arl/pkg/generated/openapi"
)

const (
	// modelPackage is the +k8s:openapi-model-package of our types.
	modelPackage = "io.arl.v1alpha1."
	// goPackage is what applyconfiguration-gen makes of their import path: it
	// looks a kind up by that, whatever the kind's model is called. The script
	// puts modelPackage into its output.
	goPackage = "io.arl.arl.pkg.apis.arl.v1alpha1."
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "openapi-schema:", err)
		os.Exit(1)
	}
}

// write prints one model for each type that openapi-gen was given, and one
// more for each of ours, under the name it is looked up by.
func write() error {
	definitions := openapi.GetOpenAPIDefinitions(func(name string) spec.Ref {
		return spec.MustCreateRef("#/definitions/" + common.EscapeJsonPointer(name))
	})
	models := make(map[string]spec.Schema, len(definitions))
	for name, definition := range definitions {
		schema := definition.Schema
		if v2, ok := schema.Extensions[common.ExtensionV2Schema].(spec.Schema); ok {
			schema = v2
		}
		models[name] = schema
		if kind, ok := strings.CutPrefix(name, modelPackage); ok {
			models[goPackage+kind] = schema
		}
	}
	document, err := json.Marshal(&spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger:     "2.0",
		Info:        &spec.Info{InfoProps: spec.InfoProps{Title: "ARL", Version: "unversioned"}},
		Paths:       &spec.Paths{},
		Definitions: models,
	}})
	if err != nil {
		return fmt.Errorf("encoding the OpenAPI document: %w", err)
	}
	if _, err := os.Stdout.Write(document); err != nil {
		return fmt.Errorf("writing the OpenAPI document: %w", err)
	}
	return nil
}
