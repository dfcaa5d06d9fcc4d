/* The queues of a vhost-user back-end: virtqueue.c, with the front-end's addresses and eventfds. */
#include "vhost_user.h"

#include <unistd.h>

void *vu_guest_memory(const struct vu_memory *memory, uint64_t address, uint64_t *bytes)
{
    for (size_t i = 0; i < VU_REGIONS; i++) {
        const struct vu_region *region = &memory->region[i];
        if (address < region->guest || address - region->guest >= region->bytes)
            continue;
        uint64_t left = region->bytes - (address - region->guest);
        if (*bytes > left)
            *bytes = left;
        return region->host + (address - region->guest);
    }
    return NULL;
}

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    return vu_guest_memory(self, address, bytes);
}

/* The guest's address for one of the front-end's. */
static bool translate(const struct vu_memory *memory, uint64_t user, uint64_t *guest)
{
    for (size_t i = 0; i < VU_REGIONS; i++) {
        const struct vu_region *region = &memory->region[i];
        if (user < region->user || user - region->user >= region->bytes)
            continue;
        *guest = region->guest + (user - region->user);
        return true;
    }
    return false;
}

bool vu_ring_locate(struct vu_session *session, struct vu_ring *ring)
{
    const struct vu_memory *memory = &session->memory;
    return translate(memory, ring->desc, &ring->vq.desc) &&
           translate(memory, ring->avail, &ring->vq.avail) &&
           translate(memory, ring->used, &ring->vq.used);
}

bool vu_ring_begin(struct vu_session *session, struct vu_ring *ring)
{
    ring->vq.memory = (struct vq_memory){.find = find, .self = &session->memory};
    ring->vq.features = session->features;
    return ring->addressed && vu_ring_locate(session, ring) &&
           virtqueue_resume(&ring->vq, ring->vq.next_avail);
}

bool vu_ring_give(struct vu_ring *ring, uint16_t head, uint32_t bytes)
{
    bool interrupt;
    if (!virtqueue_give(&ring->vq, head, bytes, &interrupt))
        return false;
    if (interrupt && ring->call >= 0) {
        uint64_t one = 1;
        /* It only fails when the guest has not yet seen very many earlier ones. */
        ssize_t ignored = write(ring->call, &one, sizeof one);
        (void)ignored;
    }
    return true;
}
