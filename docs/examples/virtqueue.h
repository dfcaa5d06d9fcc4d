/* A split virtqueue, device side, in memory shared with a hostile guest: for VMMs that have none.
 *
 * Copy virtqueue.[ch]; they need nothing but the library's types, in which buffers come out. They
 * know no transport: whoever hears of the driver's settings fills in struct virtqueue
 * (virtio_mmio.c, vhost_user_ring.c).
 *
 * What the guest cannot do, whatever it writes: have memory read that is not its RAM, or twice and
 * differently; have a chain walked for ever; have more than the queue's size of buffers taken in a
 * turn. A queue in which it wrote nonsense is VQ_BROKEN: leave it alone until it is set up again.
 * Rings are little-endian, so big-endian legacy guests are not served. */
#ifndef VIRTQUEUE_H
#define VIRTQUEUE_H

#include <balloon/virtio.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VQ_SIZE_MAX = 1024, /* largest queue */
    VQ_CHAIN_MAX = 1024 /* most descriptors, and most pieces, of one chain */
};

/* Features that these queues have; to be offered beside the device's own. */
#define VQ_F_INDIRECT_DESC ((uint64_t)1 << 28)
#define VQ_F_EVENT_IDX     ((uint64_t)1 << 29)
#define VQ_FEATURES        (VQ_F_INDIRECT_DESC | VQ_F_EVENT_IDX)

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define VQ_LE16(x) __builtin_bswap16(x)
#define VQ_LE32(x) __builtin_bswap32(x)
#define VQ_LE64(x) __builtin_bswap64(x)
#else
#define VQ_LE16(x) (x)
#define VQ_LE32(x) (x)
#define VQ_LE64(x) (x)
#endif

/* Guest RAM, as the VMM finds it. */
struct vq_memory {
    /* Host memory behind a guest address, or NULL; cuts *bytes to what is contiguous there. It is
     * asked again at each use, so memory may come and go between two calls. */
    void *(*find)(void *self, uint64_t address, uint64_t *bytes);
    void *self;
};

struct virtqueue {
    struct vq_memory memory;
    uint64_t desc, avail, used; /* guest addresses of the three parts */
    uint64_t features;          /* chosen by the driver */
    uint32_t size;              /* entries; a power of two */
    uint16_t next_avail;        /* next entry to take */
    uint16_t next_used;         /* next entry to give */
    uint16_t signalled;         /* next_used when we last thought of interrupting */
    uint32_t turn;              /* buffers that may be taken before the next virtqueue_turn() */
};

/* A buffer: its descriptors, taken apart. */
struct vq_chain {
    uint16_t head; /* its name, for virtqueue_give() */
    size_t readable_count, writable_count;
    balloon_iov readable[VQ_CHAIN_MAX];
    balloon_virtio_span writable[VQ_CHAIN_MAX]; /* not looked at: may lie anywhere */
};

enum vq_take {
    VQ_EMPTY, /* nothing waits; the guest will kick when something does */
    VQ_CHAIN, /* here is a buffer */
    VQ_LATER, /* there are more, but not in this turn; no kick will tell */
    VQ_BROKEN
};

/* A driver has set up the queue: memory, addresses, features and size are filled in. Returns false
 * when it cannot be used as it is. */
bool virtqueue_start(struct virtqueue *vq);

/* The same for a queue that was at work before, perhaps elsewhere: go on at this entry. */
bool virtqueue_resume(struct virtqueue *vq, uint16_t next_avail);

/* A kick, or the turn of a queue that had VQ_LATER: this many buffers may be taken; 0, or more than
 * the queue's size, means its size. */
void virtqueue_turn(struct virtqueue *vq, uint32_t buffers);

/* Take the next buffer. */
enum vq_take virtqueue_take(struct virtqueue *vq, struct vq_chain *chain);

/* A turn: take buffers and pass them to the device under this queue number, with their heads for
 * cookies. Then poll the device. VQ_EMPTY, VQ_LATER and VQ_BROKEN as above. */
enum vq_take virtqueue_receive(struct virtqueue *vq, balloon_device *device, uint32_t queue,
                               uint32_t buffers, balloon_time_t now);

/* Write to the start of the device-writable part of a buffer that was taken, before it is given
 * back. Its descriptors are read again: a guest that has changed them gets the bytes where it says
 * now. Returns false when they cannot all be written. */
bool virtqueue_write(const struct virtqueue *vq, uint16_t head, const void *bytes, size_t count);

/* Give a buffer back in which so many bytes were written; tells whether to interrupt the guest.
 * Returns false when the queue is broken. */
bool virtqueue_give(struct virtqueue *vq, uint16_t head, uint32_t bytes, bool *interrupt);

#endif
