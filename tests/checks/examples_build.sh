#!/bin/sh
# Each line of docs/examples/README.md builds its example, in plain C11, with an installed library;
# and no example has been forgotten there.
. "$(dirname "$0")/common.sh"
need cc pkg-config

$make install BUILD="$work/build" prefix="$work/usr" CFLAGS=-O0 >/dev/null
PKG_CONFIG_PATH=$work/usr/lib/pkgconfig
export PKG_CONFIG_PATH
cp docs/examples/*.[ch] "$work"
sed -n 's/^      cc //p' docs/examples/README.md >"$work/lines"
while read -r line; do
    case $line in
    *-lcriterion*) echo 'int main;' | cc -xc - -lcriterion -o "$work/has" 2>/dev/null || continue ;;
    esac
    (cd "$work" && eval "cc $strict $line -o one") >"$work/out" 2>&1 || fail "cc $line: $(cat "$work/out")"
done <"$work/lines"
for source in docs/examples/*.c; do
    name=$(basename "$source")
    (cd "$work" && for word in $(cat lines); do echo "$word"; done) | grep -qxF "$name" ||
        fail "docs/examples/README.md does not build $name"
done

# The installed ones build by themselves, all that need nothing else.
cp -r "$work/usr/share/doc/libballoon/examples" "$work/examples"
$make -C "$work/examples" CFLAGS=-O0 >"$work/out" 2>&1 || fail "the installed examples: $(cat "$work/out")"
for name in $(grep -l '^int main\>' docs/examples/*.c); do
    [ -x "$work/examples/$(basename "$name" .c)" ] || fail "the installed examples do not build $name"
done
LD_LIBRARY_PATH=$work/usr/lib "$work/examples/device_loop" >"$work/out" || fail "device_loop: $(cat "$work/out")"
$make -C "$work/examples" clean >/dev/null
diff -r docs/examples "$work/examples" || fail "the installed examples are others, or clean leaves something"
