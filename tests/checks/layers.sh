#!/bin/sh
# The parts of lib/ know only those below them, by what they include and by what they call.
. "$(dirname "$0")/common.sh"
need nm tsort

# part: public headers it may include: parts it may call: system headers it may include
pure='string stddef stdint stdbool stdalign limits'
cat >"$work/rules" <<END
core:version types range stats tracker:core:$pure immintrin
codec:types range stats virtio hyperv vmware xen_codec:core codec:$pure
device:types range stats tracker device:core device:$pure
driver:types range stats tracker driver:core driver:$pure
virtio:types range stats tracker device driver virtio:core device driver codec virtio:$pure
hyperv:types range stats tracker device driver hyperv:core device driver codec hyperv:$pure
vmware:types range stats tracker device driver vmware:core device driver codec vmware:$pure
xen:types range stats tracker device driver xen xen_codec:core device driver codec xen:$pure
policy:types range stats policy:core policy:$pure
pool:types range stats tracker device policy pool host:core device policy pool:$pure
sim:types range stats policy pool sim optimum device driver tracker virtio:core device driver virtio codec policy pool sim:$pure
os:types range os:core os:*
alloc:types range stats tracker device driver policy pool sim os alloc:core device driver pool sim os alloc:$pure stdlib
END
# The same for the public headers themselves.
cat >"$work/header-rules" <<END
export:
version:export
types:export
range:export types
stats:export types
tracker:export types range
virtio:export types range stats device driver
device:export types range stats tracker
driver:export types range stats tracker
policy:export types range stats
pool:export types range stats policy
host:export types device pool
optimum:export types policy
sim:export types range stats device driver policy pool
os:export types range
hyperv:export types range stats device driver
vmware:export types range stats device driver
xen:export types range stats device driver xen_codec
xen_codec:export types
alloc:export types range stats tracker device driver policy pool sim os
balloon.hpp:balloon cstddef cstdint memory new optional utility vector
balloon:export version types range stats tracker device driver virtio hyperv vmware xen policy pool host optimum sim os alloc
END

failed=0
complain() {
    echo "$*"
    failed=1
}

# has <words> <word>
has() {
    case " $1 " in
    *" $2 "* | *' * '*) return 0 ;;
    esac
    return 1
}

# part_of <source>: its folder; what knows bytes only is a part of its own in each transport's.
part_of() {
    case $1 in
    */*_codec*) echo codec ;;
    *) echo "$1" | sed -E 's,^lib/([a-z]+)(/|\.).*,\1,' ;;
    esac
}

includes() {
    sed -n 's/^ *# *include *\([<"][^>"]*\).*/\1/p' "$1"
}

set -f
for header in $(find include/balloon -name '*.h' -o -name '*.hpp'); do
    name=$(basename "$header" .h)
    rule=$(grep "^$name:" "$work/header-rules") || complain "$header: no rule for it in $0"
    for include in $(includes "$header"); do
        case $include in
        '<balloon/'*)
            include=${include#<balloon/}
            has "${rule#*:}" "${include%.h}" || complain "$header: includes $include"
            ;;
        '<stdbool.h' | '<stddef.h' | '<stdint.h') ;;
        *) has "${rule#*:}" "${include#<}" || complain "$header: includes $include" ;;
        esac
    done
done

for source in $(find lib -name '*.[ch]'); do
    part=$(part_of "$source")
    IFS=: read -r _ headers parts system <<END
$(grep "^$part:" "$work/rules" || complain "$source: no rule for it in $0" >&2)
END
    for include in $(includes "$source"); do
        case $include in
        '<balloon/'*)
            include=${include#<balloon/}
            has "$headers" "${include%.h}" || complain "$source: includes balloon/$include"
            ;;
        '"'*)
            # Of its own directory, or of a part that it may call.
            path=${include#?}
            [ -e "$(dirname "$source")/$path" ] || complain "$source: there is no $path"
            home=${path#../}
            case $path in
            ../*/*) has "$parts" "${home%%/*}" ;;
            */*) [ "$(dirname "$source")" = lib ] && has "$parts" "${path%%/*}" ;;
            esac || complain "$source: includes $path, which it may not know"
            ;;
        *)
            include=${include#<}
            has "$system" "${include%.h}" || complain "$source: includes $include"
            ;;
        esac
    done
done

# Calls: which part defines a name, and who uses it.
for object in $(find "$build/obj/lib" -name '*.o'); do
    source=lib/${object#"$build"/obj/lib/}
    [ -e "${source%.o}.c" ] || continue
    part=$(part_of "$source")
    nm "$object" | awk -v part="$part" -v file="${source%.o}.c" '
        NF == 2 && $1 == "U" { print "use", $2, part, file }
        NF == 3 && $2 ~ /[A-TV-Z]/ { print $2 == "T" ? "def" : "data", $3, part, file }'
done >"$work/all"
grep -v '^data ' "$work/all" >"$work/functions"
sed 's/^data /def /' "$work/all" >"$work/names"
grep -q '^def .* core ' "$work/names" || fail "found no objects below $build"

awk '$1 == "def" { home[$2] = $3 } $1 == "use" { uses[NR] = $0 }
    END { for (i in uses) { split(uses[i], f); if (f[2] in home) print f[3], home[f[2]], f[2], f[4] } }' \
    "$work/names" | sort >"$work/calls"
while read -r part other name file; do
    has "$(grep "^$part:" "$work/rules" | cut -d: -f3)" "$other" ||
        complain "$file: calls $name of lib/$other"
done <"$work/calls"

# No two files call each other, nor in a longer circle: what one needs of the other is in the wrong
# place. Data do not count: a table names the functions that it is a table of.
awk '$1 == "def" { home[$2] = $4 } $1 == "use" { uses[NR] = $0 }
    END { for (i in uses) { split(uses[i], f); if (f[2] in home) print f[4], home[f[2]] } }' \
    "$work/functions" | sort -u | tsort 2>"$work/circles" >"$work/order" || true
[ -s "$work/order" ] || fail "found no calls"
[ ! -s "$work/circles" ] || complain "these call each other: $(grep -o 'lib/.*' "$work/circles" | tr '\n' ' ')"

# Memory is taken in one place only.
bad=$(awk '$1 == "use" && $2 ~ /^(malloc|calloc|realloc|aligned_alloc|posix_memalign|free)$/ &&
    $3 != "alloc" { print $4 ": calls " $2 }' "$work/names")
[ -z "$bad" ] || complain "$bad"
exit "$failed"
