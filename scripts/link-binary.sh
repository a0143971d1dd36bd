#!/usr/bin/env bash
# link-binary.sh BINARY: makes target/release/supercargo lead to the binary where it was built elsewhere, so that the
# documented commands work whatever CARGO_TARGET_DIR is.
set -euo pipefail

binary=$1
link="$(cd "$(dirname "$0")/.." && pwd)/target/release/supercargo"
if [[ "$binary" == "$link" || ! -x "$binary" || "$link" -ef "$binary" ]]; then
    exit 0
fi
mkdir -p "$(dirname "$link")"
ln -sfn "$binary" "$link"
