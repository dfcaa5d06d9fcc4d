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

/* A buffer of page numbers is short, but longer than what compilers copy in place: in pieces of
 * that size it costs less than a call of memcpy(). */
static inline void copy_pieces(void *private_copy, const void *peer, size_t bytes)
{
    const unsigned char *from = peer;
    unsigned char *to = private_copy;

#ifndef __OPTIMIZE_SIZE__
    enum { PIECE = 64 };

    for (; bytes >= PIECE; bytes -= PIECE, to += PIECE, from += PIECE)
        bl_copy_in(to, from, PIECE);
#endif
    if (bytes)
        bl_copy_in(to, from, bytes);
}

#endif
