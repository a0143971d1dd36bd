#!/usr/bin/env bash
# setup-go.sh GO_MOD FOLDER: prints the path of a Go that is new enough for GO_MOD.
#
# A Go in PATH that is new enough is taken as it is. Where there is none, or an old one (Debian 12 has 1.19), the release
# named below is fetched as what it is to Go: a module, golang.org/toolchain, checked against Go's checksum database. Any
# Go can do that; where there is none at all, apt installs Debian's.
set -euo pipefail

release=1.26.8
wanted=$(awk '$1 == "go" { print $2; exit }' "$1")
folder=$2/go-toolchain

new_enough() {
    local have
    have=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    [[ "$(printf '%s\n' "$wanted" "${have#go}" | sort -V | head -n 1)" == "$wanted" ]]
}

for go in "$(command -v go || true)" /usr/local/go/bin/go "$folder/go/bin/go"; do
    if [[ -x "$go" ]] && new_enough "$go"; then
        echo "$go"
        exit 0
    fi
done

if ! command -v go >/dev/null; then
    "$(dirname "$0")/install-packages.sh" golang-go ca-certificates
fi

case $(uname -m) in
x86_64) machine=amd64 ;;
aarch64 | arm64) machine=arm64 ;;
*) echo "setup: please install Go $wanted or later for $(uname -m) and run make again" >&2 && exit 1 ;;
esac
module="golang.org/toolchain@v0.0.1-go$release.$(uname -s | tr '[:upper:]' '[:lower:]')-$machine"
echo "setup: fetching Go $release" >&2
mkdir -p "$folder"
new=$(mktemp -d "$folder/new.XXXXXX")
trap 'rm -rf "$new"' EXIT
# A module's files are never executable, so the toolchain's programs are made so.
(cd "$new" && GOTOOLCHAIN=local GOFLAGS=-modcacherw GOMODCACHE="$new/modules" go mod download "$module" >&2)
mv "$new/modules/$module" "$new/go"
chmod -R +x "$new/go/bin" "$new/go/pkg/tool"
rm -rf "$folder/go"
mv -T "$new/go" "$folder/go"
if ! new_enough "$folder/go/bin/go"; then
    echo "setup: $folder/go/bin/go does not run, or is older than $wanted" >&2
    exit 1
fi
echo "$folder/go/bin/go"
