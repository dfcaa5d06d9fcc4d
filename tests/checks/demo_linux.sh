#!/bin/sh
# Memory moves both ways between two real Linux guests, and the run is drawn. Takes a minute.
. "$(dirname "$0")/common.sh"
long
"$build/bin/linux_pool" "$work/demo.svg"
tail -n 1 "$work/demo.svg" | grep -q '^</svg>$' || fail "there is no whole drawing"
