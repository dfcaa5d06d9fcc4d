#!/bin/sh
# Every source file compiles without a warning: warnings.sh <compiler>
. "$(dirname "$0")/common.sh"
need "$1"
$make -k objects CC="$1" WERROR=1 >"$work/log" 2>&1 || {
    grep -v '^  CC' "$work/log"
    exit 1
}
