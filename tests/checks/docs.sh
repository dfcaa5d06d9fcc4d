#!/bin/sh
# The manual builds without a warning.
. "$(dirname "$0")/common.sh"
need doxygen
$make docs BUILD="$work/build"
[ -s "$work/build/docs/html/index.html" ] || fail "no manual came out"
