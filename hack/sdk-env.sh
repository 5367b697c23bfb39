#!/usr/bin/env bash
# Prints the Python of the virtual environment in which the Python SDK is worked
# on, .cache/sdk. It is made if missing, or if sdk/python/requirements.txt has
# changed since.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

env=$PWD/.cache/sdk
base=${PYTHON:-python3}
sum() { cat "$@" | sha256sum | cut -d' ' -f1; }
install() { "$env/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2; }

if ! "$base" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
	echo "hack/sdk-env.sh: needs Python 3.10 or newer with venv: install it, or name it in PYTHON" >&2
	exit 1
fi
wanted=$(sum sdk/python/requirements.txt hack/sdk-env.sh)
if [[ $(cat "$env/.made-of" 2>/dev/null) != "$wanted" ]]; then
	rm -rf "$env"
	mkdir -p "$(dirname "$env")"
	"$base" -m venv "$env"
	install -r sdk/python/requirements.txt
	echo "$wanted" >"$env/.made-of"
fi
wanted="$(sum sdk/python/pyproject.toml) $PWD"
if [[ $(cat "$env/.installed" 2>/dev/null) != "$wanted" ]]; then
	install --no-deps --no-build-isolation --editable sdk/python
	echo "$wanted" >"$env/.installed"
fi
echo "$env/bin/python"
