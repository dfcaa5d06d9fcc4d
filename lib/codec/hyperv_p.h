/* Numbers and bytes, for both parts of the Hyper-V codec. */
#ifndef BALLOON_HYPERV_P_H
#define BALLOON_HYPERV_P_H

#include <string.h>

#include <balloon/hyperv.h>

static inline uint64_t bl_hyperv_get(const unsigned char *bytes, unsigned size)
{
    uint64_t value = 0;

    while (size > 0)
        value = value << 8 | bytes[--size];
    return value;
}

static inline void bl_hyperv_put(unsigned char *bytes, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++) {
        bytes[i] = (unsigned char)value;
        value >>= 8;
    }
}

/* The peer may change its memory at any moment, so nothing is decided on it: bytes are first
 * copied to where the peer cannot reach. The barrier forbids the compiler to look at the source
 * again in place of the copy. */
static inline void bl_hyperv_copy_in(unsigned char *private_copy, const unsigned char *peer,
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

/* A packed range, of the protocol or of the hypercall: 64 bits somewhere in the peer's memory. */
static inline uint64_t bl_hyperv_get_packed(const void *packed, size_t index)
{
    unsigned char word[BALLOON_HYPERV_RANGE_BYTES];

    bl_hyperv_copy_in(word, (const unsigned char *)packed + index * sizeof(word), sizeof(word));
    return bl_hyperv_get(word, sizeof(word));
}

static inline void bl_hyperv_put_packed(void *packed, size_t index, uint64_t word)
{
    bl_hyperv_put((unsigned char *)packed + index * BALLOON_HYPERV_RANGE_BYTES,
                  BALLOON_HYPERV_RANGE_BYTES, word);
}

#endif
