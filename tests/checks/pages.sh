#!/bin/sh
# What pages name is there: files that they link to or name by their path, and targets of make.
. "$(dirname "$0")/common.sh"
pages=$(find README.md docs -name '*.md')

for page in $pages; do
    grep -oE '\]\([^)]+\)' "$page" | sed 's/^](//; s/)$//' | grep -v '^[a-z]*://' | while read -r link; do
        file=${link%%#*}
        [ -z "$file" ] || [ -e "$(dirname "$page")/$file" ] || echo "$page: $link is not there"
    done
    grep -oE '`(docs|lib|tests|bench|include|findings|pkgconfig)/[A-Za-z0-9_./*-]*' "$page" | tr -d '`' |
        while read -r path; do
            set -- $path
            [ -e "$1" ] || [ -e "$1.c" ] || [ -e "$1.h" ] || echo "$page: $path is not there"
        done
    grep -oE '(`|^    )make ([A-Za-z]+=[^ `]+ )*[a-z][a-z-]*' "$page" | sed 's/.* //' | while read -r target; do
        grep -qE "^([a-z-]+ )*$target( [a-z-]+)*:" Makefile pkgconfig/*.mk ||
            echo "$page: there is no make $target"
    done
done >"$work/out"
[ ! -s "$work/out" ] || fail "$(cat "$work/out")"
