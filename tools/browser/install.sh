#!/usr/bin/env bash
# Installs Chromium from Debian, for the tests of the page that `mailring trace` writes
# (tools/tests/trace). Does nothing where there is one.
set -euo pipefail

for name in "${CHROMIUM:-chromium}" chromium chromium-browser google-chrome; do
    if "$name" --version 2>/dev/null; then
        exit 0
    fi
done
if ! command -v apt-get >/dev/null; then
    echo "install.sh: no apt-get here; install Chromium by hand, or name one in CHROMIUM" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
# A browser without a font draws no text.
"${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
chromium --version
