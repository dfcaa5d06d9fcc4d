#ifndef TEST_VIRTIO_CODEC_SUPPORT_H
#define TEST_VIRTIO_CODEC_SUPPORT_H

#include <balloon/virtio.h>

/* A number of so many bytes, by the book. */
static inline uint64_t number(const unsigned char *bytes, size_t size, balloon_endian endian)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value += (uint64_t)bytes[i] << 8 * (endian == BALLOON_BIG_ENDIAN ? size - 1 - i : i);
    return value;
}

#endif
