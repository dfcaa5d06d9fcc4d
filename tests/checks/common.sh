# Read by the other scripts here, which are run by the tests in tests/build. A script succeeds, fails
# after saying why, or skips because a tool is missing.
set -eu
LC_ALL=C
export LC_ALL

cd "${BALLOON_TOP:-.}"
# Where the objects, libraries and programs of this run are; by hand, those of the last "make all".
build=${BALLOON_BUILD:-$(readlink -m build/lib/..)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The scripts build things their own way, not by the flags of the run that started them.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CC CFLAGS CPPFLAGS LDFLAGS LDLIBS DESTDIR prefix \
    exec_prefix bindir libdir includedir datarootdir datadir mandir docdir pkgconfigdir cmakedir \
    completionsdir BUILD V T WERROR FUZZER
make="make --no-print-directory -j2"
strict="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror"

fail() {
    echo "$*"
    exit 1
}

skip() {
    echo "$*"
    exit 77
}

# For what takes longer than "make check" may.
long() {
    [ "${BALLOON_CHECK_ALL:-0}" != 0 ] || skip "long: runs with BALLOON_CHECK_ALL=1"
}

need() {
    for tool; do
        command -v "$tool" >/dev/null || skip "$tool is missing"
    done
}

# The sources of the tests that run on other machines, too.
cross_tests() {
    # host_domains.c wants libvirt, which is there for this machine at most.
    find tests -mindepth 2 -maxdepth 3 -name '*.c' ! -name host_domains.c |
        grep -E '^tests/(unit/[a-z]+|unit|golden|model|oracle|hostile|loop|policy|support)/[^/]*$'
}
