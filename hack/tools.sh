# Sourced by the other scripts: where the tree is and where its tools are.
#
# The tools are the programs named by "tool" lines in hack/tools/go.mod. They
# are built once per Go version and hack/tools/go.sum, into .cache, which git
# ignores. ARL_TOOLS_BIN names a folder of tools that are built already.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

# Go settings of the caller's shell must not change what is generated.
unset GOFLAGS
export GOWORK=off GO111MODULE=on
export LC_ALL=C

# tools::build sets TOOLS_BIN to a folder with all tools in it.
tools::build() {
  if [[ -n "${ARL_TOOLS_BIN:-}" ]]; then
    TOOLS_BIN="${ARL_TOOLS_BIN}"
    return
  fi
  TOOLS_BIN="${ROOT}/.cache/tools"
  mkdir -p "${TOOLS_BIN}"
  local want
  want="$(go version) $(cat "${ROOT}"/hack/tools/go.{mod,sum} | cksum)"
  if [[ "$(cat "${TOOLS_BIN}/stamp" 2>/dev/null)" != "${want}" ]]; then
    echo "building the tools of hack/tools" >&2
    (cd "${ROOT}/hack/tools" && GOBIN='' go build -o "${TOOLS_BIN}/" tool)
    echo "${want}" >"${TOOLS_BIN}/stamp"
  fi
}

# tools::files [PATTERN] prints, NUL-terminated and relative to the root, the
# files of the working tree that git knows or would add.
tools::files() {
  (cd "${ROOT}" && git ls-files -z --cached --others --exclude-standard -- "$@" |
    while IFS= read -r -d '' file; do
      if [[ -f "${file}" ]]; then printf '%s\0' "${file}"; fi
    done)
}

# tools::copy_tree DIR copies those files, as they are, to DIR.
tools::copy_tree() {
  tools::files | tar --create --directory="${ROOT}" --null --files-from=- --file=- |
    tar --extract --file=- --directory="$1"
}
