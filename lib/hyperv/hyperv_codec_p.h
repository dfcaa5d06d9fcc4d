/* Numbers and bytes, for both parts of the Hyper-V codec. */
#ifndef BALLOON_HYPERV_HYPERV_CODEC_P_H
#define BALLOON_HYPERV_HYPERV_CODEC_P_H

#include <balloon/hyperv.h>

#include "../core/bytes.h"

/* A packed range, of the protocol or of the hypercall: 64 bits somewhere in the peer's memory. */
static inline uint64_t bl_hyperv_get_packed(const void *packed, size_t index)
{
    uint64_t word;

    bl_copy_in((unsigned char *)&word, (const unsigned char *)packed + index * sizeof(word),
               sizeof(word));
    bl_swap_words(&word, 1);
    return word;
}

/* Page number in bits 0 to 39, number of pages in bits 40 to 63. */
static inline balloon_range bl_hyperv_unpack(uint64_t word)
{
    return (balloon_range){word & (BALLOON_HYPERV_PFN_LIMIT - 1), word >> 40};
}

static inline uint64_t bl_hyperv_pack(balloon_range range)
{
    return range.first | range.count << 40;
}

static inline void bl_hyperv_put_packed(void *packed, size_t index, uint64_t word)
{
    bl_copy_words_out((unsigned char *)packed + index * sizeof(word), &word, 1);
}

#endif
