/* Split virtqueues: virtio specification 1.2, section 2.7. */
#include "virtqueue.h"

#include <stdatomic.h>
#include <string.h>

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_BYTES = 16, NO_INTERRUPT = 1 };

/* A descriptor: an address, then length, flags and next in one 64-bit word. */
struct descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags, next;
};

/* The parts of a queue found in our own address space. */
struct parts {
    const uint64_t *desc;
    const uint16_t *avail; /* flags, idx, ring[size], used_event */
    uint16_t *used;        /* flags, idx, ring[size] of 8 bytes, avail_event */
};

static uint16_t load16(const uint16_t *p)
{
    return VQ_LE16(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t value)
{
    __atomic_store_n(p, VQ_LE16(value), __ATOMIC_RELEASE);
}

/* A whole array, which must be contiguous and aligned here. */
static void *find(const struct virtqueue *vq, uint64_t address, uint64_t bytes, uintptr_t align)
{
    uint64_t there = bytes;
    void *host = vq->memory.find(vq->memory.self, address, &there);
    return host && there >= bytes && (uintptr_t)host % align == 0 ? host : NULL;
}

static bool find_parts(const struct virtqueue *vq, struct parts *parts)
{
    uint64_t size = vq->size;
    if (size == 0 || size > VQ_SIZE_MAX || (size & (size - 1)) != 0)
        return false;
    parts->desc = find(vq, vq->desc, size * DESC_BYTES, 8);
    parts->avail = find(vq, vq->avail, 6 + size * 2, 2);
    parts->used = find(vq, vq->used, 6 + size * 8, 4);
    return parts->desc && parts->avail && parts->used;
}

bool virtqueue_start(struct virtqueue *vq)
{
    struct parts parts;
    vq->next_avail = vq->next_used = vq->signalled = 0;
    vq->turn = 0;
    return find_parts(vq, &parts);
}

bool virtqueue_resume(struct virtqueue *vq, uint16_t next_avail)
{
    struct parts parts;
    if (!find_parts(vq, &parts))
        return false;
    vq->next_avail = next_avail;
    vq->next_used = vq->signalled = load16(&parts.used[1]);
    vq->turn = 0;
    return true;
}

void virtqueue_turn(struct virtqueue *vq, uint32_t buffers)
{
    vq->turn = buffers > 0 && buffers < vq->size ? buffers : vq->size;
}

/* Each half of a descriptor is read once: the guest may change it at any moment. */
static struct descriptor read_descriptor(const uint64_t *table, uint64_t index)
{
    uint64_t low = VQ_LE64(__atomic_load_n(&table[index * 2], __ATOMIC_RELAXED));
    uint64_t high = VQ_LE64(__atomic_load_n(&table[index * 2 + 1], __ATOMIC_RELAXED));
    return (struct descriptor){.address = low,
                               .bytes = (uint32_t)high,
                               .flags = (uint16_t)(high >> 32),
                               .next = (uint16_t)(high >> 48)};
}

/* Readable memory must be there, since the device is going to read it; it may span regions. What
 * is writable is passed on as addresses: the device never touches it and judges it itself. */
static bool add_piece(const struct virtqueue *vq, const struct descriptor *d,
                      struct vq_chain *chain)
{
    if (d->flags & DESC_WRITE) {
        chain->writable[chain->writable_count++] =
            (balloon_virtio_span){.address = d->address, .bytes = d->bytes};
        return true;
    }
    for (uint64_t done = 0; done < d->bytes;) {
        uint64_t bytes = d->bytes - done;
        void *base = vq->memory.find(vq->memory.self, d->address + done, &bytes);
        if (!base || chain->readable_count == VQ_CHAIN_MAX)
            return false;
        chain->readable[chain->readable_count++] =
            (balloon_iov){.base = base, .bytes = (size_t)bytes};
        done += bytes;
    }
    return true;
}

static bool walk(const struct virtqueue *vq, const uint64_t *table, struct vq_chain *chain)
{
    uint64_t entries = vq->size;
    uint64_t at = chain->head;
    bool indirect = false;
    for (unsigned steps = 0; steps < VQ_CHAIN_MAX; steps++) { /* so writable[] has room */
        if (at >= entries)
            return false;
        struct descriptor d = read_descriptor(table, at);
        if (d.flags & DESC_INDIRECT) {
            if (indirect || !(vq->features & VQ_F_INDIRECT_DESC) || (d.flags & DESC_NEXT) ||
                d.bytes % DESC_BYTES != 0)
                return false;
            table = find(vq, d.address, d.bytes, 8);
            if (!table)
                return false;
            indirect = true;
            entries = d.bytes / DESC_BYTES;
            at = 0;
            continue;
        }
        if (!add_piece(vq, &d, chain))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        at = d.next;
    }
    return false; /* a loop, or a chain nobody needs */
}

enum vq_take virtqueue_take(struct virtqueue *vq, struct vq_chain *chain)
{
    struct parts parts;
    if (!find_parts(vq, &parts))
        return VQ_BROKEN;
    uint16_t index = load16(&parts.avail[1]);
    if (index == vq->next_avail && (vq->features & VQ_F_EVENT_IDX)) {
        /* Ask for the kick before looking again, or one could fall between. */
        store16(&parts.used[2 + 4 * vq->size], vq->next_avail);
        atomic_thread_fence(memory_order_seq_cst);
        index = load16(&parts.avail[1]);
    }
    if (index == vq->next_avail)
        return VQ_EMPTY;
    /* What waits and what we have fit into the queue, or the index has jumped. */
    if ((uint16_t)(index - vq->next_avail) > vq->size ||
        (uint16_t)(index - vq->next_used) > vq->size)
        return VQ_BROKEN;
    if (vq->turn == 0)
        return VQ_LATER;
    chain->head = load16(&parts.avail[2 + vq->next_avail % vq->size]);
    chain->readable_count = 0;
    chain->writable_count = 0;
    if (!walk(vq, parts.desc, chain))
        return VQ_BROKEN;
    vq->next_avail++;
    vq->turn--;
    return VQ_CHAIN;
}

bool virtqueue_write(const struct virtqueue *vq, uint16_t head, const void *bytes, size_t count)
{
    struct vq_chain chain;
    struct parts parts;
    const uint8_t *from = bytes;
    chain.head = head;
    chain.readable_count = chain.writable_count = 0;
    if (!find_parts(vq, &parts) || !walk(vq, parts.desc, &chain))
        return false;
    for (size_t i = 0; i < chain.writable_count && count > 0; i++) {
        balloon_virtio_span *span = &chain.writable[i];
        while (span->bytes > 0 && count > 0) {
            uint64_t part = span->bytes < count ? span->bytes : count;
            void *to = vq->memory.find(vq->memory.self, span->address, &part);
            if (!to)
                return false;
            memcpy(to, from, (size_t)part);
            from += part;
            count -= (size_t)part;
            span->address += part;
            span->bytes -= part;
        }
    }
    return count == 0;
}

/* Did the index that the guest asked to be told about just go by? */
static bool wanted(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

bool virtqueue_give(struct virtqueue *vq, uint16_t head, uint32_t bytes, bool *interrupt)
{
    struct parts parts;
    *interrupt = false;
    if (head >= vq->size || !find_parts(vq, &parts))
        return false;
    uint32_t *entry = (uint32_t *)(void *)&parts.used[2 + 4 * (vq->next_used % vq->size)];
    __atomic_store_n(&entry[0], VQ_LE32((uint32_t)head), __ATOMIC_RELAXED);
    __atomic_store_n(&entry[1], VQ_LE32(bytes), __ATOMIC_RELAXED);
    store16(&parts.used[1], ++vq->next_used);
    atomic_thread_fence(memory_order_seq_cst);

    *interrupt = vq->features & VQ_F_EVENT_IDX
                     ? wanted(load16(&parts.avail[2 + vq->size]), vq->next_used, vq->signalled)
                     : !(load16(&parts.avail[0]) & NO_INTERRUPT);
    vq->signalled = vq->next_used;
    return true;
}

enum vq_take virtqueue_receive(struct virtqueue *vq, balloon_device *device, uint32_t queue,
                               uint32_t buffers, balloon_time_t now)
{
    struct vq_chain chain;
    enum vq_take take;
    virtqueue_turn(vq, buffers);
    while ((take = virtqueue_take(vq, &chain)) == VQ_CHAIN) {
        balloon_virtio_buffer buffer = {.cookie = chain.head,
                                        .readable = chain.readable,
                                        .readable_count = chain.readable_count,
                                        .writable = chain.writable,
                                        .writable_count = chain.writable_count};
        balloon_status status = balloon_virtio_receive(device, queue, &buffer, now);
        if (status == BALLOON_ERR_BUSY) { /* it stays in the queue until the device was polled */
            vq->next_avail--;
            return VQ_LATER;
        }
        if (status != BALLOON_OK && status != BALLOON_ERR_PROTOCOL)
            return VQ_BROKEN;
    }
    return take;
}
