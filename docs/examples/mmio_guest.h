/* The driver's side of virtio_mmio.c, to try a VMM's device without booting a guest: registers, and
 * queues in a window of guest memory. Lay the library's driver (balloon/driver.h) on top, and it is
 * a guest that inflates, deflates, sends statistics, reports and hints. */
#ifndef MMIO_GUEST_H
#define MMIO_GUEST_H

#include "virtio_mmio.h"

enum {
    MMIO_GUEST_QUEUES = 5,
    MMIO_GUEST_RING = 64, /* descriptors of a queue */
    /* A queue: descriptors and available ring, used ring, and a page for each descriptor. */
    MMIO_GUEST_PAGES = MMIO_GUEST_QUEUES * (2 + MMIO_GUEST_RING) /* the window */
};

struct mmio_guest_queue {
    uint64_t *desc;
    uint16_t *avail, *used;
    uint16_t free[MMIO_GUEST_RING], free_count; /* descriptors that are free, */
    uint16_t chain[MMIO_GUEST_RING];            /* and, by head, how many a buffer has, */
    uint16_t room_at[MMIO_GUEST_RING];          /* and where in its page its room begins */
    uint16_t sent, taken;
    bool kick; /* the device wants to hear of what was sent */
};

/* Fill in all down to window_at. */
struct mmio_guest {
    struct virtio_mmio *mmio;
    void (*write)(void *self, uint64_t offset, uint32_t value); /* what a trapped write does */
    void *self;
    uint8_t *window;    /* the window as the host sees it: MMIO_GUEST_PAGES of it, */
    uint64_t window_at; /* and where it is for the guest, a multiple of the page size */
    uint64_t features;
    size_t room;   /* of the next buffers: bytes to write to, behind those to read; at most 32 */
    uint32_t used; /* of the last buffer that came back: its used length, and its room */
    const uint8_t *written;
    struct mmio_guest_queue queue[MMIO_GUEST_QUEUES];
};

/* Reset the device: what does it offer? */
uint64_t mmio_guest_offered(struct mmio_guest *g);

/* Choose features, those of the queues too. False: the device does not agree. */
bool mmio_guest_choose(struct mmio_guest *g, uint64_t features);

/* Set up the queues in this mask; then buffers may be put on them. DRIVER_OK. */
void mmio_guest_set_up(struct mmio_guest *g, uint32_t queues);
void mmio_guest_ready(struct mmio_guest *g);

/* Put a buffer on a queue: bytes to read, up to a page of them, then ranges to write to. False: no
 * room. The device is told by mmio_guest_kick(), for any number of buffers. */
bool mmio_guest_put(struct mmio_guest *g, unsigned queue, const void *bytes, size_t count,
                    const balloon_range *ranges, size_t range_count);
void mmio_guest_kick(struct mmio_guest *g, unsigned queue);

/* A buffer has come back; false: none has, and the device interrupts when one does. */
bool mmio_guest_take(struct mmio_guest *g, unsigned queue);

/* Read and acknowledge interrupts: 1 used buffers, 2 configuration. */
uint32_t mmio_guest_interrupts(struct mmio_guest *g);

#endif
