#!/usr/bin/env bash
# build.sh: compiles the parts of the test cluster once and prints the folder that holds them.
#
# The folder is named after everything that goes into it, so that a changed pin makes a new one. It lies outside of the
# tree, in ${SUPERCARGO_CLUSTER_CACHE:-${XDG_CACHE_HOME:-~/.cache}/supercargo/cluster}. From nothing it takes about
# 20 minutes of one core and 4 GB, nearly all of which is removed again once the 150 MB of the result are there.
# SUPERCARGO_KEEP_GO_CACHE=1 keeps Go's caches, for work on the parts themselves.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SUPERCARGO_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/supercargo/cluster}
parts=(etcd kube-apiserver kube-controller-manager kube-scheduler kwok kubectl)
# Raised when a line below changes what is built.
recipe=1

key=$(cat "$here/go.mod" "$here/go.sum" "$here/main.go" <(echo "$recipe $(uname -sm)") | sha256sum | cut -c 1-16)
built=$cache/$key
if [[ -x "$built/control-plane" ]]; then
    echo "$built"
    exit 0
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # one builder at a time; the others find its result
if [[ ! -x "$built/control-plane" ]]; then
    go=$("$here/../../../scripts/setup-go.sh" "$here/go.mod" "$cache")
    echo "cluster: compiling the control plane into $built; this happens once and takes 10 minutes on two idle cores" >&2
    new=$(mktemp -d "$cache/new.XXXXXX")
    trap 'rm -rf "$new"' EXIT

    export GOMODCACHE=$cache/go-modules GOCACHE=$cache/go-build
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off
    export GOFLAGS="-mod=readonly -modcacherw -buildvcs=false ${SUPERCARGO_GO_FLAGS:-}"
    cd "$here"
    version=$("$go" list -m -f '{{.Version}}' k8s.io/kubernetes)
    minor=${version#v1.}
    stamp="-X sigs.k8s.io/kwok/pkg/consts.Version=$("$go" list -m -f '{{.Version}}' sigs.k8s.io/kwok)"
    # What the programs answer to --version, and what kube-apiserver says at /version.
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        stamp+=" -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
        stamp+=" -X $package.gitTreeState=clean"
    done
    nice -n "${SUPERCARGO_GO_NICE:-5}" "$go" build -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w $stamp" \
        -o "$new/control-plane" . >&2
    for part in "${parts[@]}"; do
        ln -s control-plane "$new/$part"
    done
    "$go" list -m -f '{{.Path}} {{.Version}}' k8s.io/kubernetes go.etcd.io/etcd/server/v3 sigs.k8s.io/kwok >"$new/versions"
    chmod 755 "$new"
    mv -T "$new" "$built"
    trap - EXIT
    if [[ -z "${SUPERCARGO_KEEP_GO_CACHE:-}" ]]; then
        rm -rf "$GOMODCACHE" "$GOCACHE" "$cache/go-toolchain"
    fi
fi
echo "$built"
