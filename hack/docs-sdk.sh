#!/usr/bin/env bash
# Writes the reference of the Python SDK, made from its docstrings, as HTML.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-dist/python-docs}
python=$(hack/sdk-env.sh)
rm -rf "$out"
mkdir -p "$out"
"$(dirname "$python")/pdoc" --docformat google --no-show-source --output-directory "$out" \
	arl arl.aio arl.client arl.config arl.errors arl.models arl.pool arl.session arl.steps '!arl._core' '!arl._http'
