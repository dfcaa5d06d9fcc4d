/* The virtio binding of the device: its state, and what its files share. */
#ifndef BALLOON_VIRTIO_VIRTIO_DEVICE_P_H
#define BALLOON_VIRTIO_VIRTIO_DEVICE_P_H

#include <stddef.h>

#include <balloon/virtio.h>

#include "../device/device_p.h"

struct virtio_state {
    struct unbound_state base; /* how queues are numbered and VERSION_1 was chosen; and a latch:
                                  bytes of `actual` as written so far */
    bool windows_pfns, legacy_only;
    balloon_virtio_numbering configured_numbering;
    balloon_endian legacy_endian;
};

_Static_assert(sizeof(struct virtio_state) <= DEVICE_ROOM_BYTES, "virtio has room");
_Static_assert(offsetof(struct virtio_state, base) == 0,
               "what an unbound device has loaded is ours");
_Static_assert(BALLOON_QUEUE_KINDS == QUEUES_END && BALLOON_QUEUES_FIXED == NUMBERING_MOST &&
                   BALLOON_VIRTIO_HINT_STOP == HINT_STOP && BALLOON_VIRTIO_HINT_DONE == HINT_DONE,
               "the device knows virtio's numbers");

extern const struct device_binding bl_virtio_binding;

/* Makes virtio the transport of a device that has none yet; returns whether it speaks virtio. */
static inline bool virtio_bind(balloon_device *d)
{
    if (!d->binding)
        bl_device_adopt(d, &bl_virtio_binding);
    return d->binding == &bl_virtio_binding;
}

static inline struct virtio_state *virtio_state(balloon_device *d)
{
    return (struct virtio_state *)(void *)d->room;
}

/* All zeros for a device that speaks something else. */
static inline const struct virtio_state *virtio_const(const balloon_device *d)
{
    static const struct virtio_state none;

    return d->binding && d->binding->number ? &none
                                            : (const struct virtio_state *)(const void *)d->room;
}

#endif
