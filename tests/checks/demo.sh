#!/bin/sh
# The demo runs to its end.
. "$(dirname "$0")/common.sh"
"$build/bin/examples/demo"
