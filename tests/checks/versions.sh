#!/bin/sh
# The tracker's code for batches has several versions. The other tests run the one for this machine;
# here are those about the tracker and what is above it with each of the others.
. "$(dirname "$0")/common.sh"
# A Criterion program started by a Criterion test would take itself for its helper.
unset BXFI_MAP

for version in portable; do
    export BALLOON_BATCH=$version
    for suite in 'tracker*' 'device*' discard_safety racing_guest hostile_buffers promises; do
        "$build/bin/tests" --filter "$suite/*" >"$work/output" 2>&1 || {
            cat "$work/output"
            fail "version $version, tests $suite"
        }
        ! grep -q 'Tested: 0 ' "$work/output" || fail "found no tests $suite"
    done
    for target in tracker device; do
        "$build/bin/fuzz/fuzz_$target" tests/fuzz/corpus/$target/* >"$work/output" 2>&1 ||
            fail "version $version, corpus of $target"
    done
done
! BALLOON_BATCH=none "$build/bin/fuzz/fuzz_tracker" tests/fuzz/corpus/tracker/* 2>/dev/null ||
    fail "a version that is not there is not missed"
