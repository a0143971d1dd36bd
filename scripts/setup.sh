#!/usr/bin/env bash
# Installs what compiling supercargo needs beside Rust: cmake and a C++ compiler for HiGHS, libclang for its bindings.
# Only what is missing is installed; where nothing is, this takes milliseconds and touches nothing.
set -euo pipefail

# What bindgen looks for; libclang-cpp, libclang's C++ sibling, is not it.
has_libclang() {
    [[ -n "${LIBCLANG_PATH:-}" ]] && return 0
    local folder name
    for folder in '/usr/lib/llvm-*/lib' '/usr/lib/*-linux-gnu' '/usr/lib*'; do
        for name in 'libclang.so*' 'libclang-[0-9]*.so*'; do
            compgen -G "$folder/$name" >/dev/null && return 0
        done
    done
    [[ "$(uname -s)" == Darwin ]] && command -v clang >/dev/null
}

missing=()
command -v cmake >/dev/null || missing+=(cmake)
{ command -v c++ && command -v cc; } >/dev/null || missing+=(g++)
command -v pkg-config >/dev/null || missing+=(pkg-config)
has_libclang || missing+=(libclang-dev)

if ((${#missing[@]})); then
    "$(dirname "$0")/install-packages.sh" "${missing[@]}"
fi

if ! command -v cargo >/dev/null; then
    echo "setup: no cargo; install Rust from https://rustup.rs and run make again" >&2
    exit 1
fi
