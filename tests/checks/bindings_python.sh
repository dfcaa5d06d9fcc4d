#!/bin/sh
# Python, by ctypes: its structs are those of the headers, pool and simulator give C's numbers, and
# the plot is drawn. The system's own Python: matplotlib is a package of that.
. "$(dirname "$0")/bindings_common.sh"
python=/usr/bin/python3
need "$python" "$builder"
[ -z "$sanitize" ] || [ "$builder" = gcc ] || skip "clang's sanitizer does not go under Python"
PYTHONPATH=docs/bindings/python PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=$work
BALLOON_LIBRARY=$build/lib/libballoon.so
export PYTHONPATH PYTHONDONTWRITEBYTECODE MPLCONFIGDIR BALLOON_LIBRARY

# python <argument>...: with the sanitizer, if there is one. Python itself keeps memory to its end.
python() {
    if [ -n "$sanitize" ]; then
        LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
            ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0" PYTHONMALLOC=malloc "$python" "$@"
    else
        "$python" "$@"
    fi
}

same_py=tests/bindings/same.py
python $same_py layout >"$work/layout.c" || fail "no layout"
[ "$(grep -c _Static_assert "$work/layout.c")" -gt 300 ] || fail "the layout has few structs"
cc -std=c11 -Iinclude -c "$work/layout.c" -o "$work/layout.o" || fail "not the structs of the headers"
python $same_py limits || fail "limits"
reference pool sim
for what in pool sim; do
    same $what python $same_py $what
done

"$python" -c 'import matplotlib' 2>/dev/null || skip "all but the plot: python3-matplotlib is missing"
python docs/bindings/python/plot_policy.py --out "$work/run.svg" >"$work/out" 2>&1 || fail "$(cat "$work/out")"
grep -q '<svg' "$work/run.svg" || fail "no plot"
