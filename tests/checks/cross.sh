#!/bin/sh
# The tests pass on other machines, emulated: cross.sh s390x (big-endian) or cross.sh arm (32 bits).
# Everything but tests/guest and tests/build runs there; the tests in tests/cross/skips do not.
. "$(dirname "$0")/common.sh"
machine=$1
case $machine in
s390x) tools=s390x-linux-gnu ;;
arm) tools=arm-linux-gnueabihf ;;
*) fail "cross.sh: s390x or arm?" ;;
esac
need "$tools-gcc" "$tools-ar" "qemu-$machine"
echo 'int main(void) { return 0; }' >"$work/empty.c"
"$tools-gcc" -static -o "$work/empty" "$work/empty.c" 2>/dev/null ||
    skip "the C library for $machine is missing"

# The ordinary suite, at its ordinary length, whatever the run that started this one does.
unset BALLOON_CHECK_ALL BALLOON_SEED
BALLOON_TOP=$PWD
export BALLOON_TOP

# run <name> [<pattern>]: tests/run.sh on a program for that machine.
run() {
    printf '#!/bin/sh\nexec qemu-%s "%s" --skips="%s" "$@"\n' \
        "$machine" "$work/$1/bin/tests" "$work/$1.skips" >"$work/$1.sh"
    chmod +x "$work/$1.sh"
    tests/run.sh "$work/$1.sh" "${2:-}"
}

# build <name> <source>...: the library, the examples and a test program of these sources.
build() {
    name=$1
    shift
    $make BUILD="$work/$name" CC="$tools-gcc" AR="$tools-ar" CPPFLAGS=-Itests/cross \
        CRITERION_LIBS= LDLIBS=-static FUZZ_SRC= EXAMPLE_TESTS= TEST_SRC="tests/cross/runner.c $*" \
        all test-programs >"$work/$name.log" 2>&1 || fail "$(cat "$work/$name.log")"
}

# The runner first: it must see what fails, and that the list of skips is not out of date.
cat >"$work/own.c" <<'END'
#include <criterion/criterion.h>
#include <stdlib.h>
static int left, *volatile nowhere;
static void leave(void)
{
    left++;
}
TestSuite(good, .init = leave);
Test(good, passes) { cr_assert_eq(left++, 1, "%d", left); }
Test(good, starts_afresh) { cr_expect_eq(left, 1); }
Test(good, skips) { cr_skip_test("no %s here", "luck"); }
Test(good, is_listed) { cr_assert(0); }
Test(bad, asserts) { cr_assert(0); }
Test(bad, expects) { cr_expect_str_eq("a", "b"); }
Test(bad, crashes) { *nowhere = 0; }
Test(bad, aborts) { abort(); }
Test(bad, ends) { exit(0); }
END
build own "$work/own.c"
echo 'good/is_listed known' >"$work/own.skips"
run own good >"$work/out" || fail "good tests do not pass: $(cat "$work/out")"
for line in '^  good::is_listed: known$' '^  good::skips: no luck here$' \
    'Synthesis: Tested: 2 | Passing: 2 | Failing: 0 | Crashing: 0'; do
    grep -q "$line" "$work/out" || fail "good tests do not print \"$line\": $(cat "$work/out")"
done
run own >"$work/out" && fail "bad tests pass"
grep -q 'Synthesis: Tested: 7 | Passing: 2 | Failing: 5 | Crashing: 3' "$work/out" ||
    fail "bad tests are not counted: $(cat "$work/out")"
echo 'good/gone old' >>"$work/own.skips"
run own >"$work/out" && fail "bad tests pass"
grep -q 'no test is good/gone' "$work/out" || fail "an old entry in the list of skips goes unseen"

# Everything else. Warnings about the tests are native builds' business, about the library ours.
build all $(cross_tests)
grep -E '^(lib|include)/.*warning: ' "$work/all.log" && fail "the library has warnings"
for example in device_loop tracker_alone migration_skip; do
    "qemu-$machine" "$work/all/bin/examples/$example" >"$work/out" ||
        fail "$example fails: $(cat "$work/out")"
    echo "docs/examples/$example.c runs on $machine"
done
sed -n "s/^\(all\|$machine\) //p" tests/cross/skips >"$work/all.skips"
run all
