#!/usr/bin/env bash
# Starts a standalone server and uses it with clients that nobody here wrote: the
# Python packages kr8s and lightkube, installed into .cache/clients. Needs bin/,
# and root or user namespaces for pods.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

env=$PWD/.cache/clients
wanted=$(sha256sum <test/clients/requirements.txt | cut -d' ' -f1)
if [[ $(cat "$env/.made-of" 2>/dev/null) != "$wanted" ]]; then
	rm -rf "$env"
	mkdir -p "$(dirname "$env")"
	"${PYTHON:-python3}" -m venv "$env"
	"$env/bin/python" -m pip install --quiet --disable-pip-version-check -r test/clients/requirements.txt
	echo "$wanted" >"$env/.made-of"
fi

work=$(mktemp -d)
server=
finish() {
	code=$?
	if [[ -n $server ]]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	((code == 0)) || tail -n 30 "$work/log" >&2
	bin/arl-apiserver purge --data-dir "$work/data" >/dev/null || code=1
	rm -rf "$work"
	exit "$code"
}
trap finish EXIT

bin/arl-apiserver --standalone --data-dir "$work/data" --secure-port 0 --allow-host-image >"$work/log" 2>&1 &
server=$!
for _ in $(seq 300); do
	grep -q 'Scheduler ready' "$work/log" && break
	kill -0 "$server" || exit 1
	sleep 0.2
done
timeout 600 "$env/bin/python" test/clients/clients.py "$work/data/kubeconfig"
