#!/bin/sh
# Run the test program and say at the end how it went: run.sh <program> [<pattern>]
#
# The pattern is Criterion's, on suite/test; a suite alone means all its tests. The output ends with
# the skipped tests and Criterion's own closing counts. Fails when a test failed, when no test ran,
# and when a sanitizer found something: Criterion itself passes a test that only leaks.
set -u
program=$1
pattern=${2:-}
case $pattern in
'' | */*) ;;
*) pattern="$pattern/*" ;;
esac

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export ASAN_OPTIONS="log_path=$work/sanitizer:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="log_path=$work/sanitizer:print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"

# Leaks show in the logs; an exit status could not tell whose they are.
export LSAN_OPTIONS="exitcode=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}"

{
    sh -c 'echo $$ >"$0" && exec "$@"' "$work/pid" \
        "$program" --tap="$work/tap" ${pattern:+--filter "$pattern"} 2>&1
    echo $? >"$work/status"
} | tee "$work/output" | grep -v 'Synthesis:'
status=$(cat "$work/status")

# Criterion's own process, in which no test runs, loses a few bytes now and then.
own=$work/sanitizer.$(cat "$work/pid")
[ ! -e "$own" ] || ! grep -q 'LeakSanitizer' "$own" || rm "$own"

for log in "$work"/sanitizer*; do
    [ -e "$log" ] || continue
    cat "$log"
    echo "FAILED: a sanitizer reported the above"
    status=1
done

# What the pattern leaves out Criterion reports as skipped, too.
[ -z "$pattern" ] || sed -i '/# SKIP test was skipped$/d' "$work/tap"
skipped=$(grep -c '# SKIP' "$work/tap")
if [ "$skipped" -gt 0 ]; then
    echo "Skipped tests: $skipped"
    sed -n 's/^ok - \(.*[^ ]\) *# SKIP *\(.*\)/  \1: \2/p' "$work/tap"
fi

counts=$(grep 'Synthesis:' "$work/output")
case $counts in
'')
    echo "FAILED: the test program did not come to its end"
    status=1
    ;;
*'Tested: 0 '*)
    echo "FAILED: no test ran${pattern:+ for the pattern $pattern}"
    status=1
    ;;
esac
[ -z "$counts" ] || printf '%s\n' "$counts"
exit "$status"
