#!/bin/sh
# Every example runs, and ends well: examples.sh <name>. Without a name: none is forgotten here.
. "$(dirname "$0")/common.sh"

if [ $# -eq 1 ]; then
    # A test program that a test starts takes itself for a part of that one.
    unset BXFI_MAP
    program=$build/bin/examples/$1
    "$program" >"$work/out" 2>&1 || fail "$1: $(cat "$work/out")"
    [ -s "$work/out" ] || fail "$1 says nothing"
    exit 0
fi
for source in $(grep -l '^int main\>\|^Test(' docs/examples/*.c); do
    name=$(basename "$source" .c)
    case $name in
    vhost_user_balloon) continue ;; # tests/guest runs it, with a guest
    esac
    grep -q "EXAMPLE($name)\|\"$name.sh\"" tests/build/scripts.c || fail "no test runs $source"
done
