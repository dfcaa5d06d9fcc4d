#!/bin/sh
# The library by module, and what of it ends up in a guest kernel with driver and virtio codec:
# at most 24 KiB of code.
. "$(dirname "$0")/common.sh"
need gcc ld nm size
limit=24576

flags="-std=c11 -Os -ffreestanding -fno-pic -ffunction-sections -fdata-sections -Iinclude"
for source in lib/*/*.c lib/*.c; do
    gcc $flags -c "$source" -o "$work/$(echo "${source#lib/}" | tr / :)"
done
cd "$work"

echo "All of the library (gcc -Os), bytes:"
size -- *.c | awk '
NR > 1 { part = $6; sub(/:.*/, "", part); text[part] += $1; data[part] += $2 + $3
         name = $6; sub(/\.c$/, "", name); sub(/:/, "/", name); printf "  %7d %s\n", $1, name }
END    { for (part in text) printf "  %7d text %5d data  all of %s\n", text[part], data[part], part }'

# A guest kernel calls what driver.h and the driver part of virtio.h declare (driver_ok is the
# device's, create is of alloc.h), but not the checks for tests. The linker follows these calls and drops the rest.
roots=$(nm -- *.c | awk '$2 == "T" { print $3 }' |
    grep -E '^balloon_(virtio_)?driver_' | grep -vE '_check$|_(create|destroy)$|_driver_ok$' | sort)
[ -n "$roots" ] || fail "found no driver"
ld -r --gc-sections $(printf -- '-u %s ' $roots) -Map=map -o guest.o ./*.c
echo "In a guest kernel with virtio (only what is called):"
awk '/^Linker script/ { on = 1 } !on { next }
    /^ \.(text|rodata)[^ ]*$/ { getline rest; $0 = $0 " " rest }
    /^ \.(text|rodata)/ && $4 ~ /\.c$/ && $3 != "0x0" { print $3, $4 }' map |
    while read -r bytes name; do echo "$((bytes)) $name"; done |
    awk -v limit="$limit" '
    { name = $2; sub(/\.c$/, "", name); sub(/^\.\//, "", name); sub(/:/, "/", name); sizes[name] += $1; total += $1 }
    END { for (name in sizes) printf "  %7d %s\n", sizes[name], name | "sort -k2"
          close("sort -k2"); printf "  %7d in all, of %d\n", total, limit; exit total > limit }'
