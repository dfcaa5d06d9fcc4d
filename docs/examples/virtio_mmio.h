/* The registers of a balloon on virtio-mmio, modern (version 2) and legacy (version 1): for VMMs
 * that have no virtio yet. Copy virtio_mmio.[ch] and virtqueue.[ch]; mmio_balloon.c shows them at
 * work.
 *
 * After each of these functions poll the device, and then set the interrupt line to
 * virtio_mmio_line(). All calls for one guest come one at a time, from all its processors: hold a
 * lock. The guest is hostile; a queue in which it writes nonsense stops, and it is told to reset.
 */
#ifndef VIRTIO_MMIO_H
#define VIRTIO_MMIO_H

#include "virtqueue.h"

enum {
    VIRTIO_MMIO_BYTES = 0x200,   /* of guest addresses, for registers and configuration space */
    VIRTIO_MMIO_QUEUES = 8,      /* most queues; a balloon has five */
    VIRTIO_MMIO_QUEUE_SIZE = 128 /* largest queue that is offered */
};

struct virtio_mmio_queue {
    struct virtqueue vq;
    uint32_t pfn;   /* legacy: where it is, in pages of the driver's size */
    uint32_t align; /* legacy: of its used part */
    bool ready;     /* the driver has set it up */
    bool running;   /* and it is in use: no nonsense so far */
};

/* Set the first three, leave the rest 0, and reset it. */
struct virtio_mmio {
    balloon_device *balloon;
    struct vq_memory memory;
    bool legacy;    /* version 1 */
    uint32_t again; /* bit i: queue i wants another turn, by virtio_mmio_again() */
    struct virtio_mmio_queue queue[VIRTIO_MMIO_QUEUES];
    uint64_t features; /* chosen by the driver */
    uint32_t status, interrupts, generation, page_bytes;
    uint32_t device_select, driver_select, queue_select;
};

/* As when the guest starts. It resets the device, too. */
void virtio_mmio_reset(struct virtio_mmio *m);

/* The guest reads or writes 1, 2, 4 or 8 bytes at an offset into the device's addresses. */
uint64_t virtio_mmio_read(const struct virtio_mmio *m, uint64_t offset, unsigned bytes);
void virtio_mmio_write(struct virtio_mmio *m, uint64_t offset, uint64_t value, unsigned bytes,
                       balloon_time_t now);

/* Give queues that had more to do than a turn another one: soon, while again is not 0. */
void virtio_mmio_again(struct virtio_mmio *m, balloon_time_t now);

/* BALLOON_ACTION_ACK: give a buffer back. */
void virtio_mmio_give(struct virtio_mmio *m, const balloon_action *action);

/* BALLOON_ACTION_CONFIG_IRQ: the configuration space has changed. */
void virtio_mmio_config_changed(struct virtio_mmio *m);

/* Is the interrupt line up? */
bool virtio_mmio_line(const struct virtio_mmio *m);

#endif
