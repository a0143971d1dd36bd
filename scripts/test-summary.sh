#!/usr/bin/env bash
# test-summary.sh LOG: of cargo test's output, which test binaries ran and how each ended.
set -euo pipefail

sed 's/\x1b\[[0-9;]*m//g' "$1" | grep -E '^ +(Running|Doc-tests) |^test result: '
