#!/bin/sh
# Programs built against the last release run with this library, as far as abidiff can tell; and
# "make abi" tells changes that are compatible from those that are not.
. "$(dirname "$0")/common.sh"
need cc nm abidiff

CC=cc pkgconfig/abi/abi.sh compare "$build/lib/libballoon.so"

# The rest takes three builds.
[ "${BALLOON_CHECK_ALL:-0}" != 0 ] || exit 0

# A tree to make changes in, described as if it was a release.
tree=$work/tree
mkdir "$tree"
cp -r Makefile include lib pkgconfig "$tree"
made="$make -C $tree BUILD=$work/build"
flags='-O0 -g'
$made abi-update CFLAGS="$flags" >"$work/log" 2>&1 || fail "$(cat "$work/log")"
cp -r "$tree" "$work/kept"

# edit <header> <sed script>: which must change something.
edit() {
    sed -i "$2" "$tree/$1"
    ! cmp -s "$tree/$1" "$work/kept/$1" || fail "nothing to edit in $1 by $2"
}

minor=$(sed -n 's/^#define BALLOON_VERSION_MINOR *\([0-9]*\).*/\1/p' include/balloon/version.h)
node=$(sed -n 's/^\(BALLOON_[0-9.]*\) {/\1/p' lib/libballoon.map | tail -n 1)

# What later versions may do, all at once.
edit include/balloon/device.h '/^} balloon_device_config;/i uint64_t new_field;'
edit include/balloon/policy.h '/^} balloon_shares_knobs;/i uint64_t new_field;'
edit include/balloon/device.h 's/BALLOON_ACTION_SEND = 8/BALLOON_ACTION_NEW = 9, &/'
edit include/balloon/stats.h 's/#define BALLOON_STAT_COUNT 19/#define BALLOON_STAT_COUNT 20/'
edit include/balloon/tracker.h '/^BALLOON_END_DECLS/i BALLOON_API int balloon_tracker_new(int x);\n#define BALLOON_NEW 1'
edit include/balloon/version.h "s/_MINOR $minor/_MINOR $((minor + 1))/"
edit lib/core/tracker_check.c '$a int balloon_tracker_new(int x) { return x; }'
edit lib/pool/pool_p.h 's/^struct balloon_pool {/& uint64_t new_field;/'
edit lib/libballoon.map "\$a BALLOON_NEXT { global: balloon_tracker_new; } $node;"
$made abi CFLAGS="$flags" >"$work/out" 2>&1 || fail "additions are refused: $(cat "$work/out")"
for name in balloon_device_config balloon_shares_knobs; do
    grep -q "  $name has grown" "$work/out" || fail "$name has grown unseen: $(cat "$work/out")"
done

# A new function as if it had been there: programs would start with a library that has it not.
edit lib/libballoon.map "s/^ *balloon_why_text;/&balloon_tracker_new;/; /BALLOON_NEXT/d"
! $made abi CFLAGS="$flags" >"$work/out" 2>&1 || fail "what was released gets new functions"
grep -q "balloon_tracker_new is new, but has the version $node" "$work/out" || fail "$(cat "$work/out")"
edit include/balloon/version.h "s/_MINOR $((minor + 1))/_MINOR $minor/; s/\(_PATCH \)\([0-9]*\)/\19\2/"
! $made abi CFLAGS="$flags" >"$work/out" 2>&1 || fail "a patch version brings new functions"

# What they may not, and by which words it is found.
rm -r "$tree"
cp -r "$work/kept" "$tree"
edit lib/libballoon.map '/^ *balloon_why_text;/d'
edit include/balloon/os.h '/^ *uint32_t max_regions;/{N;h;s/\n.*//;s/max_regions/flags/;x;s/.*\n//;s/flags/max_regions/;H;x}'
edit include/balloon/device.h 's/BALLOON_ACTION_PRESSURE = 6/BALLOON_ACTION_PRESSURE = 9/'
edit include/balloon/device.h '/^} balloon_action;/i uint64_t new_field;'
edit include/balloon/virtio.h '/^} balloon_virtio_options;/i bool new_field;'
edit include/balloon/pool.h '/^} balloon_pool_config;/i uint64_t new_field;'
edit include/balloon/hyperv.h '/^ *balloon_time_t start_delay;/i uint64_t new_field;'
edit include/balloon/policy.h 's/^    uint32_t percent;/    uint64_t percent;/; /^} balloon_policy;/i void *new_field;'
edit include/balloon/policy.h 's/BALLOON_GUEST_PINNED = 1 << 3/BALLOON_GUEST_PINNED = 1 << 6/'
edit include/balloon/types.h 's/define BALLOON_TIME_NEVER  *UINT64_MAX/define BALLOON_TIME_NEVER (UINT64_MAX - 1)/'
! $made abi CFLAGS="$flags" >"$work/out" 2>&1 || fail "incompatible changes pass: $(cat "$work/out")"
for words in "'function const char\* balloon_why_text(uint32_t)'" 'balloon_os_config' \
    "BALLOON_ACTION_PRESSURE' from value '6' to '9'" 'struct balloon_action.* changed' \
    'struct balloon_virtio_options.* changed' "balloon_sim_config' changed" 'balloon_hyperv_options' \
    'balloon_proxmox_knobs' "balloon_policy balloon_policy_fixed'" "BALLOON_GUEST_PINNED' from value" \
    'BALLOON_TIME_NEVER was 18446744073709551615 and is 18446744073709551614'; do
    grep -q -e "$words" "$work/out" || fail "no \"$words\" in: $(cat "$work/out")"
done

# Unless the major version is new.
sed -i 's/_MAJOR \([0-9]*\)/_MAJOR 77/' "$tree/include/balloon/version.h"
$made abi CFLAGS="$flags" >"$work/out" 2>&1 || fail "a new major version is refused: $(cat "$work/out")"
