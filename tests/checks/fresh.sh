#!/bin/sh
# On a Debian just installed, with git, make, gcc, libc6-dev and ca-certificates, the commands of the
# README work, and so do lint, manual and installation: fresh.sh <suite>. Takes HEAD of this tree,
# makes the Debian in a folder of its own, and does all as root, then the README's part as an
# ordinary user with sudo. Ends with the counts of both runs of the tests.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/suite.sh"

make_root git,make,gcc,libc6-dev,ca-certificates

: >"$work/failed"
clone root
in_root root 'apt-get -qq update' || skip "no packages of $suite from the mirror"
try root 'make demo'
try root 'make deps check'
try root 'make lint docs install'

in_root root 'apt-get install -y -qq --no-install-recommends sudo && useradd -m user &&
    echo "user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/user' >"$work/sudo.log" 2>&1 ||
    fail "no sudo: $(cat "$work/sudo.log")"
clone user
in_root root 'chown -R user /home/user'
as_user='runuser -u user -- env HOME=/home/user'
try user "$as_user make demo"
try user "$as_user make deps check"
try user "$as_user sudo make install"

sed 's/^/FAILED: /' "$work/failed"
grep '^\[====\] Synthesis:' "$work/output" | awk -F'[:|]' '
    { tested += $3; passing += $5; failing += $7; crashing += $9 }
    END { printf "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d\n",
          tested, passing, failing, crashing }'
[ ! -s "$work/failed" ]
