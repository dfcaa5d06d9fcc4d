#!/bin/sh
# Who opens one transport gets the code of no other: a VMM and a kernel for each, linked statically.
. "$(dirname "$0")/common.sh"
need gcc ar
library=$work/libballoon.a
mkdir "$work/obj"
find lib -name '*.c' ! -path 'lib/os/*' | xargs -P2 -I{} sh -c \
    'gcc -std=c11 -Iinclude -c "$1" -o "$2/$(basename "$1" .c).o"' sh {} "$work/obj"
ar qcs "$library" "$work/obj"/*.o
transports='virtio hyperv vmware xen'

# program <transport> <end> <call>: the whole life of one end, saving and loading included.
program() {
    own=
    [ "$2" = driver ] || own='balloon_device_save, balloon_device_load, balloon_device_explain,'
    cat >"$work/$1_$2.c" <<END
#include <balloon/balloon.h>
#define F(f) ((void (*)(void))(f))
void (*const used[])(void) = {
    F(balloon_$2_init), F(balloon_$2_reset), F(balloon_$2_poll), F(balloon_$2_deadline),
    F(balloon_$2_status_get), F($3),
$(for f in $(echo "$own" | tr -d ,); do echo "    F($f),"; done)
};
int main(void)
{
    return used[0] == 0;
}
END
    gcc -std=c11 -Iinclude "$work/$1_$2.c" "$library" -Wl,-Map="$work/map" -o "$work/program" ||
        fail "a program with the $2 of $1 does not link"
    sed -n 's/.*libballoon\.a(\([a-z0-9_]*\)\.o).*/\1/p' "$work/map" | sort -u >"$work/members"
    grep -q "^$1_$2" "$work/members" || fail "the $2 of $1 is not linked: $(cat "$work/members")"
    for other in $transports pool sim $([ "$2" = device ] && echo driver || echo device); do
        [ "$other" = "$1" ] || ! grep -E "^${other}(\$|_)" "$work/members" >"$work/alien" ||
            fail "a program with the $2 of $1 gets" $(cat "$work/alien")
    done
}

program virtio device balloon_virtio_receive
program hyperv device balloon_hyperv_receive
program vmware device balloon_vmware_call
program xen device balloon_xen_receive
program virtio driver balloon_virtio_driver_write
program hyperv driver balloon_hyperv_driver_write
program vmware driver balloon_vmware_driver_write
program xen driver balloon_xen_driver_write
