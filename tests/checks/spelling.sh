#!/bin/sh
# Words are spelled as others spell them: spelling.sh codespell, for common mistakes in all text there
# is; spelling.sh hunspell, for every word of the manual and the README that no dictionary knows. Names
# of things are in words.txt.
. "$(dirname "$0")/common.sh"
words=tests/checks/words.txt

case $1 in
codespell)
    need codespell
    # Left alone: words cut short, in tests of what is cut short; a register, a command of man, packages of Rust.
    find README.md docs include lib tests bench pkgconfig findings -type f \
        ! -path 'tests/fuzz/corpus/*' ! -path '*/__pycache__/*' ! -name words.txt |
        xargs grep -lI '' | sort >"$work/files"
    xargs codespell -q 3 -L toke,te,inted,nd,bu,crate <"$work/files" >"$work/out" || true
    ;;
hunspell)
    need hunspell
    echo | hunspell -d en_US -l >/dev/null 2>&1 || skip "hunspell has no English dictionary"
    # The prose: without code, links, names with underscores or digits, and abbreviations.
    prose='
        FNR == 1 { code = 0; comment = FILENAME !~ /\.h$/ }
        FILENAME ~ /\.h$/ && /\/\*\*/ { comment = 1 }
        /^```/ { code = !code; next }
        code || !comment || /^    [^ ]/ && FILENAME ~ /\.md$/ || /^ \*     / { next }
        {
            line = $0
            if (FILENAME ~ /\.h$/) {
                if (/\*\//) comment = 0
                sub(/.*\/\*\*</, "", line); sub(/\*\/.*/, "", line)
            }
            gsub(/`[^`]*`/, " ", line)
            gsub(/\{#[a-z_]*\}|\]\([^)]*\)|[@\\][a-z]+(\[[a-z,]*\])?|https?:[^ ]*/, " ", line)
            gsub(/[A-Za-z0-9_]*[0-9_][A-Za-z0-9_]*/, " ", line)
            gsub(/[a-z.\/-]*[\/.][a-z.\/-]+/, " ", line)
            gsub(/[A-Za-z]*[A-Z][A-Za-z]*[A-Z][A-Za-z]*(\x27s|s)?/, " ", line)
            print line
        }'
    awk "$prose" README.md docs/*.md docs/*/*.md include/balloon/*.h | hunspell -d en_US -l |
        sed "s/'s\$//" | sort -u >"$work/unknown"
    sort -u "$words" >"$work/words"
    comm -23 "$work/unknown" "$work/words" >"$work/out"
    [ -s "$work/unknown" ] || fail "hunspell knows every word, so it has read none"
    ;;
esac
[ ! -s "$work/out" ] || fail "misspelled, or a name for $words: $(cat "$work/out")"
