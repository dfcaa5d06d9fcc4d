#!/bin/sh
# The library in two files compiles without a warning, exports what the headers say and nothing else, works,
# and is not larger than the library of many by more than 2 %: amalgamation.sh <C compiler> <C++ compiler>
. "$(dirname "$0")/common.sh"
long
cc=$1
need "$cc" "$2" nm size
$make amalgamation BUILD="$work/build" >/dev/null 2>&1 || fail "no amalgamation"
cd "$work/build/amalgamation"
flags="-std=c11 -O1 -fPIC -fvisibility=hidden -fno-semantic-interposition"
"$cc" $flags $strict -c balloon.c || fail "warnings"
printf '#include "balloon.h"\n#include "balloon.h"\n' >user.cc
"$2" -std=c++17 -pedantic-errors $strict -fsyntax-only user.cc || fail "balloon.h: not by C++"

nm -g --defined-only balloon.o | awk '{ print $3 }' | sort >exported
sed -n 's/^ *\(balloon_[a-z0-9_]*\);$/\1/p' "$OLDPWD/lib/libballoon.map" | sort | diff - exported ||
    fail "global names are not those of lib/libballoon.map"

cat >user.c <<'END'
#include "balloon.h"
int main(void)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 512};
    balloon_tracker *tracker;
    balloon_region region = {.first = 0, .count = 512, .granule = 1};
    if (balloon_tracker_create(&config, &tracker) != BALLOON_OK ||
        balloon_tracker_add_region(tracker, &region, NULL) != BALLOON_OK)
        return 1;
    balloon_tracker_inflate_range(tracker, (balloon_range){8, 4}, NULL);
    return balloon_tracker_held(tracker) == 4 ? 0 : 2;
}
END
"$cc" -std=c11 $strict user.c balloon.o -o user
./user || fail "it does not work"

cd "$OLDPWD"
mkdir "$work/many"
find lib -name '*.c' | xargs -P2 -I{} sh -c '"$0" -D_GNU_SOURCE -Iinclude '"$flags"' -c "$1" -o "$2/$(echo "$1" | tr / _).o"' \
    "$cc" {} "$work/many"
many=$(size "$work/many"/*.o | awk '{ sum += $1 } END { print sum }')
one=$(size "$work/build/amalgamation/balloon.o" | awk 'END { print $1 }')
[ "$many" -gt 100000 ] && [ $((one * 100)) -le $((many * 102)) ] ||
    fail "in one file it has $one bytes of code, in many $many"
echo "in one file $one bytes of code, in many $many"
