#!/bin/sh
# Each fuzz target takes its whole corpus without a complaint.
. "$(dirname "$0")/common.sh"
seen=0
for source in tests/fuzz/fuzz_*.c; do
    [ -e "$source" ] || fail "found no fuzz targets"
    name=$(basename "$source" .c)
    corpus=tests/fuzz/corpus/${name#fuzz_}
    [ -n "$(ls -A "$corpus")" ] || fail "$corpus is empty"
    "$build/bin/fuzz/$name" "$corpus"/* || fail "$name failed"
    seen=$((seen + 1))
done
