#!/usr/bin/env bash
# Generates everything that is generated: zz_generated.* beside the API types,
# and pkg/generated. Works in a clone anywhere; needs Go, its module cache (or a
# module proxy) and protoc. See hack/tools/go.mod for the generators' versions.

set -o errexit -o nounset -o pipefail

source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
"${ROOT}/hack/require.sh" protoc
tools::build
cd "${ROOT}"

readonly MODULE=arl.io/arl
readonly INTERNAL="${MODULE}/pkg/apis/arl"
readonly VERSIONED="${MODULE}/pkg/apis/arl/v1alpha1"
readonly GENERATED="${MODULE}/pkg/generated"

# Kubernetes types that ours are made of, or that the server serves. They have
# their model names in their own modules already.
readonly FOREIGN=(
  k8s.io/api/authentication/v1
  k8s.io/api/authorization/v1
  k8s.io/api/autoscaling/v1
  k8s.io/api/core/v1
  k8s.io/apimachinery/pkg/api/resource
  k8s.io/apimachinery/pkg/apis/meta/v1
  k8s.io/apimachinery/pkg/runtime
  k8s.io/apimachinery/pkg/util/intstr
  k8s.io/apimachinery/pkg/version
)

scratch="$(mktemp -d)"
trap 'rm -rf "${scratch}"' EXIT

find pkg/apis -name 'zz_generated.*.go' -delete
rm -rf pkg/generated

echo "deepcopy, defaults, conversions" >&2
"${TOOLS_BIN}/deepcopy-gen" --output-file zz_generated.deepcopy.go "${INTERNAL}" "${VERSIONED}"
"${TOOLS_BIN}/defaulter-gen" --output-file zz_generated.defaults.go "${VERSIONED}"
"${TOOLS_BIN}/conversion-gen" --output-file zz_generated.conversion.go "${VERSIONED}"

echo "protobuf" >&2
# The generator finds packages and their .proto files by import path, so it gets
# a tree in which each stands at its own. A new field of a type gets the next
# free number, which is written into the type and must never change.
gogo="$(cd hack/tools && go list -m -f '{{.Dir}}' github.com/gogo/protobuf)"
mkdir -p "${scratch}/proto/${MODULE%/*}" "${scratch}/proto/k8s.io" "${scratch}/proto/github.com/gogo"
ln -s "${ROOT}" "${scratch}/proto/${MODULE}"
ln -s "${gogo}" "${scratch}/proto/github.com/gogo/protobuf"
for module in k8s.io/api k8s.io/apimachinery; do
  ln -s "$(go list -m -f '{{.Dir}}' "${module}")" "${scratch}/proto/${module}"
done
readonly_protos=()
for pkg in api/core/v1 apimachinery/pkg/apis/meta/v1 apimachinery/pkg/{runtime,runtime/schema,api/resource,util/intstr}; do
  readonly_protos+=("-k8s.io/${pkg}")
done
PATH="${TOOLS_BIN}:${PATH}" "${TOOLS_BIN}/go-to-protobuf" \
  --go-header-file /dev/null --output-dir "${scratch}/proto" \
  --proto-import "${scratch}/proto" --proto-import "${gogo}/protobuf" \
  --apimachinery-packages "$(IFS=,; echo "${readonly_protos[*]}")" \
  --packages "${VERSIONED}"
mv pkg/apis/arl/v1alpha1/generated.pb.go pkg/apis/arl/v1alpha1/zz_generated.pb.go

echo "OpenAPI definitions" >&2
mkdir -p pkg/generated/openapi
readonly_pkgs=()
for pkg in "${FOREIGN[@]}"; do
  readonly_pkgs+=(--readonly-pkg "${pkg}")
done
# The API rule report speaks of Kubernetes' own types as well, which nobody
# here can change: a violation fails the run only if it is in a type of ours.
"${TOOLS_BIN}/openapi-gen" \
  --output-dir pkg/generated/openapi --output-pkg "${GENERATED}/openapi" \
  --output-file zz_generated.openapi.go --output-model-name-file zz_generated.model_name.go \
  --report-filename "${scratch}/violations" \
  "${readonly_pkgs[@]}" "${VERSIONED}" "${FOREIGN[@]}"
if grep -F ",${MODULE}/" "${scratch}/violations" >&2; then
  echo "error: the API types break the API rules named above" >&2
  exit 1
fi

echo "apply configurations" >&2
# Without these, a configuration would hold whole Kubernetes structs, and so
# claim every field of theirs.
core=k8s.io/api/core/v1
core_apply=k8s.io/client-go/applyconfigurations/core/v1
go run ./hack/openapi-schema >"${scratch}/schema.json"
"${TOOLS_BIN}/applyconfiguration-gen" \
  --output-dir pkg/generated/applyconfiguration --output-pkg "${GENERATED}/applyconfiguration" \
  --external-applyconfigurations "${core}.PodTemplateSpec:${core_apply},${core}.ResourceRequirements:${core_apply}" \
  --openapi-schema "${scratch}/schema.json" \
  "${VERSIONED}"
# The generator names the models of our kinds by their Go path. Everything else,
# the fake clientset included, names them by +k8s:openapi-model-package.
grep -rl --null -F 'io.arl.arl.pkg.apis.arl.v1alpha1.' pkg/generated/applyconfiguration |
  xargs -0 sed -i 's/io\.arl\.arl\.pkg\.apis\.arl\.v1alpha1\./io.arl.v1alpha1./'

echo "clientset, listers, informers" >&2
"${TOOLS_BIN}/client-gen" \
  --output-dir pkg/generated/clientset --output-pkg "${GENERATED}/clientset" \
  --clientset-name versioned --apply-configuration-package "${GENERATED}/applyconfiguration" \
  --input-base "${MODULE}/pkg/apis" --input arl/v1alpha1
"${TOOLS_BIN}/lister-gen" \
  --output-dir pkg/generated/listers --output-pkg "${GENERATED}/listers" \
  "${VERSIONED}"
"${TOOLS_BIN}/informer-gen" \
  --output-dir pkg/generated/informers --output-pkg "${GENERATED}/informers" \
  --versioned-clientset-package "${GENERATED}/clientset/versioned" \
  --listers-package "${GENERATED}/listers" \
  "${VERSIONED}"

gofmt -w pkg/generated
