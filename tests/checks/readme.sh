#!/bin/sh
# The first C example of README.md, docs/memory.md and docs/threads.md compiles without a warning and runs.
. "$(dirname "$0")/common.sh"
need cc
# The library under test may have been built with sanitizers, so build a plain one.
$make BUILD="$work/build" >/dev/null
for text in README.md docs/memory.md docs/threads.md; do
    awk '/^```c$/ { on = 1; next } /^```/ { if (on) exit } on' "$text" >"$work/example.c"
    [ -s "$work/example.c" ] || fail "$text has no C example"
    cc -std=c11 $strict -Iinclude "$work/example.c" -c -o "$work/example.o"
    cc -pthread "$work/example.o" "$work/build/lib/libballoon.a" -o "$work/example"
    "$work/example" || fail "the example of $text failed"
done
