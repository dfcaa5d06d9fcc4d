#!/bin/sh
# A project finds the installed library, shared and static, in its own way, and also after all of it
# was moved: consumer.sh cmake|meson
. "$(dirname "$0")/common.sh"
by=$1
[ "$by" = cmake ] || long
need cc "$by" $([ "$by" = cmake ] || echo ninja pkg-config)

version=$(sed -n 's/^#define BALLOON_VERSION_[A-Z]* *\([0-9][0-9]*\).*/\1/p' include/balloon/version.h | paste -sd.)
# Where distributions have it that install for several machines.
libdir=lib/$(cc -print-multiarch 2>/dev/null || true)
$make install BUILD="$work/build" prefix="$work/usr" libdir="$work/usr/$libdir" CFLAGS=-O0 >"$work/log" 2>&1 ||
    fail "$(cat "$work/log")"
mv "$work/usr" "$work/moved"
libdir=$work/moved/$libdir
mkdir "$work/user"
cat >"$work/user/user.c" <<'END'
#include <balloon/balloon.h>
#include <stdio.h>
int main(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 512};
    balloon_layout layout;
    printf("%s %d\n", balloon_version(), (int)balloon_tracker_layout(&config, &layout));
    return 0;
}
END

# configure <version>: the project wants that version.
if [ "$by" = cmake ]; then
    configure() {
        cat >"$work/user/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.13)
project(user C)
find_package(balloon $1 REQUIRED)
add_executable(shared user.c)
target_link_libraries(shared balloon::balloon)
add_executable(static user.c)
target_link_libraries(static balloon::static)
END
        rm -rf "$work/out"
        cmake -S "$work/user" -B "$work/out" -DCMAKE_PREFIX_PATH="$work/moved" >"$work/log" 2>&1
    }
    compile() {
        cmake --build "$work/out" >"$work/log" 2>&1
    }
else
    # pkg-config has to be told where things are now.
    sed -i "s|^prefix=.*|prefix=$work/moved|" "$libdir/pkgconfig/libballoon.pc"
    configure() {
        cat >"$work/user/meson.build" <<END
project('user', 'c')
shared = dependency('libballoon', version: '>=$1')
executable('shared', 'user.c', dependencies: shared)
executable('static', 'user.c', dependencies: dependency('libballoon', version: '>=$1', static: true))
END
        rm -rf "$work/out"
        PKG_CONFIG_LIBDIR=$libdir/pkgconfig meson setup "$work/out" "$work/user" >"$work/log" 2>&1
    }
    compile() {
        ninja -C "$work/out" >"$work/log" 2>&1
    }
fi

! configure 0.99 || fail "a version that is not there is found"
configure 0.1 || fail "$(cat "$work/log")"
configure "$version" || fail "$(cat "$work/log")"
compile || fail "$(cat "$work/log")"
out=$(LD_LIBRARY_PATH=$libdir "$work/out/shared") || fail "the shared one does not run"
[ "$out" = "$version 0" ] || fail "the shared one says: $out"
mv "$libdir"/libballoon.so* "$work"
! "$work/out/shared" 2>/dev/null || fail "the shared one is static"
out=$("$work/out/static") || fail "the static one does not run"
[ "$out" = "$version 0" ] || fail "the static one says: $out"
