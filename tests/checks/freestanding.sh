#!/bin/sh
# All of lib/ but lib/os and alloc.c builds for a place without an operating system and without a C
# library, kernel flags included, and asks for four functions only: freestanding.sh <compiler>; with
# "amalgamation" behind it, all of lib/ in one file.
. "$(dirname "$0")/common.sh"
cc=$1
need "$cc" ld nm
sources=$(find lib -mindepth 2 -name '*.c' ! -path 'lib/os/*')
[ -z "${2:-}" ] || {
    long
    $make amalgamation BUILD="$work/build" >/dev/null 2>&1 || fail "no amalgamation"
    sources=$work/build/amalgamation/balloon.c
}
[ -n "$sources" ] || fail "found no sources"

# No header may be found but the compiler's own and a string.h with the four functions.
mkdir "$work/include"
cat >"$work/include/string.h" <<'END'
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
END
own=$("$cc" -print-file-name=include)
flags="-std=c11 -O2 -ffreestanding -nostdinc -isystem $own -isystem $work/include -Iinclude"
flags="$flags -fno-pic -fno-stack-protector $strict"

# build <name> <flag>...: compile, join, list what is undefined.
build() {
    name=$1
    shift
    mkdir "$work/$name"
    for source in $sources; do
        "$cc" $flags "$@" -c "$source" -o "$work/$name/$(echo "$source" | tr / _).o" ||
            fail "$name: $source does not compile"
    done
    "$cc" "$@" -nostdlib -r -o "$work/$name.o" "$work/$name"/*.o
    alien=$(nm -u "$work/$name.o" | awk '{ print $2 }' | grep -vxE 'mem(cpy|move|set|cmp)') || true
    [ -z "$alien" ] || fail "$name: needs" $alien
}

# As a kernel is built, which is the most that is asked for.
case $(uname -m) in
x86_64)
    place="-mgeneral-regs-only -mno-red-zone -mcmodel=kernel"
    # No division or shift of 64 bits may call a helper of the compiler's library.
    build 32bit -m32 -march=i686
    ;;
aarch64) place=-mgeneral-regs-only ;;
*) place= ;;
esac
build kernel $place

# It also links to a program that has nothing but the four functions: every reference between the
# parts is met.
cat >"$work/start.c" <<'END'
#include <string.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    return memmove(to, from, bytes);
}
void *memmove(void *to, const void *from, size_t bytes)
{
    (void)from;
    (void)bytes;
    return to;
}
void *memset(void *to, int value, size_t bytes)
{
    (void)value;
    (void)bytes;
    return to;
}
int memcmp(const void *a, const void *b, size_t bytes)
{
    return a == b && bytes > 0;
}
_Noreturn void _start(void);
_Noreturn void _start(void)
{
    for (;;)
        ;
}
END
"$cc" $flags $place -fno-builtin -c "$work/start.c" -o "$work/start.o"
"$cc" -nostdlib -static -o "$work/program" "$work/start.o" "$work/kernel.o"
