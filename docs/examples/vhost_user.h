/* The transport half of a vhost-user back-end: guest memory, queues, the socket.
 *
 * Nothing here knows about balloons except that buffers come out in the library's own types. The
 * guest is hostile: virtqueue.c reads its rings, and a bad one stops that ring alone. The front-end
 * is the VMM: it is trusted with its guest's memory, but what it sends is checked so far that it
 * cannot crash us.
 */
#ifndef VHOST_USER_H
#define VHOST_USER_H

#include "virtqueue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    VU_REGIONS = 8,     /* regions in a memory table, the protocol's own limit */
    VU_QUEUES = 8,      /* rings; a balloon has five at the most */
    VU_CONFIG_MAX = 256 /* largest configuration access, the protocol's own limit */
};

/* One piece of guest RAM, mapped. */
struct vu_region {
    uint64_t guest;  /* guest physical address */
    uint64_t user;   /* the front-end's own address; rings are named by these */
    uint64_t bytes;  /* 0: no region */
    uint64_t offset; /* place in the file */
    uint8_t *host;   /* where it is mapped here */
    int fd;
    dev_t device; /* with inode: which file it is, to know it again */
    ino_t inode;
};

struct vu_memory {
    struct vu_region region[VU_REGIONS];
};

/* A queue. Its addresses are the front-end's here, and the guest's in vq. */
struct vu_ring {
    struct virtqueue vq;
    uint64_t desc, avail, used;
    int kick, call;        /* -1: none */
    bool addressed;        /* SET_VRING_ADDR was seen */
    uint16_t stopped_at;   /* vq.next_avail when the device stopped */
    uint16_t stopped_used; /* vq.next_used then */
    bool enabled;
    bool broken; /* the guest put nonsense in it: ignored until it is set up again */
    bool more;   /* there may be buffers that no kick will announce */
};

/* What a device has to say to its transport's events. */
struct vu_device {
    uint64_t (*features)(void *self);                  /* virtio features to offer */
    bool (*set_features)(void *self, uint64_t chosen); /* false refuses */
    const char *(*plug)(void *self, unsigned slot); /* memory.region[slot] came; why not, or NULL */
    void (*unplug)(void *self, unsigned slot);      /* it goes now */
    /* The first ring runs: the driver goes on if it has not left since it stopped, else there is a
     * new one. */
    void (*started)(void *self);
    void (*stopped)(void *self); /* no ring runs any more: a pause, or the driver leaves */
    void (*left)(void *self);    /* the driver that stopped has left */
    void (*memory)(void *self, const char *refused); /* a table came; why it was refused, or NULL */
    void (*config_read)(void *self, uint32_t offset, void *bytes, uint32_t count);
    void (*config_write)(void *self, uint32_t offset, void *bytes, uint32_t count);
};

/* One front-end's connection. */
struct vu_session {
    int socket; /* -1: nobody is connected */
    int back;   /* where we send requests of our own, or -1 */
    const struct vu_device *device;
    void *self;
    struct vu_memory memory;
    struct vu_ring ring[VU_QUEUES];
    uint64_t features; /* chosen by the front-end */
    uint64_t protocol;
    bool running; /* device->started() was called */
    bool paused;  /* device->stopped() was called since, and device->left() was not */
    /* The message being received: a slow front-end must not hold up the others. */
    uint8_t message[1024];
    size_t have;
    int fds[VU_REGIONS];
    size_t fd_count;
    const char *why; /* the connection is over */
};

/* vhost_user_ring.c */

/* Host memory behind a guest address; *bytes is cut to what is contiguous. NULL: none. */
void *vu_guest_memory(const struct vu_memory *memory, uint64_t address, uint64_t *bytes);

/* Take up the guest's view of a ring that starts; it goes on at vq.next_avail. */
bool vu_ring_begin(struct vu_session *session, struct vu_ring *ring);

/* Where the front-end's addresses are in the guest. */
bool vu_ring_locate(struct vu_session *session, struct vu_ring *ring);

/* Give a buffer back, and interrupt the guest if it wants to know. False: the ring is broken. */
bool vu_ring_give(struct vu_ring *ring, uint16_t head, uint32_t bytes);

/* vhost_user_memory.c */

/* Map a table of regions in place of what is mapped; its files are ours now. Why not, or NULL. */
const char *vu_memory_replace(struct vu_session *session, struct vu_region *table, size_t count);
void vu_memory_drop(struct vu_session *session);

/* vhost_user_session.c */

void vu_session_init(struct vu_session *session, const struct vu_device *device, void *self);
void vu_session_open(struct vu_session *session, int socket);
void vu_session_close(struct vu_session *session);

/* The socket is readable: handle at most one message. False: the connection is over, and why. */
bool vu_session_input(struct vu_session *session);

/* Tell the front-end that the configuration space changed. */
bool vu_session_config_changed(struct vu_session *session);

bool vu_ring_runs(const struct vu_ring *ring);

#endif
