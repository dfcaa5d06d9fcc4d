#!/bin/sh
# The manual builds without a warning; in it each link leads somewhere, nothing comes from elsewhere,
# what is searched is found, and functions name the examples that use them.
. "$(dirname "$0")/common.sh"
need doxygen
$make docs BUILD="$work/build"
html=$work/build/docs/html
[ -s "$html/index.html" ] || fail "no manual came out"

# "<page>" and "<page>#<name>" for each place there is; "<page or place> <where it is named>" for each
# link that stays in the manual.
top=$PWD
cd "$html"
awk -v places="$work/places" '
    FNR == 1 { print FILENAME >places }
    {
        line = $0
        while (match(line, /(id|name|href|src|data)="[^"]*"/)) {
            word = substr(line, RSTART, RLENGTH)
            line = substr(line, RSTART + RLENGTH)
            kind = word; sub(/=.*/, "", kind)
            sub(/^[a-z]*="/, "", word); sub(/"$/, "", word)
            gsub(/&amp;/, "\\&", word)
            if (kind == "id" || kind == "name") { print FILENAME "#" word >places; continue }
            if (word == "" || word ~ /#(index_.*)?$/ || word ~ /^(https?|mailto|javascript|data):/ || word ~ /\$/)
                continue
            if (word ~ /^#/) word = FILENAME word
            print word, FILENAME
        }
    }' ./*.html | sed 's|^\./||' | sort -u >"$work/links"
sed -i 's|^\./||' "$work/places"
find . -type f ! -name '*.html' | sed 's|^\./||' >>"$work/places"
sort -u "$work/places" -o "$work/places"
[ "$(wc -l <"$work/links")" -gt 1000 ] || fail "the manual has hardly a link"
join -v1 "$work/links" "$work/places" >"$work/dead"
[ ! -s "$work/dead" ] || fail "links to nothing: $(cut -d" " -f1 "$work/dead" | sort -u)"

elsewhere=$(grep -lE '<(script|link|img|object|iframe)[^>]*(src|href|data)="(https?:)?//' ./*.html || true)
[ -z "$elsewhere" ] || fail "not all of it comes with the manual: $elsewhere"

# Nor does it tell where it was made.
here=$(cd "$top" && pwd -P)
told=$(grep -rlF -e "$here" -e "$(echo "$here" | tr '/-' '__')" -e "$work" . || true)
[ -z "$told" ] || fail "paths of this machine are in $told"

# found <what>: what a search knows.
found() {
    grep -qF "$1" search/*.js || fail "a search does not find $1"
}
found balloon_device_poll
found BALLOON_ACTION_DISCARD
found 'Embedding a device'

# A header whose groups do not nest leaves what follows out of its topic.
lost=$(grep -l 'class="memtitle"' ./*_8h.html || true)
[ -z "$lost" ] || fail "outside of all topics: $(sed -n 's/.*"memtitle">.*&nbsp;//p' $lost)"

# Topics begin with what they are about.
for page in group__*.html; do
    awk '/id="details"/ { said = 1 } /class="memberdecls"/ { exit !said }' "$page" || fail "$page begins with a list"
done

# Each example has a page.
for source in $(cd "$top/docs/examples" && ls ./*.[ch] host/*.[ch]); do
    grep -qF ">${source#./}<" examples.html || fail "no page shows docs/examples/${source#./}"
done

# used <function> <example>: the description of the one leads to the other, and back.
used() {
    page=$(printf '%s' "$2" | sed 's/_/__/g; s/\./_8/')-example.html
    page=$(printf '%s' "$page" | sed 's/__/_/g')
    sed -n "/class=\"memtitle\".*$1()/,/class=\"memtitle\"/p" group__*.html | grep -q "href=\"$page" ||
        fail "$1() does not name $2"
    grep -q "group__balloon__[a-z_]*\.html#[a-z0-9]*\">$1</a>" "$page" || fail "$2 does not lead to $1()"
}
used balloon_device_poll device_loop.c
used balloon_driver_give guest_driver.c
used balloon_pool_decide custom_policy.c
used balloon_sim_run policy_test.c
