#!/bin/bash
# Linux 6.12.117 (Debian 13): memory that is registered as a buffer of io_uring is discarded with
# success; nothing is freed, and input and output go on in pages that the program cannot see any more.
#
# Seen, with 32 MiB full of 1 in a cgroup of its own; filled with 2 after the discard:
#     registered: RSS 32816 KiB, charged 33272 KiB
#     madvise: 0
#     discarded: RSS 52 KiB, charged 33272 KiB
#     filled again: RSS 32820 KiB, charged 66040 KiB
#     memory has 2, what is written from it 1
#     unregistered: RSS 32820 KiB, charged 33016 KiB
# Why it surprises: MADV_DONTNEED refuses memory that mlock(2) pins (EINVAL, madvise(2)), and this is
# pinned as well, but not refused. io_uring_register(2) says that buffers are locked in memory, not that
# they part from the addresses that were registered. If a VMM registers guest memory for its disks, a
# balloon frees none of it, and what a guest reads into a page that it got back never arrives there.
# shellcheck source=findings/common.bash
. "$(dirname "$0")/common.bash"
[ $# -gt 0 ] || set -- trixie qemu-system-x86=1:10.0.13+ds-0+deb13u1 seabios=1.16.3-2 \
    busybox-static=1:1.37.0-6+b9 linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1
packages "$@"

program buffer <<'END'
#include "guest.h"
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BYTES 0x2000000UL

/* Writes the first byte of registered memory to a file; what is in the file then. */
static int byte_of_output(int ring, const struct io_uring_params *params, void *memory)
{
    char *rings = mmap(NULL, params->sq_off.array + params->sq_entries * 4UL, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = mmap(NULL, params->sq_entries * sizeof(*entry), PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
    int file = open("/tmp/output", O_CREAT | O_RDWR, 0600);
    unsigned char byte = 0xff;

    *entry = (struct io_uring_sqe){.opcode = IORING_OP_WRITE_FIXED, .fd = file,
                                   .addr = (unsigned long)memory, .len = 1};
    *(unsigned *)(rings + params->sq_off.array) = 0;
    __atomic_store_n((unsigned *)(rings + params->sq_off.tail), 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    return pread(file, &byte, 1, 0) == 1 ? byte : -1;
}

int main(void)
{
    struct io_uring_params params = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    unsigned char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct iovec buffer = {memory, BYTES};

    madvise(memory, BYTES, MADV_NOHUGEPAGE);
    memset(memory, 1, BYTES);
    if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1))
        return 1;
    show("registered");
    printf("madvise: %d\n", madvise(memory, BYTES, MADV_DONTNEED));
    show("discarded");
    memset(memory, 2, BYTES);
    show("filled again");
    printf("memory has %d, what is written from it %d\n", memory[0], byte_of_output(ring, &params, memory));
    syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
    for (int i = 0; i < 30 && charged() > 40000; i++)
        sleep(1);
    show("unregistered");
    return 0;
}
END

boot -m 256
own_cgroup
seen=$(guest 'in_cgroup /buffer') || cannot_tell "no io_uring in the guest"
echo "$seen"
charged() { sed -n "s/^$1: RSS [0-9]* KiB, charged \([0-9]*\) KiB/\1/p" <<<"$seen"; }
holds "the discard succeeds" grep -q '^madvise: 0$' <<<"$seen"
holds "RSS falls" grep -q '^discarded: RSS [0-9]\{1,3\} KiB' <<<"$seen"
holds "nothing is freed" test $(($(charged registered) - $(charged discarded))) -lt 1024
holds "a second set of pages is taken" test $(($(charged 'filled again') - $(charged registered))) -gt 32000
holds "output comes from the first" grep -q '^memory has 2, what is written from it 1$' <<<"$seen"
holds "it goes when the buffer does" test $(($(charged 'filled again') - $(charged unregistered))) -gt 32000
finish
