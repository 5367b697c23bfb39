#!/usr/bin/env bash
# Fails if the code is not formatted, or go vet or staticcheck find fault with
# it. Generated code is left out: its faults are its generators'.

set -o errexit -o nounset -o pipefail

source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
tools::build
cd "${ROOT}"

failed=0

unformatted="$(tools::files '*.go' | xargs -0 gofmt -s -l)"
if [[ -n "${unformatted}" ]]; then
  printf 'error: not formatted: run gofmt -s -w on these files:\n%s\n' "${unformatted}" >&2
  failed=1
fi

mapfile -t packages < <(go list -e ./... | grep -v '/pkg/generated/')
go vet "${packages[@]}" || failed=1
"${TOOLS_BIN}/staticcheck" "${packages[@]}" || failed=1

[[ ${failed} -eq 0 ]] || exit 1
echo "gofmt, go vet and staticcheck are content"
