#!/bin/sh
# The shared library exports just what the headers declare with BALLOON_API. The static one cannot
# hide names, so those that its files share start with bl_ and clash with nothing of the embedder's.
. "$(dirname "$0")/common.sh"
need nm cpp

for header in include/balloon/*.h; do
    echo "#include <balloon/${header##*/}>"
done |
    cpp -P -Iinclude -DBALLOON_EXPORT_H -DBALLOON_API=@ -DBALLOON_CHECKED= -DBALLOON_BEGIN_DECLS= \
        -DBALLOON_END_DECLS= - | tr '\n' ' ' | tr '@' '\n' |
    sed -n 's/^[^(;{]*[ *]\(balloon_[a-z0-9_]*\) *[(;].*/\1/p' | sort -u >"$work/declared"
[ -s "$work/declared" ] || fail "found no declarations"

nm -D --defined-only "$build/lib/libballoon.so" | awk '{ print $3 }' | sort >"$work/exported"
diff "$work/declared" "$work/exported" >"$work/diff" || {
    sed -n 's/^< /declared but not exported: /p; s/^> /exported but not declared: /p' "$work/diff"
    exit 1
}

alien=$(nm -g --defined-only "$build/lib/libballoon.a" | awk 'NF == 3 { print $3 }' |
    grep -vE '^(balloon_|bl_|__(asan|odr_asan|gcov|sanitizer|ubsan))') || true
[ -z "$alien" ] || fail "global names in libballoon.a without balloon_ or bl_ in front:" $alien
