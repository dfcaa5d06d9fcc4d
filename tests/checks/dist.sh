#!/bin/sh
# "make dist" gives the same bytes twice, from another place and as another user would have them, too; the
# tarball builds and tests itself without git.
. "$(dirname "$0")/common.sh"
long
need git tar gzip cc
git rev-parse -q --verify HEAD >/dev/null 2>&1 || skip "this is not a git tree"
$make dist BUILD="$work/one" >/dev/null 2>"$work/log" || fail "$(cat "$work/log")"
git -c safe.directory='*' clone -q --no-local "$PWD" "$work/clone" 2>"$work/log" || fail "$(cat "$work/log")"
(umask 077 && TZ=Asia/Tokyo && export TZ && $make -C "$work/clone" dist) >/dev/null 2>"$work/log" || fail "$(cat "$work/log")"
file=$(cd "$work/one" && echo libballoon-*.tar.gz)
cmp "$work/one/$file" "$work/clone/build/$file" || fail "not the same bytes twice"
# (tar) names only HEAD's files and one more.
{ git ls-tree -r --name-only HEAD; echo meson.build; } | sort >"$work/names"
tar -tzf "$work/one/$file" | grep -v '/$' | sed 's,^[^/]*/,,' | sort | diff "$work/names" - || fail "other files than HEAD has"

mkdir "$work/tree" "$work/bin"
tar -xzf "$work/one/$file" -C "$work/tree"
printf '#!/bin/sh\nexit 127\n' >"$work/bin/git"
chmod +x "$work/bin/git"
PATH=$work/bin:$PATH
cd "$work/tree"/libballoon-*
$make all >"$work/log" 2>&1 || fail "the tarball does not build: $(tail "$work/log")"
unset BXFI_MAP BALLOON_TOP BALLOON_BUILD BALLOON_CHECK_ALL
$make check >"$work/log" 2>&1 || fail "the tarball's tests fail: $(tail -n 40 "$work/log")"
