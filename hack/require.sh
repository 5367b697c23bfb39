#!/usr/bin/env bash
# Checks that the named programs are there; says how to install those that are not.
set -euo pipefail

declare -A install=(
	[go]="install Go 1.26 or newer from https://go.dev/dl"
	[gcc]="apt-get install gcc libc6-dev"
	[git]="apt-get install git"
	[make]="apt-get install make"
	[protoc]="apt-get install protobuf-compiler"
)
missing=0
for program in "$@"; do
	if ! command -v "$program" >/dev/null; then
		echo "$program is missing: ${install[$program]:-install it}" >&2
		missing=1
	fi
done
if command -v gcc >/dev/null && [[ " $* " == *" gcc "* ]] &&
	! echo 'int main(void){return 0;}' | gcc -static -x c -o /dev/null - 2>/dev/null; then
	echo "gcc cannot link a static program: apt-get install libc6-dev" >&2
	missing=1
fi
exit "$missing"
