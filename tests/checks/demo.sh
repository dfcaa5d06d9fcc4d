#!/bin/sh
# The demo runs to its end, which it does only when memory followed the demand, and draws the run.
. "$(dirname "$0")/common.sh"
"$build/bin/examples/demo" "$work/demo.svg"
tail -n 1 "$work/demo.svg" | grep -q '^</svg>$' || fail "there is no whole drawing"
