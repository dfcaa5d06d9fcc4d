#!/bin/sh
# The tutorials do what they say, each from an empty folder with an installed library: tutorials.sh
# [<name>...]. What is saved is saved, commands run, what they print is what is shown, and all code
# compiles without a warning. The library is installed as README.md there says.
#
# In docs/tutorials/*.md a block after a line that ends with a file's name, as in "Save this as
# `vmm.c`:", is that file; blocks of sh are commands; blocks of text after them are what these print.
. "$(dirname "$0")/common.sh"
need cc pkg-config

# The library is installed as docs/tutorials/README.md says, for a user of our own.
HOME=$work/home
BUILD=$work/build
CFLAGS=-O1
export HOME BUILD CFLAGS
awk '/^```/ { on = $0 == "```sh"; next } on' docs/tutorials/README.md >"$work/install.sh"
. "$work/install.sh" >"$work/out" 2>&1
case $PKG_CONFIG_PATH in
"$HOME"/*) ;;
*) fail "docs/tutorials/README.md does not install what the tutorials use" ;;
esac
unset BUILD CFLAGS

[ $# -gt 0 ] || set -- $(ls docs/tutorials | sed -n '/^README/d; s/\.md$//p')

for name; do
    blocks=$work/blocks/$name
    mkdir -p "$blocks" "$work/$name"
    # The tutorial as a script. Folders that commands change to stay changed to.
    awk -v blocks="$blocks" -v q="'" '
        function quoted(s) { return q s q }
        /^```/ && !open {
            open = 1
            kind = substr($0, 4)
            n++
            file = ""
            if (match(before, /`[A-Za-z0-9_.-]+`:$/))
                file = substr(before, RSTART + 1, RLENGTH - 3)
            if (file != "") { to = blocks "/" n; print "cp " quoted(to) " " file; ran = "" }
            else if (kind == "sh") { to = ""; print "{" }
            else if (kind == "text" && ran != "") {
                to = ran ".shown"
                print "cmp -s " quoted(to) " " quoted(ran) " || { echo " quoted("line " NR ": it prints:") "; cat " quoted(ran) "; exit 1; }"
                ran = ""
            } else { print "echo " quoted("line " NR ": what is this block?") "; exit 1"; to = "/dev/null" }
            if (to != "") printf "" >to
            next
        }
        /^```/ {
            open = 0
            if (kind == "sh" && file == "") { ran = blocks "/" n; print "} >" quoted(ran) }
            if (to != "") close(to)
            before = ""
            next
        }
        open && to != "" { print >to; next }
        open { print; next }
        /^    / && !list { print "echo " quoted("line " NR ": code that nobody runs") "; exit 1" }
        /^([-*] |[0-9]+\. )/ { list = 1 }
        /^[^ ]/ && !/^([-*] |[0-9]+\. )/ { list = 0 }
        NF { before = $0 }' "docs/tutorials/$name.md" >"$work/$name.sh"
    grep -q '^{$' "$work/$name.sh" || fail "$name has no commands"
    start=$(date +%s)
    (cd "$work/$name" && sh -eu "$work/$name.sh") >"$work/out" 2>&1 || fail "$name: $(cat "$work/out")"
    echo "$name: $(($(date +%s) - start)) s"
    for source in $(find "$work/$name" -name '*.c'); do
        grep -q criterion "$source" && continue
        cc -std=c11 $strict $(pkg-config --cflags libballoon) -c "$source" -o "$work/strict.o"
    done
done

# What the title promises.
lines=$(grep -c . "$work"/embed/*/balloon.c 2>/dev/null || echo 0)
[ "$lines" -le 40 ] || fail "the embedding has $lines lines"
