#!/bin/sh
# The tests pass on other machines, emulated, and with other C libraries: cross.sh <machine>, one of
#   s390x (big-endian), arm (32 bits), aarch64, riscv64,
#   i386 (32 bits; by gcc -m32 or a cross compiler, emulated where the kernel cannot run it),
#   musl (this machine, another C library), windows (mingw-w64; run only where there is wine).
# Everything but tests/guest and tests/build runs there; the tests in tests/cross/skips do not. For
# Windows only the tests that need no POSIX are built.
. "$(dirname "$0")/common.sh"
machine=$1
tools=
runs=
flags=
examples=
exe=
case $machine in
s390x | aarch64 | riscv64) tools=$machine-linux-gnu- ;;
arm) tools=arm-linux-gnueabihf- ;;
i386 | musl) ;;
windows) tools=x86_64-w64-mingw32- ;;
*) fail "cross.sh: which machine?" ;;
esac
cc=${tools}gcc
echo 'int main(void) { return 0; }' >"$work/empty.c"

links() {
    $1 -static -o "$work/empty" "$work/empty.c" 2>/dev/null
}

case $machine in
i386)
    cc='gcc -m32'
    links "$cc" || { tools=i686-linux-gnu- && cc=i686-linux-gnu-gcc; }
    ;;
musl) cc=musl-gcc ;;
esac
need ${cc% *} "${tools}ar"
links "$cc" || skip "the C library for $machine is missing"
case $machine in
windows)
    exe=.exe
    # It has no aligned_alloc(), and malloc() aligns for all types.
    flags="-D__USE_MINGW_ANSI_STDIO -D'aligned_alloc(align,bytes)=malloc(bytes)'"
    runs=wine
    ;;
musl)
    # The kernel's headers are the same for all C libraries, but musl-gcc does not look there.
    mkdir "$work/kernel"
    ln -s /usr/include/linux /usr/include/asm-generic \
        "/usr/include/$(gcc -print-multiarch)/asm" "$work/kernel"
    flags="-idirafter $work/kernel"
    ;;
i386) "$work/empty" 2>/dev/null || runs=qemu-i386 ;;
*) runs=qemu-$machine ;;
esac
[ "$machine" = windows ] || need $runs

# The ordinary suite, at its ordinary length, whatever the run that started this one does.
unset BALLOON_CHECK_ALL BALLOON_SEED
BALLOON_TOP=$PWD
export BALLOON_TOP

# run <name> [<pattern>]: tests/run.sh on a program for that machine.
run() {
    printf '#!/bin/sh\nexec %s "%s" --skips="%s" "$@"\n' \
        "$runs" "$work/$1/bin/tests$exe" "$work/$1.skips" >"$work/$1.sh"
    chmod +x "$work/$1.sh"
    tests/run.sh "$work/$1.sh" "${2:-}"
}

# build <name> <targets> <source>...: the library and a test program of these sources.
build() {
    name=$1
    targets=$2
    shift 2
    $make BUILD="$work/$name" CC="$cc" AR="${tools}ar" CPPFLAGS="-Itests/cross $flags" \
        CRITERION_LIBS= LDLIBS=-static FUZZ_SRC= EXAMPLE_TESTS= ${examples:+"$examples"} \
        TEST_SRC="$(echo tests/cross/*.c) $*" $targets >"$work/$name.log" 2>&1 ||
        fail "$(cat "$work/$name.log")"
    ln -sfn "$(dirname "$(find "$work/$name" -type f -name tests -o -name tests.exe | head -n 1)")" \
        "$work/$name/bin"
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
[ "$machine" != windows ] || examples=EXAMPLE_SRC=
build own unit-tests "$work/own.c"
if command -v ${runs:-true} >/dev/null; then
    echo 'good/is_listed known' >"$work/own.skips"
    for good in good '!(bad)/*' '@(other|good)/*' 'g??d/@(passes|s*|is_listed)'; do
        run own "$good" >"$work/out" || fail "$good: good tests do not pass: $(cat "$work/out")"
        for line in '^  good::is_listed: known$' '^  good::skips: no luck here$' \
            'Synthesis: Tested: 2 | Passing: 2 | Failing: 0 | Crashing: 0'; do
            grep -q "$line" "$work/out" || fail "$good: no \"$line\": $(cat "$work/out")"
        done
    done
    run own '!(good|bad)/*' >"$work/out" && fail "a pattern that excludes all finds some"
    run own >"$work/out" && fail "bad tests pass"
    grep -q 'Synthesis: Tested: 7 | Passing: 2 | Failing: 5 | Crashing: 3' "$work/out" ||
        fail "bad tests are not counted: $(cat "$work/out")"
    echo 'good/gone old' >>"$work/own.skips"
    run own >"$work/out" && fail "bad tests pass"
    grep -q 'no test is good/gone' "$work/out" || fail "an old entry in the list of skips goes unseen"
fi

# Everything else. Warnings about the tests are native builds' business, about the library ours.
if [ "$machine" = windows ]; then
    examples=EXAMPLE_SRC=$(echo $(grep -L '<sys/\|<unistd\|^int main\|^Test(' docs/examples/*.c))
    for test in $(grep -L '<sys/\|<unistd' $(cross_tests)); do
        "$cc" -M -Itests/cross -Itests/support -Idocs/examples -Iinclude "$test" >/dev/null 2>&1 &&
            echo "$test"
    done >"$work/tests"
    [ "$(wc -l <"$work/tests")" -gt 100 ] || fail "few tests do without POSIX"
    build all unit-tests $(cat "$work/tests")
else
    build all 'all test-programs' $(cross_tests)
fi
grep -E '^(lib|include)/.*warning: ' "$work/all.log" && fail "the library has warnings"
if [ "$machine" = windows ] && ! command -v wine >/dev/null; then
    echo "Library and tests link for Windows; there is no wine to run them"
    exit 0
fi
for example in device_loop tracker_alone migration_skip; do
    [ "$machine" != windows ] || break
    $runs "$work/all/bin/examples/$example" >"$work/out" ||
        fail "$example fails: $(cat "$work/out")"
    echo "docs/examples/$example.c runs on $machine"
done
case $runs in
qemu-arm | qemu-i386) names="$machine\\|qemu\\|qemu32" ;;
qemu-*) names="$machine\\|qemu" ;;
*) names=$machine ;;
esac
sed -n "s/^\($names\) //p" tests/cross/skips >"$work/all.skips"
run all
