#!/usr/bin/env bash
# Fails if a build that is broken on purpose passes the tests that are there to
# find it out. Each line below names a mutation of pkg/storage/internal/mutation,
# a package, a test that must fail with it, and flags of that test; the same by hand:
#
#   go test -tags=netgo,osusergo,mutate_no_sync -run TestPowerCutAtEachCall ./test/robustness
#
# With arguments, only the mutations that they name are tried.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mutations() {
	cat <<'END'
publish_before_sync ./pkg/storage/kv   ^TestNothingIsSeenBeforeItsCommit$
publish_before_sync ./pkg/storage/kv   ^TestFailStop$
ack_before_commit   ./pkg/storage/kv   ^TestFailStop$
ack_before_commit   ./test/robustness  ^TestKillAtEachCall$        -rounds=30 -stride=7
ack_before_commit   ./test/consistency ^TestLinearizableAcrossCrashes$
skip_precondition   ./pkg/storage/kv   ^TestApplyPreconditions$
skip_precondition   ./pkg/storage/kv   ^TestModel$
skip_precondition   ./test/consistency ^TestLinearizable$
reuse_revision      ./pkg/storage/kv   ^TestModel$
reuse_revision      ./test/robustness  ^TestKill$                  -rounds=30 -stride=7
reuse_revision      ./test/consistency ^TestLinearizableAcrossCrashes$
forget_log_tail     ./pkg/storage/kv   ^TestModel$
forget_log_tail     ./test/robustness  ^TestKill$                  -rounds=30 -stride=7
forget_log_tail     ./test/consistency ^TestLinearizableAcrossCrashes$
no_checksum         ./pkg/storage/kv   ^TestOpenRefuses$
no_checksum         ./test/robustness  ^TestDamage$                -rounds=30 -stride=7
no_checksum         ./pkg/storage/kv   ^TestLargeDamaged$
any_version         ./pkg/storage/kv   ^TestLargeLife$
any_version         ./pkg/storage/kv   ^TestModel$
no_sync             ./test/robustness  ^TestPowerCutAtEachCall$    -rounds=30 -stride=7
no_sync             ./test/robustness  ^TestPowerCutUnderLoad$     -rounds=30 -stride=7
trim_before_fold    ./pkg/storage/kv   ^TestFailStopInCompaction$
trim_before_fold    ./test/robustness  ^TestPowerCutAtEachCall$    -rounds=30 -stride=7
skip_compacted      ./pkg/storage/kv   ^TestWatchStalled$
skip_compacted      ./test/consistency ^TestWatches$
skip_compacted      ./test/consistency ^TestStalledWatches$
END
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
survived=0

# runs NAME PACKAGE TEST FLAGS...: runs a test of a mutated build, in the package's
# folder as "go test" would.
runs() {
	local name=$1 package=$2 test=$3 binary="$work/${2//\//_}.$1"
	if [[ ! -x "$binary" ]] && ! go test -tags="netgo,osusergo,mutate_$name" -c -o "$binary" "$package"; then
		echo "mutate_$name does not build" >&2
		exit 1
	fi
	(cd "$package" && "$binary" -test.run="$test" -test.timeout=120s "${@:4}") >"$work/log" 2>&1
}

while read -r name package test flags; do
	if (($#)) && [[ " $* " != *" $name "* ]]; then
		continue
	fi
	# shellcheck disable=SC2086 # there may be several flags
	if runs "$name" "$package" "$test" $flags; then
		echo "NOT FOUND OUT: $name by $test in $package" >&2
		tail -5 "$work/log" >&2
		survived=1
	elif ! grep -qE -e '--- FAIL|^panic:|^FAIL' "$work/log"; then
		echo "no test failed, but something else did: $name, $test in $package" >&2
		cat "$work/log" >&2
		survived=1
	else
		echo "found out: $name by $test in $package"
	fi
done < <(mutations)

[[ $survived -eq 0 ]] || exit 1
echo "every mutation is found out"
