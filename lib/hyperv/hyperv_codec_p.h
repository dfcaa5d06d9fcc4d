/* Numbers and bytes, for both parts of the Hyper-V codec. */
#ifndef BALLOON_HYPERV_HYPERV_CODEC_P_H
#define BALLOON_HYPERV_HYPERV_CODEC_P_H

#include <balloon/hyperv.h>

#include "../core/bytes.h"

/* A packed range, of the protocol or of the hypercall: 64 bits somewhere in the peer's memory. */
static inline uint64_t bl_hyperv_get_packed(const void *packed, size_t index)
{
    unsigned char word[BALLOON_HYPERV_RANGE_BYTES];

    bl_copy_in(word, (const unsigned char *)packed + index * sizeof(word), sizeof(word));
    return bl_get_le(word, sizeof(word));
}

static inline void bl_hyperv_put_packed(void *packed, size_t index, uint64_t word)
{
    bl_put_le((unsigned char *)packed + index * BALLOON_HYPERV_RANGE_BYTES,
              BALLOON_HYPERV_RANGE_BYTES, word);
}

#endif
