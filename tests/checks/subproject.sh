#!/bin/sh
# A project that is built by Meson has the tarball as a subproject, by the wrap file of docs/embedding.md.
. "$(dirname "$0")/common.sh"
long
need git meson ninja cc
git rev-parse -q --verify HEAD >/dev/null 2>&1 || skip "this is not a git tree"
$make dist BUILD="$work/dist" >/dev/null 2>"$work/log" || fail "$(cat "$work/log")"
file=$(cd "$work/dist" && echo libballoon-*.tar.gz)
version=${file#libballoon-}
version=${version%.tar.gz}
mkdir -p "$work/user/subprojects/packagefiles"
cp "$work/dist/$file" "$work/user/subprojects/packagefiles"
awk '/^```ini$/ { on = 1; next } /^```/ { on = 0 } on' docs/embedding.md |
    sed "s/^source_hash = .*/source_hash = $(sha256sum <"$work/dist/$file" | cut -d' ' -f1)/" \
        >"$work/user/subprojects/libballoon.wrap"
grep -q "^source_filename = $file\$" "$work/user/subprojects/libballoon.wrap" || fail "the wrap file has another version"
cat >"$work/user/user.c" <<'END'
#include <balloon/balloon.h>
#include <stdio.h>
int main(void)
{
    puts(balloon_version());
    return 0;
}
END
cat >"$work/user/meson.build" <<END
project('user', 'c')
executable('user', 'user.c', dependencies: dependency('libballoon', version: '$version'))
END
for kind in shared static; do
    PKG_CONFIG_LIBDIR=/nowhere meson setup "$work/$kind" "$work/user" -Ddefault_library=$kind >"$work/log" 2>&1 ||
        fail "$(cat "$work/log")"
    ninja -C "$work/$kind" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
    [ "$("$work/$kind/user")" = "$version" ] || fail "$kind: not $version"
done
nm -D --with-symbol-versions "$work/shared/user" | grep -q 'balloon_version@BALLOON_' || fail "shared: no versions"
