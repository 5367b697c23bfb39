#!/usr/bin/env bash
# Starts a standalone server in a temporary directory, shows pools, sandboxes
# and tasks through kubectl, and removes all of it again.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started=$SECONDS
kubectl=$("$root/hack/kubectl.sh")
dir=$(mktemp -d "${TMPDIR:-/tmp}/arl-demo.XXXXXX")
server=

cleanup() {
	local code=$?
	trap - EXIT INT TERM
	if [[ -n $server ]] && kill "$server" 2>/dev/null; then
		wait "$server" || code=1
	fi
	"$root/bin/arl-apiserver" purge --data-dir "$dir/data" >"$dir/purge.log" 2>&1 || {
		cat "$dir/purge.log" >&2
		code=1
	}
	if ((code != 0)) && [[ -f $dir/server.log ]]; then
		echo "--- the end of the server's log:" >&2
		tail -n 30 "$dir/server.log" >&2
	fi
	rm -rf "$dir"
	exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# show prints a kubectl command as a user would type it, and runs it.
show() {
	printf '\n$ kubectl'
	local word
	for word in "$@"; do
		[[ $word == *[^a-zA-Z0-9_./=,:-]* ]] && word="'$word'"
		printf ' %s' "$word"
	done
	printf '\n'
	"$kubectl" "$@"
}

say "A standalone server, in $dir/data"
"$root/bin/arl-apiserver" --standalone --data-dir "$dir/data" --secure-port 0 --allow-host-image >"$dir/server.log" 2>&1 &
server=$!
export KUBECONFIG=$dir/data/kubeconfig
for ((i = 0; i < 300; i++)); do
	[[ -f $KUBECONFIG ]] && "$kubectl" get --raw /readyz >/dev/null 2>&1 && break
	kill -0 "$server" 2>/dev/null || exit 1
	sleep 0.1
done
"$kubectl" get --raw /readyz >/dev/null

say "A warm pool: three pods, started and idle"
cd "$root"
show apply -f artifacts/examples/pool.yaml
show wait --for=condition=Filled warmpool/demo --timeout=60s
show get warmpools

say "A sandbox: Ready in the answer to the create itself"
show create -f artifacts/examples/sandbox.yaml -o 'jsonpath={.metadata.name} is {.status.phase} in pod {.status.podName}{"\n"}'

say "Tasks: five steps, a failing one, and one with a sandbox of its own"
show apply -f artifacts/examples/tasks.yaml
for task in five-steps one-shot; do
	"$kubectl" wait --for=jsonpath='{.status.state}'=Succeeded "task/$task" --timeout=60s >/dev/null
done
"$kubectl" wait --for=jsonpath='{.status.state}'=Failed task/fails --timeout=60s >/dev/null
show get tasks
show get task five-steps -o 'jsonpath={.status.stdout}'
show get task fails -o 'jsonpath={.status.message}{"\n"}{range .status.steps[*]}{.name}{"\t"}{.state}{"\t"}{.exitCode}{"\n"}{end}'
show get task one-shot -o 'jsonpath={.status.stdout}'
show get warmpools,sandboxes -o wide

say "How fast: sandboxes and echo tasks, one after another"
"$root/bin/arl-bench" --kubeconfig "$KUBECONFIG" --pool demo --sandboxes 10 --tasks 50

say "Gone again"
show delete tasks,sandboxes,warmpools --all
printf '\nDone in %d seconds. To use a real image, change "image: host" in artifacts/examples/pool.yaml to "image: python:3.12-slim".\n' "$((SECONDS - started))"
