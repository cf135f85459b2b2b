#!/bin/sh
# Builds the ready-made cryptlets and their digests. The results are committed: nothing here runs in the checks.
#
#   cryptlets/build.sh [--check]     --check: build elsewhere and compare with what is committed
#
# Needs node 20 and python 3 with a package index; the tools are pinned and kept in cryptlets/node_modules and
# cryptlets/.python (or in the folder that CRYPTLET_TOOLS names).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
ZIG=0.17.1

if [ -z "${CRYPTLET_TOOLS:-}" ]; then
    CRYPTLET_TOOLS=$here
    [ -d "$here/node_modules" ] || (cd "$here" && npm ci --ignore-scripts --no-audit --no-fund)
fi
export CRYPTLET_TOOLS
if [ -z "${CRYPTLET_PYTHON:-}" ]; then
    CRYPTLET_PYTHON=$here/.python/bin/python
    [ -x "$CRYPTLET_PYTHON" ] || { python3 -m venv "$here/.python" && "$CRYPTLET_PYTHON" -m pip install -q "ziglang==$ZIG"; }
fi

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
out=$here
if [ "${1:-}" = --check ]; then
    out=$made/out
    mkdir -p "$out/fx-rates" "$out/calendar"
fi

# Without a still clock the component works just as well, but its bytes differ from build to build.
still=$made/still.so
"$CRYPTLET_PYTHON" -m ziglang cc -shared -fPIC -O1 -o "$still" "$here/sdk/javascript/still.c"
cd "$here/fx-rates"
LD_PRELOAD=$still node ../sdk/javascript/build.mjs fx-rates.js oracle "$out/fx-rates/fx-rates.wasm"

cd "$here/calendar"
core=$made/calendar.core.wasm
"$CRYPTLET_PYTHON" -m ziglang cc --target=wasm32-freestanding -std=c17 -Oz -Wall -Wextra -Werror -nostdlib \
    -fno-sanitize=all -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536 -o "$core" calendar.c
node ../sdk/c/build.mjs "$core" utility "$out/calendar/calendar.wasm"

cd "$out"
sha256sum fx-rates/fx-rates.wasm calendar/calendar.wasm > SHA256SUMS
if [ "$out" != "$here" ]; then
    diff "$out/SHA256SUMS" "$here/SHA256SUMS" && echo "the committed cryptlets are what their sources build"
fi
