#!/usr/bin/env bash
# Fails if go.mod or go.sum, whichever module it is of, is not tidy. Changes
# nothing.

set -o errexit -o nounset -o pipefail

source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"

failed=0
while IFS= read -r -d '' file; do
  module="$(dirname "${file}")"
  if ! (cd "${ROOT}/${module}" && go mod tidy -diff </dev/null); then
    echo "error: ${file} is not tidy: run go mod tidy in ${module}" >&2
    failed=1
  fi
done < <(tools::files 'go.mod' '*/go.mod')

# What is generated and what is linked must speak of the same OpenAPI types.
want="$(cd "${ROOT}" && go list -m -f '{{.Version}}' k8s.io/kube-openapi)"
have="$(cd "${ROOT}/hack/tools" && go list -m -f '{{.Version}}' k8s.io/kube-openapi)"
if [[ "${want}" != "${have}" ]]; then
  echo "error: hack/tools/go.mod has k8s.io/kube-openapi ${have}, go.mod has ${want}: make them the same" >&2
  failed=1
fi

[[ ${failed} -eq 0 ]] || exit 1
echo "go.mod and go.sum are tidy"
