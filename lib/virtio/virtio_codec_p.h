/* What the codec and the binding of the device share: page numbers out of a guest's memory. */
#ifndef BALLOON_VIRTIO_VIRTIO_CODEC_P_H
#define BALLOON_VIRTIO_VIRTIO_CODEC_P_H

#include <stdbool.h>

#include <balloon/virtio.h>

#include "../core/bytes.h"

/* Are numbers of this byte order to be turned around? */
static inline bool is_foreign(balloon_endian endian)
{
    return (endian == BALLOON_BIG_ENDIAN) == bl_little_endian();
}

#endif
