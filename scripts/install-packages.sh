#!/usr/bin/env bash
# install-packages.sh PACKAGE...: installs Debian packages, or says what to install where that is not possible.
set -euo pipefail

if ! command -v apt-get >/dev/null; then
    echo "setup: please install $* (or what your system calls them) and run make again" >&2
    exit 1
fi
if (($(id -u) == 0)); then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    echo "setup: missing $*; not being root, please have this run and then run make again:" >&2
    echo "  sudo apt-get update && sudo apt-get install --no-install-recommends $*" >&2
    exit 1
fi
echo "setup: installing $*" >&2
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq >&2
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >&2
