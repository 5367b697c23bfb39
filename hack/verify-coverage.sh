#!/usr/bin/env bash
# Fails if the tests of storage or scheduler, taken together, cover less than
# 80% of either's statements.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
least=80
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT

for room in storage scheduler; do
	go test -coverpkg="./pkg/$room/..." -coverprofile="$profile" "./pkg/$room/..." >/dev/null
	total=$(go tool cover -func="$profile" | awk '$1 == "total:" {sub("%", "", $3); print $3}')
	echo "pkg/$room: $total% of statements"
	if awk -v total="$total" -v least="$least" 'BEGIN {exit !(total < least)}'; then
		echo "pkg/$room: less than $least%" >&2
		exit 1
	fi
done
