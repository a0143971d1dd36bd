#!/usr/bin/env bash
# Adds rustfmt and clippy to the toolchain where rustup's minimal profile left them out.
set -euo pipefail

missing=()
cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
((${#missing[@]})) || exit 0
if ! command -v rustup >/dev/null; then
    echo "setup: this Rust toolchain lacks ${missing[*]}, and there is no rustup to add them" >&2
    exit 1
fi
rustup component add "${missing[@]}"
