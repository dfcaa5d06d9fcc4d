#!/bin/sh
# C++17 by balloon.hpp does what C does, without exceptions, too: bindings_cpp.sh <C++ compiler>
. "$(dirname "$0")/bindings_common.sh"
cxx=$1
need "$cxx" "$builder"
[ -z "$sanitize" ] || [ "$cxx" = "$builder_cxx" ] ||
    skip "the library has the sanitizer of another compiler"

reference device tracker pool sim
for flags in '' '-fno-exceptions -fno-rtti'; do
    for program in docs/bindings/cpp/vmm_loop tests/bindings/same; do
        "$cxx" -std=c++17 $strict -Weffc++ $flags $sanitize -Iinclude "$program.cc" \
            "$build/lib/libballoon.a" -o "$work/${program##*/}" || fail "$program.cc: $flags"
    done
    same device "$work/vmm_loop"
    for what in tracker pool sim; do
        same $what "$work/same" $what
    done
    "$work/same" owners || fail "owners"
done
