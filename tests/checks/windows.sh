#!/bin/sh
# For Windows, by mingw-w64: a DLL that exports what the headers declare, and programs in C and C++ that
# are linked to it by its import library and give the numbers of this machine's; run where there is wine.
. "$(dirname "$0")/bindings_common.sh"
long
tools=x86_64-w64-mingw32-
need "${tools}gcc" "${tools}objdump" "$builder"

$make all BUILD="$work/build" CC="${tools}gcc" AR="${tools}ar" WERROR=1 >"$work/out" 2>&1 ||
    fail "$(tail -n 20 "$work/out")"
bin=$(dirname "$(find "$work/build" -name 'libballoon-*.dll')")
[ -f "$bin/libballoon.dll.a" ] || fail "no DLL, or no import library"

sed -n '/^global:/,/^local:/s/^ *\(balloon_[a-z0-9_]*\);/\1/p' lib/libballoon.map | sort -u >"$work/declared"
[ "$(wc -l <"$work/declared")" -gt 100 ] || fail "lib/libballoon.map names little"
"${tools}objdump" -p "$bin"/libballoon-*.dll |
    sed -n '/Name Pointer\] Table/,/^$/s/^.* \(\(balloon\|bl\)_[a-z0-9_]*\)$/\1/p' | sort >"$work/exported"
diff "$work/declared" "$work/exported" >"$work/diff" || fail "exports: $(head -n 5 "$work/diff")"

# Linked to the DLL: data of it, the policies, come through as well.
program() {
    compiler=$1
    shift
    "$tools$compiler" -D__USE_MINGW_ANSI_STDIO -O1 -Iinclude "$@" "$bin/libballoon.dll.a" ||
        fail "$*: does not build for Windows"
}
program gcc -std=c11 -o "$bin/reference.exe" tests/bindings/reference.c
"${tools}objdump" -p "$bin/reference.exe" | grep -q 'DLL Name: libballoon-' || fail "it is not linked to the DLL"
! command -v "${tools}g++" >/dev/null || program g++ -std=c++17 -static-libgcc -static-libstdc++ \
    -o "$bin/same.exe" tests/bindings/same.cc
command -v wine >/dev/null || skip "built, and not run: wine is missing"

WINEPREFIX=$work/wine WINEDEBUG=-all
export WINEPREFIX WINEDEBUG
# Its text files have lines that end with two characters.
windows() {
    wine "$bin/$1.exe" "$2" | tr -d '\r'
}
reference device tracker pool sim
for what in device tracker pool sim; do
    same $what windows reference $what
done
[ ! -e "$bin/same.exe" ] || for what in tracker pool sim; do
    same $what windows same $what
done
wineserver -k 2>/dev/null || true
[ -e "$bin/same.exe" ] || skip "all but C++: ${tools}g++ is missing"
