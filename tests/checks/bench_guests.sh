#!/bin/sh
# The benchmark with guests says what it cannot measure and succeeds. Where it can, and in long runs
# only, it counts a discard call for each page where there is one, and few where pages are gathered.
. "$(dirname "$0")/common.sh"
bench=$build/bin/guest_bench
BALLOON_QEMU=/nonexistent "$bench" qemu 1 >"$work/out" 2>"$work/said" || fail "it fails without a QEMU"
[ ! -s "$work/out" ] || fail "it has figures of a QEMU that is not there"
[ "$(grep -c '^SKIP: .*no QEMU' "$work/said")" = 3 ] || fail "it does not say what is missing"
! "$bench" qemu 0 2>/dev/null || fail "it takes no rounds for some"

[ "${BALLOON_CHECK_ALL:-0}" != 0 ] || exit 0
"$bench" uml 1 >"$work/out" 2>"$work/said" || fail "$(tail -n 1 "$work/said")"
! grep -q ^SKIP "$work/said" || skip "all but the figures: $(sed -n 's/^SKIP: //p' "$work/said" | head -n 1)"
# calls CASE IMPL: its discard calls.
calls() {
    sed -n "s|.*\"$1\",\"impl\":\"$2\".*\"calls\":\([0-9]*\).*|\1|p" "$work/out"
}
for state in fresh touched fragmented; do
    [ "$(calls "uml/$state/inflate" 'a call a page')" -ge 71680 ] ||
        fail "$state: no call for each page"
    [ "$(calls "uml/$state/inflate" libballoon)" -le 717 ] || fail "$state: pages are not gathered"
    [ "$(calls "uml/$state/deflate" libballoon)" = 0 ] || fail "$state: a discard on deflating"
done
