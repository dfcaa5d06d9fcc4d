#!/bin/sh
# Each public header can be included alone and before all others, by C11 and by C++17.
#   headers.sh <C compiler> <C++ compiler>
. "$(dirname "$0")/common.sh"
cc=$1
cxx=$2
need "$cc" "$cxx"

seen=0
for header in include/balloon/*.h; do
    name=${header#include/}
    # Twice, so that a missing include guard shows.
    printf '#include <%s>\n#include <%s>\nextern int balloon_test_unit;\n' "$name" "$name" \
        >"$work/one.c"
    cp "$work/one.c" "$work/one.cc"
    "$cc" -std=c11 -pedantic-errors $strict -Iinclude -fsyntax-only "$work/one.c" ||
        fail "$name: not by C11"
    "$cxx" -std=c++17 -pedantic-errors $strict -Iinclude -fsyntax-only "$work/one.cc" ||
        fail "$name: not by C++17"
    seen=$((seen + 1))
done
[ "$seen" -gt 1 ] || fail "found no headers"

# What is for C++ asks for neither exceptions nor RTTI.
for header in include/balloon/*.hpp; do
    name=${header#include/}
    printf '#include <%s>\n#include <%s>\nextern int balloon_test_unit;\n' "$name" "$name" >"$work/one.cc"
    for flags in -std=c++17 -std=c++20 '-std=c++17 -fno-exceptions -fno-rtti'; do
        "$cxx" $flags -pedantic-errors $strict -Weffc++ -Iinclude -fsyntax-only "$work/one.cc" ||
            fail "$name: not by $flags"
    done
done

# The umbrella has everything.
for header in include/balloon/*.h; do
    echo '#include <balloon/balloon.h>' | "$cc" -std=c11 -Iinclude -M -xc - |
        grep -q "/${header##*/}" || fail "balloon.h leaves out ${header##*/}"
done
