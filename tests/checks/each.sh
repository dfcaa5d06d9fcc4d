#!/bin/sh
# Run several of these scripts, one after the other, and count at the end how they went:
#   each.sh '<script> <argument>'...
cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
passed=0 failed=0 skipped=0
for command; do
    { "tests/checks/"$command 2>&1; echo $? >"$work/status"; } | tee "$work/output"
    last=$(tail -n 1 "$work/output")
    case $(cat "$work/status") in
    0) passed=$((passed + 1)) how=passed ;;
    77) skipped=$((skipped + 1)) how=skipped ;;
    *) failed=$((failed + 1)) how=FAILED ;;
    esac
    echo "  $command, $how: $last" >>"$work/summary"
done
cat "$work/summary"
echo "Checks: $((passed + failed)) | Passing: $passed | Failing: $failed | Skipped: $skipped"
[ "$failed" -eq 0 ]
