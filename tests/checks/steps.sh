#!/bin/sh
# The work a guest can cause is bounded by the bytes it sends: counted in basic blocks, not in time.
. "$(dirname "$0")/common.sh"
need gcc
for f in lib/core/*.c lib/device/*.c lib/driver/*.c lib/virtio/*.c lib/hyperv/*.c lib/vmware/*.c lib/xen/*.c lib/policy/*.c lib/pool/*.c; do
    gcc -std=c11 -O1 -fsanitize-coverage=trace-pc -Iinclude -c "$f" -o "$work/$(basename "$f" .c).o"
done
gcc -std=c11 -O1 $strict -Iinclude tests/checks/steps.c lib/alloc.c lib/os/*.c "$work"/*.o -o "$work/steps"
"$work/steps" >"$work/out" || fail "$(grep 'TOO MANY' "$work/out")"
