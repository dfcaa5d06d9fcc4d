#!/bin/sh
# What the tests use of Criterion is in tests/cross/criterion, or they would not compile for other
# machines. Only looked at by the compiler for this one, so that it takes seconds.
. "$(dirname "$0")/common.sh"
need gcc
cross_tests >"$work/sources"
[ "$(wc -l <"$work/sources")" -gt 50 ] || fail "found no tests"
xargs -P 2 -n 10 gcc -std=c11 -D_GNU_SOURCE -Werror -fsyntax-only -Itests/cross -Itests/support -Idocs/examples \
    -Iinclude <"$work/sources" || fail "not by tests/cross/criterion/criterion.h"
