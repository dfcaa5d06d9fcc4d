# shellcheck shell=bash
# What the scripts of this folder share: packages of an exact version in a private root, a stock
# kernel in QEMU with a serial port that takes command lines, and the verdict. Nothing is installed
# and no root is needed. Exit status: 0 as found, 1 changed, 77 cannot tell. FINDINGS_CACHE, when
# set, is a folder in which the packages stay for the next run.
set -euo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
chmod 755 "$work" # apt downloads as another user
root=$work/root image=$work/image
qemu_pid='' changed=0

leave() {
    [ -z "$qemu_pid" ] || kill "$qemu_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 77' INT TERM

cannot_tell() {
    printf 'cannot tell: %s\n' "$*" >&2
    exit 77
}

# holds WHAT TEST...: whether a fact still is one.
holds() {
    local what=$1
    shift
    if "$@"; then
        printf 'as found: %s\n' "$what"
    else
        printf 'CHANGED: it does not hold any more that %s\n' "$what"
        changed=1
    fi
}

finish() { exit "$changed"; }

# Address and key file of Debian, as this system's own apt sources have them for its own suite.
debian_source() {
    local codename
    codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || return 1
    cat /dev/null /etc/apt/sources.list.d/*.sources 2>/dev/null |
        awk -v suite="$codename" 'BEGIN { RS = ""; FS = "\n" }
        {
            split("", field)
            for (i = 1; i <= NF; i++)
                if (match($i, /^[A-Za-z-]+:/))
                    field[tolower(substr($i, 1, RLENGTH - 1))] = substr($i, RLENGTH + 1)
            if ((field["suites"] " ") ~ (" " suite " ") && split(field["uris"], uri, " ")) {
                print uri[1], field["signed-by"]
                exit
            }
        }'
    cat /dev/null /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk -v suite="$codename" '$1 == "deb" {
            key = ""
            if (match($0, /signed-by=[^] ]*/))
                key = substr($0, RSTART + 10, RLENGTH - 10)
            sub(/\[[^]]*\]/, "")
            if ($3 == suite)
                print $2, key
        }'
}

# packages SUITE PACKAGE=VERSION...: unpacks them, and what they depend on, into $root.
packages() {
    local suite=$1 apt=$work/apt uri key deb tool
    shift
    echo "$suite: $*"
    if [ -n "${FINDINGS_CACHE-}" ]; then
        root=$FINDINGS_CACHE/$(echo "$*" | cksum | tr ' ' -)
        [ ! -e "$root/complete" ] || return 0
    fi
    for tool in apt-get dpkg-deb cc nice; do
        command -v "$tool" >/dev/null || cannot_tell "there is no $tool here"
    done
    [ "$(uname -m)" = x86_64 ] || cannot_tell "this is for x86-64"
    read -r uri key < <(debian_source) || cannot_tell "no Debian among the sources of apt"
    mkdir -p "$apt"/etc/{apt.conf.d,preferences.d} "$apt"/{lists,cache/archives}/partial \
        "$apt/state" "$root"
    : >"$apt/status"
    echo "deb ${key:+[signed-by=$key]} $uri $suite main" >"$apt/etc/sources.list"
    { # proxies and the like stay as they are
        apt-config dump Acquire
        printf '%s "%s";\n' Dir::Etc "$apt/etc" Dir::State "$apt/state" Dir::Cache "$apt/cache" \
            Dir::State::lists "$apt/lists" Dir::State::status "$apt/status" \
            Dir::Etc::TrustedParts /etc/apt/trusted.gpg.d Acquire::Languages none
    } >"$apt/apt.conf"
    export APT_CONFIG=$apt/apt.conf
    apt-get -qq update >&2 || cannot_tell "no lists of $suite from $uri"
    apt-get -qq -y --no-install-recommends --download-only install "$@" >&2 ||
        cannot_tell "$suite has no more of $*"
    for deb in "$apt"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$root"
    done
    rm -rf "$apt/cache"
    : >"$root/complete"
}

# program NAME <SOURCE: a C program for the guest, there as /NAME.
program() {
    mkdir -p "$image"
    cc -std=gnu11 -O1 -Wall -static -I "$(dirname "${BASH_SOURCE[0]}")" -o "$image/$1" -x c - ||
        cannot_tell "no static programs here"
}

# The file system that the guest boots from: busybox, the programs, the balloon driver.
initramfs() {
    local module
    mkdir -p "$image"/bin "$image"/proc "$image"/sys "$image"/dev "$image"/tmp
    cp "$root/usr/bin/busybox" "$image/bin/"
    module=$(find "$root" -name 'virtio_balloon.ko*')
    cp "$module" "$image/"
    [ "${module##*.}" = ko ] || "$root/usr/bin/busybox" unxz -f "$image/${module##*/}"
    cat >"$image/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=90% tmp /tmp
exec <>/dev/ttyS1 >&0 2>&1
stty raw -echo
echo "=end 0"
while read -r line; do
    eval "$line"
    echo "=end $?"
done
END
    chmod 755 "$image/init"
    (cd "$image" && find . | "$root/usr/bin/busybox" cpio -o -H newc 2>/dev/null) >"$work/initrd"
}

# boot ARGUMENT...: QEMU without KVM and with these arguments; returns when the guest is ready.
boot() {
    local lib=$root/usr/lib/x86_64-linux-gnu
    initramfs
    mkfifo "$work"/{qmp,serial}.{in,out}
    exec {qmp_in}<>"$work/qmp.in" {qmp_out}<>"$work/qmp.out"
    exec {serial_in}<>"$work/serial.in" {serial_out}<>"$work/serial.out"
    QEMU_MODULE_DIR=$lib/qemu nice "$lib/ld-linux-x86-64.so.2" --library-path "$lib" \
        "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" \
        -M pc -accel tcg,tb-size=64 -nodefaults -no-user-config -display none \
        -kernel "$(find "$root" -name 'vmlinuz*' -type f | head -n 1)" -initrd "$work/initrd" \
        -append "console=ttyS0 quiet mitigations=off rdinit=/init" \
        -serial "file:$work/console" -chardev "pipe,id=serial,path=$work/serial" \
        -serial chardev:serial -chardev "pipe,id=qmp,path=$work/qmp" -mon qmp,mode=control \
        "$@" >"$work/log" 2>&1 &
    qemu_pid=$!
    ready
    qmp '{"execute": "qmp_capabilities"}' >/dev/null
}

# Waits for the guest; what a command line printed goes to the output.
ready() {
    local line
    while read -r -t 300 -u "$serial_out" line; do
        line=${line%$'\r'}
        case $line in
        "=end "*) return "${line#=end }" ;;
        *) printf '%s\n' "$line" ;;
        esac
    done
    cat "$work/log" "$work/console" >&2 || true
    cannot_tell "the guest does not answer"
}

# guest LINE: runs a command line in the guest.
guest() {
    printf '%s\n' "$1" >&"$serial_in"
    ready
}

# qmp COMMAND: its answer.
qmp() {
    local line
    printf '%s\n' "$1" >&"$qmp_in"
    while read -r -t 60 -u "$qmp_out" line; do
        case $line in
        *'"error"'*) cannot_tell "$1: $line" ;;
        *'"return"'*)
            printf '%s\n' "$line"
            return
            ;;
        esac
    done
    cannot_tell "QEMU does not answer $1"
}

# What query-balloon calls actual, in MiB; and the command that is to change it.
actual() {
    local answer
    answer=$(qmp '{"execute": "query-balloon"}')
    answer=${answer##*\"actual\": }
    echo $((${answer%%\}*} >> 20))
}
balloon() { qmp "{\"execute\": \"balloon\", \"arguments\": {\"value\": $(($1 << 20))}}" >/dev/null; }

# until_actual MIB: waits until the guest is that large.
until_actual() {
    local i
    for ((i = 0; i < 300; i++)); do
        [ "$(actual)" -ne "$1" ] || return 0
        sleep 0.2
    done
    return 1
}

# A figure of the guest's /proc/meminfo, in MiB.
meminfo() { guest "awk '/^$1:/ { print int(\$2 / 1024) }' /proc/meminfo"; }

# A cgroup of its own for a program: guest 'in_cgroup PROGRAM'.
own_cgroup() {
    guest 'mount -t cgroup2 none /sys/fs/cgroup && mkdir /sys/fs/cgroup/test'
    guest 'echo +memory >/sys/fs/cgroup/cgroup.subtree_control'
    guest 'in_cgroup() { (echo 0 >/sys/fs/cgroup/test/cgroup.procs && exec "$@"); }'
}
