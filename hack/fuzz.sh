#!/usr/bin/env bash
# Runs every fuzz target of the module in turn, or those whose name matches the pattern, for a time
# each. Go runs one target of one package at a time, so this is a loop. A failing input is left in the
# package's testdata/fuzz; the targets after it run all the same.
#
#   hack/fuzz.sh FUZZTIME [PATTERN]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=$1 pattern=${2:-.}

# Nested modules have no targets.
mapfile -t targets < <(grep -rn --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' cmd pkg test hack |
	sed 's|/[^/]*_test.go:[0-9]*:func |\t|' | grep -E -- "$pattern" | sort)
failed=()
for target in "${targets[@]}"; do
	IFS=$'\t' read -r dir name <<<"$target"
	printf '== %s %s\n' "$dir" "$name"
	# Minimizing an input of a target that uses files takes longer than finding the next one.
	go test "./$dir" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 20x ||
		failed+=("./$dir $name")
done
if ((${#failed[@]})); then
	printf 'failed: %s\n' "${failed[@]}" >&2
	exit 1
fi
