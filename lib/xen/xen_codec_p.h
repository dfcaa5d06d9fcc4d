/* Shared by the files of the Xen codec. */
#ifndef BALLOON_XEN_XEN_CODEC_P_H
#define BALLOON_XEN_XEN_CODEC_P_H

#include <balloon/xen_codec.h>

#include "../core/bytes.h"

/* Moves on over pieces and copies. Returns how much there was, at most max. */
static inline size_t bl_xen_pull(const balloon_iov **iov, size_t *count, size_t *offset,
                                 unsigned char *to, size_t max)
{
    size_t done = 0;

    while (*count > 0 && done < max) {
        size_t here = (*iov)->bytes - *offset;

        if (here == 0) {
            ++*iov;
            --*count;
            *offset = 0;
            continue;
        }
        here = here < max - done ? here : max - done;
        bl_copy_in(to + done, (const unsigned char *)(*iov)->base + *offset, here);
        *offset += here;
        done += here;
    }
    return done;
}

#endif
