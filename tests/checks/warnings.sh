#!/bin/sh
# Every source file compiles without a warning: warnings.sh <compiler>
. "$(dirname "$0")/common.sh"
need "$1"
$make objects CC="$1" WERROR=1
