#!/bin/sh
# abi.sh compare <library>: does what was built against the last release run with this library? Fails
# when it may not, and the major version is the same. abi.sh update <library>: write down what the
# next comparison is made with, beside this script:
#   <machine>/library.xml    functions, variables and what they use, by abidw
#   <machine>/types.xml      public types that no function names, such as knobs and flags
#   <machine>/constants.txt  macros that are numbers, the version among them
# docs/abi.md has the rules. What abidiff calls a change is one of three things here: new functions
# and enumerators, which are fine; fields at the end of a struct that begins with its size, which are
# fine, too; anything else, which is not.
set -eu
LC_ALL=C
export LC_ALL
do=$1
library=$2
cd "$(dirname "$0")/../.."
cc=${CC:-cc}
old=pkgconfig/abi/$($cc -dumpmachine | sed 's/-.*//')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "$*"
    exit 1
}

skip() {
    echo "Skipped: $*"
    exit 77
}

# types <name>...: a library of one function for each type, so that the type is looked at.
types() {
    {
        echo '#include <balloon/balloon.h>'
        for name; do
            echo "void abi_of_$name($name *x); void abi_of_$name($name *x) { (void)x; }"
        done
    } >"$work/types.c"
    $cc -std=c11 -g -O0 -fPIC -shared -fdebug-prefix-map="$work/=" -Iinclude "$work/types.c" -o "$work/types.so" ||
        fail "a public type is gone: see above"
}

# Macros that are numbers, with their values.
constants() {
    echo '#include <balloon/balloon.h>' | $cc -std=c11 -dM -E -Iinclude - |
        sed -n 's/^#define \(BALLOON_[A-Z0-9_]*\) \([^"].*\)/\1 \2/p' |
        grep -v '^BALLOON_\(API\|CHECKED\|BEGIN_DECLS\|END_DECLS\) ' | cut -d' ' -f1 | sort >"$work/names"
    {
        printf '#include <stdio.h>\n#include <balloon/balloon.h>\nint main(void)\n{\n'
        sed 's/.*/    printf("%s %llu\\n", "&", (unsigned long long)(&));/' "$work/names"
        printf '    return 0;\n}\n'
    } >"$work/constants.c"
    $cc -std=c11 -Iinclude "$work/constants.c" -o "$work/constants" || fail "a macro is no number: see above"
    "$work/constants"
}

# describe <library> <headers>: without paths, places and what private structs hold.
describe() {
    abidw --headers-dir include/balloon --drop-private-types --no-corpus-path --no-show-locs \
        --no-comp-dir-path --no-elf-needed --no-parameter-names --no-write-default-sizes \
        --type-id-style hash --out-file "$work/described" "$1" || fail "abidw does not read $1"
    grep -q '<class-decl' "$work/described" || fail "$1 has no debugging information: build with -g"
    sed 's/^ *//' "$work/described"
}

# Structs that begin with their size. Not views, which are arrays of structs without; nor policies,
# which programs may have copies of, as large as they were.
sized() {
    awk '/^typedef struct balloon_/ { name = $3 } /^ *size_t size;/ { print name }' \
        include/balloon/*.h | grep -v '^balloon_\(view\|policy\)$'
}

# judge <description> <library>: what abidiff finds, less what is fine.
judge() {
    status=0
    abidiff --no-added-syms --no-show-locs --fail-no-debug-info "$1" "$2" >"$work/found" 2>&1 ||
        status=$?
    [ $((status & 3)) -eq 0 ] || fail "abidiff: $(cat "$work/found")"
    [ "$status" -ne 0 ] || return 0
    sized >"$work/sized"
    awk '
        NR == FNR { sized[$1] = 1; next }
        /^$/ || /^(Functions|Variables) changes summary:/ || /^[0-9]+ functions? with .*changes?:$/ ||
            /^ *\[C\] .function .* has some (indirect )?sub-type changes:$/ ||
            /^ *(parameter [0-9]+|return type|in (pointed to|unqualified underlying) type).*:$/ { next }
        match($0, /struct balloon_[a-z0-9_]*. changed:$/) {
            name = substr($0, RSTART + 7, RLENGTH - 17)
            before = 0
            if (sized[name])
                next
        }
        sized[name] && /type size changed from [0-9]+ to [0-9]+ \(in bits\)$/ {
            before = $(NF - 4)
            next
        }
        sized[name] && before && /[0-9]+ data member insertions?:$/ { next }
        sized[name] && before && /, at offset [0-9]+ \(in bits\)$/ && $(NF - 2) >= before {
            print "  " name " has grown" >"/dev/stderr"
            next
        }
        { print }' "$work/sized" "$work/found" >"$work/bad"
    [ ! -s "$work/bad" ] || {
        cat "$work/found"
        broken=1
    }
}

case $do in
update)
    command -v abidw >/dev/null || fail "abidw is missing (package abigail-tools)"
    mkdir -p "$old"
    describe "$library" >"$work/library.xml"
    unnamed=
    for name in $(sed -n 's/^} \(balloon_[a-z0-9_]*\);.*/\1/p' include/balloon/*.h | sort); do
        grep -q " name='$name'" "$work/library.xml" || unnamed="$unnamed $name"
    done
    types $unnamed
    describe "$work/types.so" >"$work/types.xml"
    constants >"$work/constants.txt"
    mv "$work/library.xml" "$work/types.xml" "$work/constants.txt" "$old"
    ;;
compare)
    [ -d "$old" ] || skip "the ABI of the last release is not known for $(basename "$old")"
    command -v abidiff >/dev/null || skip "abidiff is missing (package abigail-tools)"
    constants >"$work/constants.txt"
    version() {
        sed -n "s/^BALLOON_VERSION_$1 //p" "$2"
    }
    major=$(version MAJOR "$work/constants.txt")
    [ "$major" = "$(version MAJOR "$old/constants.txt")" ] || {
        echo "Major version $major is new: everything may change"
        exit 0
    }
    broken=0
    judge "$old/library.xml" "$library"
    types $(sed -n "s/^<elf-symbol name='abi_of_\([^']*\)'.*/\1/p" "$old/types.xml")
    judge "$old/types.xml" "$work/types.so"

    # Those that count what there is may grow, and the version has rules of its own.
    awk 'NR == FNR { now[$1] = $2; next }
        $1 ~ /^BALLOON_VERSION_/ || now[$1] "" == $2 "" { next } # as text: doubles are too short
        $1 in now && $1 ~ /_(ALL|COUNT|DEFAULT|EXPERIMENTAL|TAGS)$|^BALLOON_SCENARIOS$/ && now[$1] + 0 > $2 + 0 { next }
        { print "  " $1 " was " $2 " and is " ($1 in now ? now[$1] : "gone"); bad = 1 }
        END { exit bad }' "$work/constants.txt" "$old/constants.txt" || broken=1

    # What is new has the version of a release to come, or a program that uses it would start with the
    # last release and fail in the middle. Until the release is made it is that of this one.
    if [ "$(version '[A-Z]*' "$work/constants.txt")" != "$(version '[A-Z]*' "$old/constants.txt")" ]; then
        sed -n "s/^<elf-symbol name='\([^']*\)'\( size='[0-9]*'\)* version='\([^']*\)'.*/\1 \3/p" "$old/library.xml" |
            sort >"$work/before"
        nm -D --defined-only "$library" | sed -n 's/.* \(balloon_[a-z0-9_]*\)@@*\(BALLOON_.*\)/\1 \2/p' |
            sort | comm -13 "$work/before" - |
            awk 'NR == FNR { released[$2] = 1; next }
                released[$2] { print "  " $1 " is new, but has the version " $2; bad = 1 }
                END { exit bad }' "$work/before" - || broken=1
    fi
    [ "$broken" -eq 0 ] || fail "Not compatible with the last release; a new major version is needed, or a way to keep both: docs/abi.md"
    echo "Compatible with the last release"
    ;;
*) fail "abi.sh: compare or update?" ;;
esac
