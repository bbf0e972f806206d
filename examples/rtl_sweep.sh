#!/usr/bin/env bash
# Runs the sweep of examples/rtl_sweep.rs; installs Verilator and a C++ compiler from Debian where they are
# missing. Arguments go to the example.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v verilator > /dev/null || missing+=(verilator)
command -v g++ > /dev/null || missing+=(g++)
command -v make > /dev/null || missing+=(make)
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
fi
exec cargo run --release --quiet --example rtl_sweep -- "$@"
