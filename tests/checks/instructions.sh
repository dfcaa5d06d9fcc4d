#!/bin/sh
# How many instructions the hot paths take, by compiler: instructions.sh <compiler>
# Says what each case took, in the form of instructions.txt.
. "$(dirname "$0")/common.sh"
need "$1" valgrind
# Compilers differ, and so do versions of one.
tolerance=1.5

[ "$("$1" -dumpmachine | cut -d- -f1)" = x86_64 ] || skip "instructions are counted on x86-64 only"
for source in lib/*.c lib/*/*.c bench/device_path.c tests/checks/instructions.c; do
    echo "$source"
done | xargs -P 2 -I{} sh -c '"$0" -std=c11 -O2 -D_GNU_SOURCE '"$strict"' -Iinclude -c {} \
    -o "$1/$(echo {} | tr / -).o"' "$1" "$work"
"$1" "$work"/*.o -o "$work/instructions"

cd "$work"
valgrind -q --tool=callgrind --callgrind-out-file=calls --collect-atstart=no \
    --toggle-collect=counted --dump-after=counted ./instructions >cases
cd - >/dev/null

# The dumps have the order of the cases.
number=0
while read -r name units; do
    number=$((number + 1))
    echo "$name $units $(sed -n 's/^totals: //p' "$work/calls.$number")"
done <"$work/cases" | awk '{ printf "%-40s %10.2f\n", $1, $3 / $2 }' | tee "$work/counts"

awk -v tolerance="$tolerance" '
NR == FNR { if ($1 !~ /^#/) most[$1] = $2; next }
!($1 in most) { print $1 ": no expected number"; bad = 1; next }
$2 > most[$1] * tolerance { print $1 ": " $2 " instructions, " most[$1] " expected"; bad = 1 }
{ seen[$1] = 1 }
END { for (name in most) if (!(name in seen)) missing = missing " " name
      if (missing) print "not counted, since the emulated machine cannot run it:" missing
      exit bad }' tests/checks/instructions.txt "$work/counts" >"$work/verdict" || {
    cat "$work/verdict"
    fail "paths that take more than $tolerance times what is in tests/checks/instructions.txt"
}
cat "$work/verdict"
echo "$(wc -l <"$work/cases") cases take no more than $tolerance times what they should"
