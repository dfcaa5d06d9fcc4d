/* Split virtqueues in memory shared with a hostile guest. */
#include "vhost_user.h"

#include <endian.h>
#include <stdatomic.h>
#include <unistd.h>

#define F_INDIRECT_DESC ((uint64_t)1 << 28)
#define F_EVENT_IDX     ((uint64_t)1 << 29)

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, AVAIL_NO_INTERRUPT = 1 };

/* The layout of the virtio specification: a descriptor is an address, then length, flags and next
 * in one 64-bit word; avail and used are arrays of 16 and 64-bit entries behind 4 bytes. */
struct descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags, next;
};

/* A ring found in our own address space. */
struct view {
    const uint64_t *desc;
    const uint16_t *avail; /* flags, idx, ring[size], used_event */
    uint16_t *used;        /* flags, idx, ring[size] of 8 bytes, avail_event */
};

static uint16_t load16(const uint16_t *p)
{
    return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t value)
{
    __atomic_store_n(p, htole16(value), __ATOMIC_RELEASE);
}

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

/* Whole structures of a ring, by the front-end's address. */
static void *user_memory(const struct vu_memory *memory, uint64_t address, uint64_t bytes,
                         uint64_t align)
{
    for (size_t i = 0; i < VU_REGIONS; i++) {
        const struct vu_region *region = &memory->region[i];
        uint64_t at = address - region->user;
        if (address < region->user || at >= region->bytes || region->bytes - at < bytes)
            continue;
        uint8_t *host = region->host + at;
        return (uintptr_t)host % align == 0 ? host : NULL;
    }
    return NULL;
}

static bool find(const struct vu_memory *memory, const struct vu_ring *ring, struct view *view)
{
    uint64_t size = ring->size;
    view->desc = user_memory(memory, ring->desc, size * 16, 8);
    view->avail = user_memory(memory, ring->avail, 6 + size * 2, 2);
    view->used = user_memory(memory, ring->used, 6 + size * 8, 4);
    return view->desc && view->avail && view->used;
}

/* Each half of a descriptor is read once: the guest may change it at any moment. */
static struct descriptor read_descriptor(const uint64_t *table, uint64_t index)
{
    uint64_t low = le64toh(__atomic_load_n(&table[index * 2], __ATOMIC_RELAXED));
    uint64_t high = le64toh(__atomic_load_n(&table[index * 2 + 1], __ATOMIC_RELAXED));
    return (struct descriptor){.address = low,
                               .bytes = (uint32_t)high,
                               .flags = (uint16_t)(high >> 32),
                               .next = (uint16_t)(high >> 48)};
}

/* Readable memory must be there, since the device is going to read it; it may span regions. What
 * is writable is passed on as addresses: the device never touches it and judges it itself. */
static bool add_piece(const struct vu_memory *memory, const struct descriptor *d,
                      struct vu_chain *chain)
{
    if (d->flags & DESC_WRITE) {
        if (chain->writable_count == VU_CHAIN_MAX)
            return false;
        chain->writable[chain->writable_count++] =
            (balloon_virtio_span){.address = d->address, .bytes = d->bytes};
        return true;
    }
    for (uint64_t done = 0; done < d->bytes;) {
        uint64_t bytes = d->bytes - done;
        void *base = d->address + done >= d->address
                         ? vu_guest_memory(memory, d->address + done, &bytes)
                         : NULL;
        if (!base || chain->readable_count == VU_CHAIN_MAX)
            return false;
        chain->readable[chain->readable_count++] =
            (balloon_iov){.base = base, .bytes = (size_t)bytes};
        done += bytes;
    }
    return true;
}

static bool walk(const struct vu_session *session, const uint64_t *table, uint64_t entries,
                 struct vu_chain *chain)
{
    bool indirect = false;
    uint64_t at = chain->head;
    for (unsigned steps = 0; steps < VU_CHAIN_MAX; steps++) {
        if (at >= entries)
            return false;
        struct descriptor d = read_descriptor(table, at);
        if (d.flags & DESC_INDIRECT) {
            uint64_t bytes = d.bytes;
            table = vu_guest_memory(&session->memory, d.address, &bytes);
            if (indirect || !(session->features & F_INDIRECT_DESC) || (d.flags & DESC_NEXT) ||
                !table || bytes != d.bytes || d.bytes == 0 || d.bytes % 16 != 0 ||
                (uintptr_t)table % 8 != 0)
                return false;
            indirect = true;
            entries = d.bytes / 16;
            at = 0;
            continue;
        }
        if (!add_piece(&session->memory, &d, chain))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        at = d.next;
    }
    return false; /* a loop, or a chain nobody needs */
}

enum vu_take vu_ring_take(const struct vu_session *session, struct vu_ring *ring,
                          struct vu_chain *chain)
{
    struct view view;
    if (!find(&session->memory, ring, &view))
        return VU_BROKEN;
    uint16_t waiting = (uint16_t)(load16(&view.avail[1]) - ring->last_avail);
    if (waiting == 0 && (session->features & F_EVENT_IDX)) {
        /* Ask for the kick before looking again, or one could fall between. */
        store16(&view.used[2 + 4 * ring->size], ring->last_avail);
        atomic_thread_fence(memory_order_seq_cst);
        waiting = (uint16_t)(load16(&view.avail[1]) - ring->last_avail);
    }
    if (waiting == 0)
        return VU_EMPTY;
    if (waiting > ring->size)
        return VU_BROKEN;
    chain->head = load16(&view.avail[2 + ring->last_avail % ring->size]);
    chain->readable_count = 0;
    chain->writable_count = 0;
    return walk(session, view.desc, ring->size, chain) ? VU_CHAIN : VU_BROKEN;
}

void vu_ring_taken(struct vu_ring *ring)
{
    ring->last_avail++;
}

bool vu_ring_begin(const struct vu_session *session, struct vu_ring *ring)
{
    struct view view;
    if (ring->size == 0 || !ring->addressed || !find(&session->memory, ring, &view))
        return false;
    ring->next_used = load16(&view.used[1]);
    ring->signalled = ring->next_used;
    return true;
}

/* Did the index that the guest asked to be told about just go by? */
static bool wanted(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

bool vu_ring_give(const struct vu_session *session, struct vu_ring *ring, uint16_t head,
                  uint32_t bytes)
{
    struct view view;
    if (!find(&session->memory, ring, &view))
        return false;
    uint32_t entry[2] = {htole32(head), htole32(bytes)};
    uint32_t *place = (uint32_t *)(void *)&view.used[2 + 4 * (ring->next_used % ring->size)];
    place[0] = entry[0];
    place[1] = entry[1];
    store16(&view.used[1], ++ring->next_used);
    atomic_thread_fence(memory_order_seq_cst);

    bool interrupt = !(load16(&view.avail[0]) & AVAIL_NO_INTERRUPT);
    if (session->features & F_EVENT_IDX)
        interrupt = wanted(load16(&view.avail[2 + ring->size]), ring->next_used, ring->signalled);
    ring->signalled = ring->next_used;
    if (interrupt && ring->call >= 0) {
        uint64_t one = 1;
        /* It only fails when the guest has not yet seen very many earlier ones. */
        ssize_t ignored = write(ring->call, &one, sizeof one);
        (void)ignored;
    }
    return true;
}
