# Read by the scripts about other languages. They use the library of this run, and are run by
# check-all once with an ordinary one and once with one under the address sanitizer, where what calls
# it has to be under it, too: $sanitize has the flags for that.
. "$(dirname "$0")/common.sh"
sanitize=
builder=gcc builder_cxx=g++
if nm "$build/lib/libballoon.a" | grep -q ' U __asan_'; then
    sanitize=-fsanitize=address,undefined
    ! readelf -p .comment "$build/lib/libballoon.so" | grep -q clang || {
        builder=clang builder_cxx=clang++
    }
fi

# reference <what>...: what C prints, into $work/<what>.c.
reference() {
    "$builder" -std=c11 $strict $sanitize -Iinclude tests/bindings/reference.c \
        "$build/lib/libballoon.a" -o "$work/reference"
    for what; do
        "$work/reference" "$what" >"$work/$what.c" || fail "reference $what fails"
        [ "$(wc -l <"$work/$what.c")" -gt 150 ] || fail "reference $what says little"
    done
}

# same <what> <command>...: it prints what C does.
same() {
    what=$1
    shift
    "$@" >"$work/$what.out" 2>"$work/$what.err" || fail "$* fails: $(tail -n 20 "$work/$what.err")"
    diff "$work/$what.c" "$work/$what.out" >"$work/$what.diff" ||
        fail "$what is not as in C: $(head -n 20 "$work/$what.diff")"
}
