/* The Xen binding of the device: its state, and what its files share. */
#ifndef BALLOON_XEN_XEN_DEVICE_P_H
#define BALLOON_XEN_XEN_DEVICE_P_H

#include <balloon/xen.h>

#include "../device/device_p.h"

/* The answer that waits for room in the ring. */
enum xen_answer {
    XEN_ANSWER_NONE = 0,
    XEN_ANSWER_OKAY = 1,
    XEN_ANSWER_VALUE = 2, /* of key */
    XEN_ANSWER_ERROR = 3
};

/* A balloon so much larger than the target counts as arrived. */
#define XEN_ASIDE 8u
_Static_assert(XEN_ASIDE < SIZE_SLACK, "who is there is left alone");

struct xen_device_state {
    /* As configured. */
    uint64_t static_max;
    uint64_t booted; /* of the RAM at that time, the pages that static-max counts */
    uint32_t max_order;
    uint16_t domain;
    balloon_xen_layout layout;
    bool enforce;

    bool aside;        /* the guest is shown a size XEN_ASIDE off, for this target: */
    uint32_t aside_of; /* Linux sleeps on when the number stays the same */

    uint64_t beyond; /* pages above static-max that started out, plugged in for this guest */

    bool told; /* SEND was told, and the message is not written yet */

    enum xen_answer answer;
    balloon_xen_message_type type;
    uint32_t id, transaction;
    balloon_xen_key key;
    balloon_xen_error error;

    bool watched, event; /* the target is, and it has changed since the guest was told */
    bool absolute;       /* the guest named it by its path from the root */
    uint8_t token_bytes;
    uint8_t token[BALLOON_XEN_TOKEN_BYTES_MAX];

    bool feature;     /* control/feature-balloon is there */
    bool have_active; /* control/balloon-active is there */
    bool active;      /* and what is in it */
};

_Static_assert(sizeof(struct xen_device_state) <= DEVICE_ROOM_BYTES, "xen has room");

static inline struct xen_device_state *xen_state(balloon_device *d)
{
    return (struct xen_device_state *)(void *)d->room;
}

static inline const struct xen_device_state *xen_const(const balloon_device *d)
{
    return (const struct xen_device_state *)(const void *)d->room;
}

/* The guest has shown that it has a driver. */
void bl_xen_attach(balloon_device *d, balloon_time_t now);

/* Is the device bound to Xen? */
bool bl_xen_bound(const balloon_device *d);

#endif
