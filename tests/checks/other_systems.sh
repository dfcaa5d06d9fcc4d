#!/bin/sh
# The whole library compiles for other systems by clang: lib/os with the part that says so of everything,
# and what is asked of the system are four functions of string.h and two of stdlib.h. Their own headers
# are in no package of Debian, so that is all that can be seen here: nothing is linked or run.
. "$(dirname "$0")/common.sh"
need clang llvm-nm
long

mkdir "$work/include"
cat >"$work/include/string.h" <<'END'
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
END
cat >"$work/include/stdlib.h" <<'END'
#include <stddef.h>
void *calloc(size_t count, size_t bytes);
void free(void *memory);
END

top=$PWD
mkdir "$work/objects"
cd "$work/objects"
for target in x86_64-unknown-freebsd14 x86_64-apple-macos11 arm64-apple-macos11; do
    rm -f ./*.o
    clang --target=$target -std=c11 -ffreestanding -fno-stack-protector -nostdlibinc \
        -isystem "$work/include" \
        -I"$top/include" $strict -c "$top"/lib/*.c "$top"/lib/*/*.c >"$work/out" 2>&1 ||
        fail "$target: $(cat "$work/out")"
    # In files for macOS all names have a _ in front, and clang makes bzero() of memset() there.
    llvm-nm --undefined-only ./*.o 2>/dev/null |
        awk 'NF && !/:$/ { sub(/^_/, "", $NF); print $NF == "bzero" ? "memset" : $NF }' |
        sort -u >"$work/asked"
    alien=$(grep -vxE '(balloon|bl)_.*|mem(cpy|move|set|cmp)|calloc|free' "$work/asked" | tr '\n' ' ')
    [ -z "$alien" ] || fail "$target: asks for $alien"
    grep -qx memcpy "$work/asked" || fail "$target: asks for nothing"
done
