/* Shared by the files of the Xen codec. */
#ifndef BALLOON_CODEC_XEN_P_H
#define BALLOON_CODEC_XEN_P_H

#include <string.h>

#include <balloon/xen.h>

/* Numbers of 1 to 8 bytes, little-endian. */
static inline uint64_t bl_xen_get(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;

    while (size > 0)
        value = value << 8 | bytes[--size];
    return value;
}

static inline void bl_xen_put(unsigned char *bytes, size_t size, uint64_t value)
{
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (unsigned char)value;
        value >>= 8;
    }
}

/* The peer may change its memory at any moment, so nothing is decided on it: bytes are first
 * copied to where the peer cannot reach. The barrier forbids the compiler to look at the source
 * again in place of the copy. */
static inline void bl_xen_copy_in(unsigned char *private_copy, const unsigned char *peer,
                                  size_t bytes)
{
#if defined(__GNUC__)
    memcpy(private_copy, peer, bytes);
    __asm__ volatile("" : : "r"(private_copy) : "memory");
#else
    const volatile unsigned char *source = peer;

    for (size_t i = 0; i < bytes; i++)
        private_copy[i] = source[i];
#endif
}

/* Moves on over pieces and copies. Returns how much there was, at most max. */
static inline size_t bl_xen_pull(const balloon_iov **iov, size_t *count, size_t *offset,
                                 unsigned char *to, size_t max)
{
    size_t done = 0;

    while (done<max && * count> 0) {
        size_t here = (*iov)->bytes - *offset;

        if (here == 0) {
            ++*iov;
            --*count;
            *offset = 0;
            continue;
        }
        here = here < max - done ? here : max - done;
        bl_xen_copy_in(to + done, (const unsigned char *)(*iov)->base + *offset, here);
        *offset += here;
        done += here;
    }
    return done;
}

#endif
