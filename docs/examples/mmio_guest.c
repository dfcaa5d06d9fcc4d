/* The driver's side of virtio over MMIO. Source of the rules: virtio specification 1.2, 3.1
 * (start), 2.7 (queues), 4.2 (registers). */
#include "mmio_guest.h"

#include <string.h>

enum {
    DEVICE_FEATURES = 0x10,
    DEVICE_FEATURES_SEL = 0x14,
    DRIVER_FEATURES = 0x20,
    DRIVER_FEATURES_SEL = 0x24,
    GUEST_PAGE_SIZE = 0x28,
    QUEUE_SEL = 0x30,
    QUEUE_NUM = 0x38,
    QUEUE_ALIGN = 0x3c,
    QUEUE_PFN = 0x40,
    QUEUE_READY = 0x44,
    QUEUE_NOTIFY = 0x50,
    INTERRUPT_STATUS = 0x60,
    INTERRUPT_ACK = 0x64,
    STATUS = 0x70,
    QUEUE_DESC = 0x80,
    QUEUE_AVAIL = 0x90,
    QUEUE_USED = 0xa0
};

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4, PAGE = 4096, ROOM = 32, RING = MMIO_GUEST_RING };

static uint32_t get(const struct mmio_guest *g, uint32_t at)
{
    return (uint32_t)virtio_mmio_read(g->mmio, at, 4);
}

static void put(const struct mmio_guest *g, uint32_t at, uint64_t value)
{
    g->write(g->self, at, (uint32_t)value);
}

uint64_t mmio_guest_offered(struct mmio_guest *g)
{
    put(g, STATUS, 0);
    put(g, STATUS, ACKNOWLEDGE);
    put(g, STATUS, ACKNOWLEDGE | DRIVER);
    put(g, DEVICE_FEATURES_SEL, 1);
    uint64_t high = get(g, DEVICE_FEATURES);
    put(g, DEVICE_FEATURES_SEL, 0);
    return high << 32 | get(g, DEVICE_FEATURES);
}

bool mmio_guest_choose(struct mmio_guest *g, uint64_t features)
{
    g->features = features;
    put(g, DRIVER_FEATURES_SEL, 0);
    put(g, DRIVER_FEATURES, features);
    if (g->mmio->legacy)
        return true;
    put(g, DRIVER_FEATURES_SEL, 1);
    put(g, DRIVER_FEATURES, features >> 32);
    put(g, STATUS, get(g, STATUS) | FEATURES_OK);
    return get(g, STATUS) & FEATURES_OK;
}

/* --- queues ------------------------------------------------------------------------------ */

static uint64_t place(unsigned queue, unsigned page)
{
    return ((uint64_t)queue * (2 + RING) + page) * PAGE;
}

static void put_address(const struct mmio_guest *g, uint32_t at, uint64_t address)
{
    put(g, at, address);
    put(g, at + 4, address >> 32);
}

static void set_up_queue(struct mmio_guest *g, unsigned number)
{
    struct mmio_guest_queue *q = &g->queue[number];
    uint64_t first = place(number, 0), used = place(number, 1);
    memset(g->window + first, 0, 2 * PAGE);
    *q = (struct mmio_guest_queue){.desc = (void *)(g->window + first),
                                   .avail = (void *)(g->window + first + RING * 16),
                                   .used = (void *)(g->window + used)};
    for (uint16_t i = 0; i < RING; i++)
        q->free[q->free_count++] = i;
    put(g, QUEUE_SEL, number);
    put(g, QUEUE_NUM, RING);
    if (g->mmio->legacy) {
        put(g, GUEST_PAGE_SIZE, PAGE);
        put(g, QUEUE_ALIGN, PAGE);
        put(g, QUEUE_PFN, (g->window_at + first) / PAGE);
        return;
    }
    put_address(g, QUEUE_DESC, g->window_at + first);
    put_address(g, QUEUE_AVAIL, g->window_at + first + RING * 16);
    put_address(g, QUEUE_USED, g->window_at + used);
    put(g, QUEUE_READY, 1);
}

void mmio_guest_set_up(struct mmio_guest *g, uint32_t queues)
{
    for (unsigned i = 0; i < MMIO_GUEST_QUEUES; i++)
        if (queues >> i & 1)
            set_up_queue(g, i);
}

void mmio_guest_ready(struct mmio_guest *g)
{
    put(g, STATUS, get(g, STATUS) | DRIVER_OK);
}

static uint16_t load16(const uint16_t *p)
{
    return VQ_LE16(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static void store16(uint16_t *p, uint16_t value)
{
    __atomic_store_n(p, VQ_LE16(value), __ATOMIC_RELEASE);
}

/* A descriptor of a table, and which one comes after it, if any. */
static void describe(uint64_t *table, uint16_t i, uint64_t address, uint64_t bytes, unsigned flags,
                     uint16_t next)
{
    table[i * 2] = VQ_LE64(address);
    table[i * 2 + 1] = VQ_LE64((uint32_t)bytes | (uint64_t)flags << 32 | (uint64_t)next << 48);
}

bool mmio_guest_put(struct mmio_guest *g, unsigned queue, const void *bytes, size_t count,
                    const balloon_range *ranges, size_t range_count)
{
    struct mmio_guest_queue *q = &g->queue[queue];
    size_t pieces = range_count + (count > 0) + (g->room > 0);
    size_t room_at = (count + 15) / 16 * 16;
    bool indirect = pieces > 1 && g->features & VQ_F_INDIRECT_DESC;
    size_t needed = indirect ? 1 : pieces;
    if (count > PAGE || g->room > ROOM || (g->room > 0 && room_at > PAGE - ROOM) || pieces > RING ||
        needed > q->free_count || needed == 0)
        return false;
    const uint16_t *free = q->free + q->free_count - needed;
    uint16_t head = free[0];
    uint8_t *page = g->window + place(queue, 2u + head);
    uint64_t page_at = g->window_at + place(queue, 2u + head);
    uint64_t *table = q->desc;
    if (indirect) { /* in the page of this descriptor, behind the bytes; or it has room for one */
        size_t at = room_at + (g->room > 0 ? ROOM : 0);
        if (at + pieces * 16 > PAGE)
            return false;
        table = (uint64_t *)(void *)(page + at);
        describe(q->desc, head, page_at + at, pieces * 16, INDIRECT, 0);
    }
    if (count > 0)
        memcpy(page, bytes, count);
    for (size_t i = 0; i < pieces; i++) {
        uint16_t here = indirect ? (uint16_t)i : free[i];
        uint16_t next = i + 1 == pieces ? 0 : indirect ? (uint16_t)(i + 1) : free[i + 1];
        unsigned more = i + 1 < pieces ? NEXT : 0;
        if (i == 0 && count > 0) {
            describe(table, here, page_at, count, more, next);
        } else if (i - (count > 0) == range_count) {
            memset(page + room_at, 0, ROOM);
            describe(table, here, page_at + room_at, g->room, WRITE, next);
        } else {
            const balloon_range *r = &ranges[i - (count > 0)];
            describe(table, here, r->first * PAGE, r->count * PAGE, WRITE | more, next);
        }
    }
    q->free_count = (uint16_t)(q->free_count - needed);
    q->chain[head] = (uint16_t)needed;
    q->room_at[head] = (uint16_t)room_at;
    store16(&q->avail[2 + q->sent % RING], head);
    store16(&q->avail[1], ++q->sent);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (g->features & VQ_F_EVENT_IDX)
        q->kick |= load16(&q->used[2 + 4 * RING]) == (uint16_t)(q->sent - 1);
    else
        q->kick |= !(load16(&q->used[0]) & 1);
    return true;
}

void mmio_guest_kick(struct mmio_guest *g, unsigned queue)
{
    bool kick = g->queue[queue].kick;
    g->queue[queue].kick = false;
    if (kick)
        put(g, QUEUE_NOTIFY, queue);
}

bool mmio_guest_take(struct mmio_guest *g, unsigned queue)
{
    struct mmio_guest_queue *q = &g->queue[queue];
    if (!q->used)
        return false;
    if (load16(&q->used[1]) == q->taken) {
        store16(&q->avail[2 + RING], q->taken); /* used_event; then look again */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (load16(&q->used[1]) == q->taken)
            return false;
    }
    const uint16_t *entry = &q->used[2 + 4 * (q->taken++ % RING)];
    uint16_t head = load16(entry) % RING;
    g->used = load16(entry + 2) | (uint32_t)load16(entry + 3) << 16;
    g->written = g->window + place(queue, 2u + head) + q->room_at[head];
    for (uint16_t i = 0, at = head; i < q->chain[head]; i++) {
        q->free[q->free_count++] = at;
        at = (uint16_t)(VQ_LE64(q->desc[at * 2 + 1]) >> 48);
    }
    q->chain[head] = 0;
    return true;
}

uint32_t mmio_guest_interrupts(struct mmio_guest *g)
{
    uint32_t interrupts = get(g, INTERRUPT_STATUS);
    put(g, INTERRUPT_ACK, interrupts);
    return interrupts;
}
