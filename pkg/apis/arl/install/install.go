// Package install adds all versions of the arl.io group to a scheme. Whoever
// builds a server's scheme calls it; clients need pkg/apis/arl/v1alpha1 alone.
package install

import (
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"arl.io/arl/pkg/apis/arl"
	"arl.io/arl/pkg/apis/arl/v1alpha1"
)

// Install adds the internal and the versioned kinds of arl.io to scheme, with
// their defaults, conversions and field selectors, and prefers v1alpha1. It
// panics if scheme has different types of the same kinds, which is an error of
// the program.
func Install(scheme *runtime.Scheme) {
	utilruntime.Must(arl.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(scheme.SetVersionPriority(v1alpha1.SchemeGroupVersion))
}
