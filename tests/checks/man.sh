#!/bin/sh
# The manual pages are well-formed, and have each name, parameter and result of the headers.
. "$(dirname "$0")/common.sh"
need mandoc
$make man BUILD="$work/build" RELEASED=2000-01-01 >/dev/null 2>&1 || fail "no pages"
pages=$work/build/man
mandoc -T lint -W warning "$pages"/man?/* || fail "these pages are not as they should be"
mandoc -T utf8 "$pages"/man[37]/* | sed 's/.\x08//g' >"$work/text"
! grep -nE '@[a-z]+|\*\*[A-Z]|BALLOON_API|/\*' "$work/text" || fail "this should not be in a page"

sed -n 's/^ *\(balloon_[a-z0-9_]*\);$/\1/p' lib/libballoon.map >"$work/names"
[ -s "$work/names" ] || fail "found no names"
while read -r name; do
    grep -qxF ".SS $name" "$pages"/man3/* || fail "no page has $name"
done <"$work/names"
# count <command of Doxygen> <line of a page>
count() {
    there=$(cat include/balloon/*.h | grep -o "$1" | wc -l)
    here=$(cat "$pages"/man3/* | grep -c "$2") || true
    [ "$there" -gt 0 ] && [ "$here" = "$there" ] || fail "the headers have $there times $1, the pages $here times $2"
}
count '@return ' '^returns$'
count '@param' '^\\fI[a-z0-9_]*\\fP\( ([a-z,]*)\)*$'
count '@\(defgroup\|name\) ' '^\.SH "'
