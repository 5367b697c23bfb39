#!/usr/bin/env bash
# Fails if the generated code is not what hack/update-codegen.sh makes of the
# types. Works on a copy: the tree is left as it is.

set -o errexit -o nounset -o pipefail

source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"
tools::build

scratch="$(mktemp -d)"
trap 'rm -rf "${scratch}"' EXIT
mkdir "${scratch}/want" "${scratch}/have"
tools::copy_tree "${scratch}/have"
cp -a "${scratch}/have/." "${scratch}/want"

ARL_TOOLS_BIN="${TOOLS_BIN}" "${scratch}/want/hack/update-codegen.sh" 2>"${scratch}/log" || {
  cat "${scratch}/log" >&2
  echo "error: hack/update-codegen.sh failed" >&2
  exit 1
}

cd "${scratch}"
if ! diff -Nru have/pkg want/pkg; then
  echo "error: generated code is out of date: run hack/update-codegen.sh and commit the result" >&2
  exit 1
fi
echo "generated code is up to date"
