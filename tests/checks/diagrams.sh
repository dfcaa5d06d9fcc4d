#!/bin/sh
# Drawings are what their texts say, each is shown somewhere, and what is wrong in a text is told.
. "$(dirname "$0")/common.sh"
draw() {
    awk -f docs/diagrams/sequence.awk "$1"
}
for text in docs/diagrams/*.txt; do
    svg=${text%.txt}.svg
    draw "$text" | cmp -s - "$svg" || fail "$svg is not what $text says: make diagrams"
    grep -q "diagrams/$(basename "$svg"))" docs/*.md docs/*/*.md || fail "no page shows $svg"
done
for svg in docs/diagrams/*.svg; do
    [ -f "${svg%.svg}.txt" ] || fail "$svg comes from no text"
done
printf 'title t\nlane a A\nlane b B\na > c: words\n' >"$work/wrong.txt"
! draw "$work/wrong.txt" >/dev/null 2>"$work/said" || fail "a lane that is not there is drawn"
grep -q 'wrong.txt:4: there is no c' "$work/said" || fail "it says: $(cat "$work/said")"
