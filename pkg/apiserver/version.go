package apiserver

import (
	"strings"

	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/util/compatibility"
	basecompatibility "k8s.io/component-base/compatibility"
	baseversion "k8s.io/component-base/version"
)

// effectiveVersion lets the Kubernetes libraries go by their own version, and
// tells clients of ours.
type effectiveVersion struct {
	basecompatibility.EffectiveVersion
	ours string
}

func newEffectiveVersion(ours string) basecompatibility.EffectiveVersion {
	return effectiveVersion{EffectiveVersion: compatibility.DefaultBuildEffectiveVersion(), ours: ours}
}

// Info is what /version answers. Clients compare it with their own version to
// know what the server understands, so it is that of the Kubernetes API, with
// ours as the build.
func (v effectiveVersion) Info() *apiversion.Info {
	info := *v.EffectiveVersion.Info()
	info.GitVersion = "v" + baseversion.DefaultKubeBinaryVersion + ".0+arl-" + v.ours
	if strings.HasPrefix(info.GitCommit, "$Format") {
		info.GitCommit = "" // the libraries' placeholder, filled in their own builds only
	}
	return &info
}
