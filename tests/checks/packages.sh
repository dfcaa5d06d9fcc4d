#!/bin/sh
# Debian packages on a Debian just installed: packages.sh <suite>. "make deb" builds them twice to the
# same bytes, and lintian finds neither errors nor warnings. On another one apt installs them, their
# tests (pkgconfig/debian/tests) pass with /usr only, and when all has been removed nothing is left.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/suite.sh"

# step <what> <commands>: in the root at hand; fails with the end of what they said.
step() {
    echo "== $suite: $1"
    in_root root "$2" >"$work/log" 2>&1 || fail "$1: $(tail -n 30 "$work/log")"
}
apt='apt-get install -y -qq --no-install-recommends'

make_root ca-certificates
cp -a "$root" "$work/user"
clone root
in_root root 'apt-get -qq update' >"$work/log" 2>&1 || skip "no packages of $suite from the mirror"
step "what builds packages" "$apt build-essential git lintian && mkdir /tmp/control &&
    cp -r pkgconfig/debian /tmp/control && apt-get build-dep -y -qq --no-install-recommends /tmp/control"
step "make deb" 'make deb && mv build/deb /tmp/first'
grep 'Synthesis:' "$work/log" || fail "it does not run its tests"
# The second time elsewhere, later, by another number of jobs, and without the tests.
step "make deb, again" 'cp -r . /tmp/other && cd /tmp/other && rm -rf build &&
    DEB_BUILD_OPTIONS=nocheck make -j1 deb'
step "the same bytes" 'for deb in /tmp/first/*.deb; do
    cmp $deb /tmp/other/build/deb/${deb##*/} || exit 1; done; ls /tmp/first/*.deb'
cat "$work/log"
step "lintian" 'lintian --version && lintian --fail-on error,warning --tag-display-limit 0 /tmp/first/*.changes'
grep -v '^N:' "$work/log" || true
mkdir "$work/user/packages"
cp "$root"/tmp/first/*.deb "$work/user/packages"
rm -rf "$root"
root=$work/user
clone root

# What apt and dpkg themselves keep changes with every package; logs and caches are no files of ours.
files='find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/lib/apt -o \
    -path /var/lib/dpkg -o -path /var/cache -o -path /var/log -o -path /home -o -path /packages \) -prune \
    -o -print | sort'
step "update" 'apt-get -qq update'
needed=$(sed -n 's/^Depends: //p' pkgconfig/debian/tests/control | tr , '\n' |
    sed 's/ //g' | sort -u | grep -v '^libballoon')
step "what the tests need" "$apt $(echo $needed)"
step "what is there" "$files >/home/before"
step "install" "$apt /packages/*.deb"
for test in $(sed -n 's/^Tests: //p' pkgconfig/debian/tests/control); do
    step "test $test" "pkgconfig/debian/tests/$test"
    tail -n 3 "$work/log"
done
step "remove" "apt-get purge -y -qq 'libballoon*' && apt-get autoremove --purge -y -qq"
step "nothing is left" "$files >/home/after; ! comm -13 /home/before /home/after | grep ."
echo "Packages of $suite: built twice, without a word from lintian, installed, used, removed"
