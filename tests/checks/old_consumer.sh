#!/bin/sh
# Programs that were built against an older revision, and its shared library, say with this one what
# they said with their own: its examples. old_consumer.sh <revision>
. "$(dirname "$0")/common.sh"
need git cc readelf
git rev-parse -q --verify "${1:-none}^{commit}" >/dev/null 2>&1 || skip "no revision ${1:-named} here"
new=$(dirname "$(readlink -f "$build/lib/libballoon.so")")
at=$work/tree/old
mkdir "$work/tree"
git archive "$1" | tar -x -C "$work/tree"
(cd "$work/tree" && $make BUILD=old CFLAGS='-O1 -g' all) >"$work/log" 2>&1 || fail "$(tail -n 40 "$work/log")"
cd "$work/tree/docs/examples"
for example in device_loop tracker_alone migration_skip four_transports custom_policy; do
    [ -e "$example.c" ] || continue
    cc -D_GNU_SOURCE -I../../include "$example.c" -o "$work/$example" -L"$at/lib" -lballoon >"$work/log" 2>&1 ||
        fail "$(cat "$work/log")"
    readelf -d "$work/$example" | grep -q 'NEEDED.*libballoon.so' || fail "$example does without the shared library"
    LD_LIBRARY_PATH=$at/lib "$work/$example" >"$work/before" || fail "$example fails with its own library"
    LD_LIBRARY_PATH=$new "$work/$example" >"$work/after" 2>&1 || fail "$example fails with this library: $(cat "$work/after")"
    cmp -s "$work/before" "$work/after" || fail "$example says something else: $(diff "$work/before" "$work/after")"
done
echo "Programs of $1 run with this library"
