#!/usr/bin/env bash
# Installs what a node of the end-to-end tests needs and Go cannot build, from
# Debian's packages. On a machine with systemd this starts a containerd service,
# which the tests do not use.
set -euo pipefail

missing=()
command -v containerd >/dev/null || missing+=(containerd)
command -v runc >/dev/null || missing+=(runc)
[[ -x /usr/lib/cni/bridge ]] || missing+=(containernetworking-plugins)
command -v iptables >/dev/null || missing+=(iptables)
command -v ipset >/dev/null || missing+=(ipset)
command -v ip >/dev/null || missing+=(iproute2)
if ((${#missing[@]} == 0)); then
	exit
fi
if ! command -v apt-get >/dev/null; then
	echo "this machine lacks ${missing[*]} and has no apt-get: install them, the CNI plugins in /usr/lib/cni" >&2
	exit 1
fi
apt-get update -q
apt-get install -qy --no-install-recommends "${missing[@]}"
