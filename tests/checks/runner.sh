#!/bin/sh
# The test runner itself: it fails when a test fails, crashes or leaks and when none ran, it lists
# skipped tests, and it ends with the closing counts.
. "$(dirname "$0")/common.sh"
need cc

cat >"$work/t.c" <<'END'
#include <criterion/criterion.h>
#include <stdlib.h>
int *volatile kept;
Test(good, passes) { cr_assert(1); }
Test(odd, skips) { cr_skip_test("no %s here", "luck"); }
Test(bad, fails) { cr_assert(0); }
Test(bad, crashes) { abort(); }
Test(bad, leaks)
{
    kept = malloc(10);
    kept = NULL;
}
Test(bad, overflows)
{
    kept = malloc(sizeof(*kept));
    free(kept);
    kept[0] = 1;
}
Test(bad, shifts)
{
    volatile int by = 40;
    volatile int to = 1 << by;
    (void)to;
}
END
cc -g -fsanitize=address,undefined -fno-sanitize-recover=all "$work/t.c" -o "$work/t" \
    $(pkg-config --libs criterion 2>/dev/null || echo -lcriterion) || skip "cc has no sanitizers"
# A Criterion program started by a Criterion test would take itself for its helper.
unset ASAN_OPTIONS UBSAN_OPTIONS BXFI_MAP

run() {
    status=0
    tests/run.sh "$work/t" "$1" >"$work/out" 2>&1 || status=$?
    tail -n 1 "$work/out" | grep -q Synthesis: ||
        fail "$1: does not end with the counts: $(cat "$work/out")"
}
run good
[ "$status" -eq 0 ] || fail "good tests do not pass"
run '@(good|odd)/*'
[ "$status" -eq 0 ] || fail "a skipped test does not pass"
grep -q '^Skipped tests: 1$' "$work/out" || fail "skipped tests are not counted"
grep -q 'odd::skips: no luck here' "$work/out" || fail "skipped tests are not listed"
for bad in fails crashes leaks overflows shifts; do
    run "bad/$bad"
    [ "$status" -ne 0 ] || fail "bad/$bad passes"
done
run none
[ "$status" -ne 0 ] || fail "no test at all passes"

# Who ends a run early finds nothing of it in the directory for temporary files.
printf '#!/bin/sh\nsleep 1\n' >"$work/slow"
printf '. tests/checks/common.sh\n: >"$work/file"\nsleep 1\n' >"$work/script"
chmod +x "$work/slow"
mkdir "$work/tmp"
for command in "tests/run.sh $work/slow" "sh $work/script"; do
    TMPDIR=$work/tmp $command >/dev/null 2>&1 &
    while [ -z "$(find "$work/tmp" -type f)" ]; do sleep 0.1; done
    kill -TERM $!
    wait $! && fail "$command: it is not ended"
    [ -z "$(ls "$work/tmp")" ] || fail "$command, ended early, leaves files"
done
