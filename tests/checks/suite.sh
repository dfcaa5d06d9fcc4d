# Read by the scripts that want a Debian just installed, after common.sh; sets suite from $1. Skips where
# none can be made: without root, mounts or a mirror.
suite=$1
PATH=$PATH:/usr/sbin:/sbin
need git debootstrap unshare chroot apt-config
[ "$(id -u)" = 0 ] || skip "only root can make a fresh Debian"
git rev-parse -q --verify HEAD >/dev/null 2>&1 || skip "this is not a git tree"
unshare --mount --pid --fork true 2>/dev/null || skip "mounting is not allowed here"

# The mirror and its keyring, as this system's own sources have them. Both forms of sources become
# "<uri> <suite> <components> [<keyring>]" a line; Debian's entry is that for a suite of Debian.
sources() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | awk '
        $1 == "deb" {
            key = ""
            if (sub(/^deb[ \t]+\[/, "")) {
                options = $0; sub(/\].*/, "", options); sub(/^[^]]*\][ \t]*/, "")
                if (match(options, /signed-by=[^ \t]*/))
                    key = substr(options, RSTART + 10, RLENGTH - 10)
            } else
                sub(/^deb[ \t]+/, "")
            print $1, $2, key
        }'
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -r "$file" ] || { grep -v '^#' "$file"; echo; }
    done | awk 'BEGIN { RS = ""; FS = "\n" } {
        types = uri = suites = key = ""; on = 1
        for (i = 1; i <= NF; i++) {
            value = $i; sub(/^[^:]*:[ \t]*/, "", value)
            name = tolower($i); sub(/:.*/, "", name)
            if (name == "types") types = value
            if (name == "uris") { uri = value; sub(/ .*/, "", uri) }
            if (name == "suites") suites = value
            if (name == "signed-by" && value ~ /^\//) key = value
            if (name == "enabled" && tolower(value) == "no") on = 0
        }
        if (on && types ~ /(^| )deb( |$)/) {
            n = split(suites, each, " ")
            for (i = 1; i <= n; i++) print uri, each[i], key
        }
    }'
}
debian=$(sources | awk '$1 ~ /^(https?|file):/ &&
    $2 ~ /^(buster|bullseye|bookworm|trixie|forky|duke|sid|(old)*stable|testing|unstable)$/ {
        print; exit }')
[ -n "$debian" ] || skip "no mirror of Debian among this system's sources"
mirror=${debian%% *}
keyring=${debian##* }
[ -r "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || skip "Debian's keyring is missing (package debian-archive-keyring)"

# Packages are many: not in /tmp, which may be memory. Nothing is mounted but in namespaces that end
# with their processes, so there is nothing to undo.
rm -rf "$work"
work=$(mktemp -d /var/tmp/balloon-fresh-XXXXXX)
root=$work/root
wrapper=
! command -v eatmydata >/dev/null || wrapper=eatmydata

# make_root <packages>: a Debian with these in $root.
make_root() {
    echo "A fresh Debian $suite"
    unshare --mount $wrapper debootstrap --variant=minbase --include="$1" \
        --keyring="$keyring" "$suite" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
        # A registry that is out of reach is no fault of the tree's.
        tail -n 3 "$work/debootstrap.log"
        skip "no packages of $suite from the mirror"
    }
    # The same way to the mirror as here; and what is old there will do.
    apt-config dump | grep '^Acquire::.*Proxy' >"$root/etc/apt/apt.conf.d/90fresh" || true
    echo 'Acquire::Check-Valid-Until "false";' >>"$root/etc/apt/apt.conf.d/90fresh"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fresh"
    echo "127.0.0.1 localhost $(uname -n)" >>"$root/etc/hosts"
}

cat >"$work/enter" <<'END'
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
exec chroot "$1" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME="/home/$2" TERM=dumb LANG=C.UTF-8 MAKEFLAGS="-j$3" sh -euc "$4"
END

# in_root <user> <commands>: run them there, in that user's tree of sources.
in_root() {
    unshare --mount --pid --fork --kill-child sh "$work/enter" "$root" "$1" "$(nproc)" \
        "cd /home/$1/libballoon && $2"
}

clone() {
    mkdir -p "$root/home/$1"
    git -c safe.directory='*' clone -q --no-local "$PWD" "$root/home/$1/libballoon"
}

# try <user> <commands>: the output is shown and kept. Sets failed.
try() {
    echo "== $suite, $1: $2"
    {
        in_root "$1" "$2" 2>&1 || echo "$1: $2" >>"$work/failed"
    } | tee -a "$work/output"
}

