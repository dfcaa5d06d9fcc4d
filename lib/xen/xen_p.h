/* What the Xen bindings keep inside the device and inside the driver. */
#ifndef BALLOON_XEN_XEN_P_H
#define BALLOON_XEN_XEN_P_H

#include <balloon/xen.h>

/* The answer that waits for room in the ring. */
enum xen_answer {
    XEN_ANSWER_NONE = 0,
    XEN_ANSWER_OKAY = 1,
    XEN_ANSWER_VALUE = 2, /* of key */
    XEN_ANSWER_ERROR = 3
};

struct xen_device_state {
    /* As configured. */
    uint64_t static_max;
    uint32_t max_order;
    uint16_t domain;
    balloon_xen_layout layout;
    bool enforce;

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

/* Requests of the driver, in the order that they are made in. */
enum xen_request {
    XEN_REQUEST_WATCH = 0,
    XEN_REQUEST_FEATURE = 1,
    XEN_REQUEST_STATIC_MAX = 2,
    XEN_REQUEST_OLD_STATIC_MAX = 3,
    XEN_REQUEST_TARGET = 4,
    XEN_REQUESTS = 5
};

struct xen_driver_state {
    /* As opened. */
    balloon_xen_layout layout;
    uint32_t first_id;
    bool pv;

    unsigned due;             /* requests to make, a bit for each */
    enum xen_request request; /* the one that is told, or sent */
    bool told, sent;
    bool watched, have_target, have_static_max;
    uint8_t serial;   /* of the last request */
    uint8_t failures; /* of the watch or of reading the target, in a row */
    uint64_t target, static_max;
    balloon_time_t retry_at; /* after a failure: neither of them before */
};

/* The guest has shown that it has a driver. */
void bl_xen_attach(balloon_device *d, balloon_time_t now);

/* What the guest shall see as the size it should have, in pages. */
uint64_t bl_xen_target(const balloon_device *d);

/* Is the device bound to Xen? */
bool bl_xen_bound(const balloon_device *d);

#endif
