#!/usr/bin/env bash
# Installs what compiling supercargo needs beside Rust: cmake and a C++ compiler for HiGHS, libclang for its bindings.
# Only what is missing is installed; where nothing is, this takes milliseconds and touches nothing.
set -euo pipefail

has_libclang() {
    [[ -n "${LIBCLANG_PATH:-}" ]] && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && return 0
    compgen -G '/usr/lib/*-linux-gnu/libclang*.so*' >/dev/null && return 0
    compgen -G '/usr/lib*/libclang*.so*' >/dev/null && return 0
    [[ "$(uname -s)" == Darwin ]] && command -v clang >/dev/null
}

missing=()
command -v cmake >/dev/null || missing+=(cmake)
{ command -v c++ && command -v cc; } >/dev/null || missing+=(g++)
command -v pkg-config >/dev/null || missing+=(pkg-config)
has_libclang || missing+=(libclang-dev)

if ((${#missing[@]})); then
    if ! command -v apt-get >/dev/null; then
        echo "setup: please install ${missing[*]} (or what your system calls them) and run make again" >&2
        exit 1
    fi
    if (($(id -u) == 0)); then
        as_root=()
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        echo "setup: missing ${missing[*]}; not being root, please have this run and then run make again:" >&2
        echo "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if ! command -v cargo >/dev/null; then
    echo "setup: no cargo; install Rust from https://rustup.rs and run make again" >&2
    exit 1
fi
