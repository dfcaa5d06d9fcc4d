#!/bin/sh
# The shared library exports just what the headers declare with BALLOON_API, each with the version
# that lib/libballoon.map has it under. The static one cannot hide names, so those that its files
# share start with bl_ and clash with nothing of the embedder's.
. "$(dirname "$0")/common.sh"
need nm cpp

for header in include/balloon/*.h; do
    echo "#include <balloon/${header##*/}>"
done |
    cpp -P -Iinclude -DBALLOON_EXPORT_H -DBALLOON_API=@ -DBALLOON_CHECKED= -DBALLOON_BEGIN_DECLS= \
        -DBALLOON_END_DECLS= - | tr '\n' ' ' | tr '@' '\n' |
    sed -n 's/^[^(;{]*[ *]\(balloon_[a-z0-9_]*\) *[(;].*/\1/p' | sort -u >"$work/declared"
[ -s "$work/declared" ] || fail "found no declarations"

# Each is in one node of the map, and the node is of a release up to this one.
awk '/^BALLOON_[0-9.]* / { node = $1 } /^ *balloon_[a-z0-9_]*;$/ { sub(/;/, ""); print $1 "@@" node }' \
    lib/libballoon.map | sort >"$work/mapped"
sed 's/@@.*//' "$work/mapped" | sort | diff "$work/declared" - >"$work/diff" || {
    sed -n 's/^< /declared but not in lib\/libballoon.map: /p
        s/^> /not declared, or twice, in lib\/libballoon.map: /p' "$work/diff"
    exit 1
}
version=$(sed -n 's/^#define BALLOON_VERSION_M[AJINOR]* *\([0-9][0-9]*\).*/\1/p' include/balloon/version.h |
    paste -sd.)
newest=$(sed 's/.*@@BALLOON_//' "$work/mapped" | sort -Vu | tail -n 1)
[ "$(printf '%s\n' "$newest" "$version" | sort -V | tail -n 1)" = "$version" ] ||
    fail "lib/libballoon.map has a node $newest, and this is $version"

nm -D --defined-only --with-symbol-versions "$build/lib/libballoon.so" | awk '$2 != "A" { print $3 }' |
    sort >"$work/exported"
diff "$work/mapped" "$work/exported" >"$work/diff" || {
    sed -n 's/^< /not exported so: /p; s/^> /exported, but not so in lib\/libballoon.map: /p' "$work/diff"
    exit 1
}

alien=$(nm -g --defined-only "$build/lib/libballoon.a" | awk 'NF == 3 { print $3 }' |
    grep -vE '^(balloon_|bl_|__(asan|odr_asan|gcov|sanitizer|ubsan))') || true
[ -z "$alien" ] || fail "global names in libballoon.a without balloon_ or bl_ in front:" $alien
