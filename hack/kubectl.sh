#!/usr/bin/env bash
# Prints the path of a kubectl of version 1.31 or newer: $KUBECTL or the one on
# PATH if it is new enough, else one built from its Go module.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

new_enough() {
	local version minor
	version=$("$1" version --client -o json 2>/dev/null | sed -n 's/.*"gitVersion": *"v1\.\([0-9]*\).*/\1/p' | head -n 1)
	minor=${version:-0}
	((minor >= 31))
}

for candidate in "${KUBECTL:-}" "$(command -v kubectl || true)"; do
	if [[ -n $candidate ]] && new_enough "$candidate"; then
		echo "$candidate"
		exit
	fi
done
echo "no kubectl of 1.31 or newer on PATH: building one into bin/kubectl" >&2
mkdir -p "$root/bin"
(cd "$root/test/kubectl" && CGO_ENABLED=0 go build -trimpath \
	-ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$(go list -m -f '{{.Version}}' k8s.io/kubectl | sed 's/^v0/v1/')" \
	-o "$root/bin/kubectl" .)
echo "$root/bin/kubectl"
