#!/bin/sh
# An installed library is found through pkg-config and works, shared and static; the standard
# variables are honoured; uninstall leaves nothing.
. "$(dirname "$0")/common.sh"
need cc pkg-config readelf

version=$(sed -n 's/^#define BALLOON_VERSION_[A-Z]* *\([0-9][0-9]*\).*/\1/p' include/balloon/version.h |
    paste -sd.)
major=${version%%.*}

# Commands are shown with V=1, and the user's flags are in them, next to the library's own.
build_make() {
    $make BUILD="$work/build" CFLAGS='-O1 -DUSER_CFLAGS' CPPFLAGS=-DUSER_CPPFLAGS LDFLAGS=-Wl,-z,now "$@"
}
build_make install V=1 prefix="$work/usr" >"$work/log"
line=$(grep -- '-c lib/core/types.c' "$work/log") || fail "V=1 shows no commands"
for flag in -O1 -DUSER_CFLAGS -DUSER_CPPFLAGS -std=c11 -fvisibility=hidden; do
    case $line in
    *" $flag "*) ;;
    *) fail "$flag is not in: $line" ;;
    esac
done
readelf -d "$work/usr/lib/libballoon.so" | grep -q 'NOW' || fail "LDFLAGS are not used"
readelf -d "$work/usr/lib/libballoon.so" | grep -qF "soname: [libballoon.so.$major]" || fail "wrong soname"
[ -f "$work/usr/lib/libballoon.so.$version" ] || fail "no libballoon.so.$version"

# Another compiler by CC.
printf '#!/bin/sh\necho used >>%s\nexec cc "$@"\n' "$work/cc-used" >"$work/mycc"
chmod +x "$work/mycc"
$make BUILD="$work/build" CC="$work/mycc" >"$work/log"
[ -s "$work/cc-used" ] || fail "CC is not used"

cat >"$work/user.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <balloon/balloon.h>
int main(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 512};
    balloon_region region = {.first = 0, .count = 512, .granule = 1};
    balloon_layout layout;
    balloon_tracker *tracker;
    if (balloon_tracker_layout(&config, &layout) != BALLOON_OK)
        return 1;
    void *memory = aligned_alloc(layout.align, (layout.bytes + layout.align - 1) & ~(layout.align - 1));
    if (balloon_tracker_init(memory, layout.bytes, &config, &tracker) != BALLOON_OK ||
        balloon_tracker_add_region(tracker, &region, NULL) != BALLOON_OK)
        return 1;
    balloon_tracker_inflate_range(tracker, (balloon_range){8, 4}, NULL);
    printf("%s %d\n", balloon_version(), (int)balloon_tracker_held(tracker));
    free(memory);
    return 0;
}
END
pc() {
    PKG_CONFIG_LIBDIR=$work/usr/lib/pkgconfig pkg-config "$@" libballoon
}
[ "$(pc --modversion)" = "$version" ] || fail "libballoon.pc has another version than the headers"
[ -z "$(pc --print-requires)$(pc --print-requires-private)" ] || fail "libballoon.pc requires something"
cc -std=c11 $strict $(pc --cflags) "$work/user.c" -o "$work/shared" $(pc --libs)
out=$(LD_LIBRARY_PATH=$work/usr/lib "$work/shared")
[ "$out" = "$version 4" ] || fail "the shared library says: $out"
readelf -d "$work/shared" | grep -q "libballoon.so.$major" || fail "it is not linked to the shared library"

# So does a program that was linked to libballoon 0.1, whose functions had no versions.
mkdir "$work/old"
echo '{ global: balloon_*; local: *; };' >"$work/old/map"
cc -shared -Wl,-soname,"libballoon.so.$major" -Wl,--version-script="$work/old/map" -Wl,--whole-archive \
    "$work/usr/lib/libballoon.a" -Wl,--no-whole-archive -o "$work/old/libballoon.so"
cc -std=c11 $(pc --cflags) "$work/user.c" -o "$work/old/user" -L"$work/old" -lballoon
! readelf -V "$work/old/user" | grep -q BALLOON_ || fail "the old library has versions"
readelf -V "$work/shared" | grep -q BALLOON_ || fail "the new library has no versions"
out=$(LD_LIBRARY_PATH=$work/usr/lib "$work/old/user" 2>&1)
[ "$out" = "$version 4" ] || fail "a program from before there were versions says: $out"

cc -std=c11 $strict $(pc --cflags) "$work/user.c" -o "$work/static" -static $(pc --static --libs)
out=$("$work/static")
[ "$out" = "$version 4" ] || fail "the static library says: $out"

# The programs are there; bash, and their pages, know just the options that they say they have.
"$work/usr/bin/balloon-sim" --trace bench/traces/smd_norm_3days.csv --policy greedy >"$work/sim" 2>&1 ||
    fail "balloon-sim: $(cat "$work/sim")"
options() {
    grep -oE -- '--[a-z][a-z-]+' | sort -u
}
for program in "$work"/usr/bin/*; do
    name=${program##*/}
    "$program" --help | options >"$work/options"
    grep -qx -e --policy "$work/options" || fail "$name: found no options"
    echo --help >>"$work/options"
    sort -u -o "$work/options" "$work/options"
    options <"$work/usr/share/bash-completion/completions/$name" | diff "$work/options" - ||
        fail "$name has other options than its completion"
    sed 's/\\-/-/g; /^\.SH EXAMPLES/,/^\.SH/d' "$work/usr/share/man/man1/$name.1" |
        options | diff "$work/options" - || fail "$name has other options than its page"
done

# The changes are there, and start with this release.
grep -m 1 '^## ' "$work/usr/share/doc/libballoon/CHANGELOG" | grep -qF "$version" || fail "no changes in $version"
[ -s "$work/usr/share/doc/libballoon/SECURITY" ] || fail "no SECURITY"

# Each function has a page.
for name in $(sed -n 's/^ *\(balloon_[a-z0-9_]*\);$/\1/p' lib/libballoon.map) libballoon; do
    [ -s "$work/usr/share/man/man3/$name.3" ] || [ -s "$work/usr/share/man/man7/$name.7" ] || fail "no page for $name"
done

# All of it can be moved, and be found from where it is then.
mv "$work/usr" "$work/moved"
out=$(PKG_CONFIG_LIBDIR=$work/moved/lib/pkgconfig pkg-config --define-prefix --cflags --libs libballoon)
case $out in
*"-I$work/moved/include -L$work/moved/lib "*) ;;
*) fail "moved, pkg-config says: $out" ;;
esac
mv "$work/moved" "$work/usr"

build_make uninstall prefix="$work/usr"
left=$(find "$work/usr" ! -type d -o -name '*balloon' -o -name examples)
[ -z "$left" ] || fail "uninstall leaves $left"

# DESTDIR stands in front of all paths, and in no file. Every directory can be chosen.
at="prefix=/opt/b libdir=/opt/b/lib64 includedir=/opt/headers bindir=/opt/bin datadir=/opt/data"
at="$at mandir=/opt/man docdir=/opt/doc"
build_make install DESTDIR="$work/stage" $at >/dev/null
for file in b/lib64/libballoon.a "b/lib64/libballoon.so.$version" headers/balloon/balloon.h bin/balloon-sim \
    b/lib64/pkgconfig/libballoon.pc b/lib64/cmake/balloon/balloon-config.cmake doc/examples/device_loop.c \
    data/bash-completion/completions/balloon-sim man/man3/balloon_device_poll.3; do
    [ -f "$work/stage/opt/$file" ] || fail "DESTDIR: no $file"
done
[ -z "$(find "$work/stage" -mindepth 1 -maxdepth 1 ! -name opt)" ] || fail "DESTDIR: files elsewhere"
! grep -rlI "$work/stage" "$work/stage" || fail "DESTDIR is in these files"
build_make uninstall DESTDIR="$work/stage" $at
left=$(find "$work/stage" ! -type d)
[ -z "$left" ] || fail "uninstall with DESTDIR leaves $left"
