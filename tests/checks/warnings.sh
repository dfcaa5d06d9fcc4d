#!/bin/sh
# Every source file compiles without a warning: warnings.sh <compiler>
. "$(dirname "$0")/common.sh"
need "$1"
# What clang warns of does not depend on how it optimizes.
case $1 in
clang*) flags=CFLAGS=-O0 ;;
*) flags= ;;
esac
$make -k objects CC="$1" $flags WERROR=1 >"$work/log" 2>&1 || {
    grep -v '^  CC' "$work/log"
    exit 1
}
