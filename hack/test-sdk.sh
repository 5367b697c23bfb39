#!/usr/bin/env bash
# Checks the Python SDK: style, types, generated models, all tests against a real
# server, the reference, and the wheel in an environment of its own. Needs bin/,
# and root or user namespaces for pods. Arguments are passed on to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

section() { printf -- '--- %s (after %ds)\n' "$*" "$SECONDS"; }

section "environment"
python=$(hack/sdk-env.sh)
bin=$(dirname "$python")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

section "ruff and mypy"
(cd sdk/python && "$bin/ruff" check --quiet . && "$bin/ruff" format --quiet --check . && "$bin/mypy" --no-error-summary)

section "generated models"
hack/update-sdk-models.sh "$work/models.py"
diff -u sdk/python/src/arl/_generated/models.py "$work/models.py" || {
	echo "hack/test-sdk.sh: the models are not those of the API: run hack/update-sdk-models.sh" >&2
	exit 1
}

section "tests"
(cd sdk/python && "$python" -m pytest "$@")

section "reference"
hack/docs-sdk.sh "$work/docs"

section "wheel"
"$python" -m build --wheel --no-isolation --outdir "$work" sdk/python >"$work/build.log" 2>&1 || {
	cat "$work/build.log" >&2
	exit 1
}
# The packages it depends on are kept from run to run; the wheel itself is new.
fresh=$PWD/.cache/sdk-wheel
wanted=$(cat sdk/python/requirements.txt sdk/python/pyproject.toml "$python" | sha256sum | cut -d' ' -f1)
if [[ $(cat "$fresh/.made-of" 2>/dev/null) != "$wanted" ]]; then
	rm -rf "$fresh"
	"$python" -m venv "$fresh"
	"$fresh/bin/python" -m pip install --quiet --disable-pip-version-check -c sdk/python/requirements.txt "$work"/*.whl
	echo "$wanted" >"$fresh/.made-of"
fi
"$fresh/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$work"/*.whl
"$fresh/bin/python" -m pip check
(cd / && "$fresh/bin/python" -I -W error -c '
import importlib.metadata, importlib.resources
import arl
assert "sdk-wheel" in arl.__file__, arl.__file__
assert importlib.resources.files("arl").joinpath("py.typed").is_file()
print("arl-sandbox", importlib.metadata.version("arl-sandbox"), "has", ", ".join(arl.__all__))
')

section "done"
