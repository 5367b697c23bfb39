#!/usr/bin/env bash
# Makes the cluster of the end-to-end tests one of another Kubernetes: writes
# test/e2e/components/go.mod anew for version $1, such as v1.34.4, and for the
# etcd that this version knows.
set -euo pipefail
version=${1:-}
if [[ ! $version =~ ^v1\.[0-9]+\.[0-9]+$ ]]; then
	echo "name a version of Kubernetes, such as KUBERNETES=v1.34.4" >&2
	exit 1
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../test/e2e/components"

theirs=$(go list -m -f '{{.GoMod}}' "k8s.io/kubernetes@$version")
etcd=$(sed -n 's|^\tgo.etcd.io/etcd/client/v3 \(v[0-9.]*\)$|\1|p' "$theirs")
{
	sed '/^require (/,$d' go.mod
	printf 'require (\n\tgo.etcd.io/etcd/server/v3 %s\n\tk8s.io/kubernetes %s\n)\n\n' "$etcd" "$version"
	echo 'replace ('
	sed -n "s|=> ./staging/src/\(.*\)|=> \1 v0${version#v1}|p" "$theirs"
	echo ')'
} >go.mod.new
mv go.mod.new go.mod
rm -f go.sum
go mod tidy
