#include "mmio.h"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

enum {
    DEVICE_FEATURES = 0x10,
    DEVICE_FEATURES_SEL = 0x14,
    DRIVER_FEATURES = 0x20,
    DRIVER_FEATURES_SEL = 0x24,
    GUEST_PAGE_SIZE = 0x28,
    QUEUE_SEL = 0x30,
    QUEUE_NUM_MAX = 0x34,
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
    QUEUE_USED = 0xa0,
    CONFIG = 0x100
};

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 0x40 };
enum { NEXT = 1, WRITE = 2, DESCRIPTOR_BYTES = 16, PAGE = 4096, RING_PAGES = 4 };

static void put(struct mmio *m, unsigned at, uint32_t value)
{
    qemu_write(m->qemu, m->qemu->base + at, 4, value);
}

static uint32_t get(struct mmio *m, unsigned at)
{
    return qemu_read(m->qemu, m->qemu->base + at, 4);
}

void mmio_reset(struct mmio *m)
{
    put(m, STATUS, 0);
    qemu_sync(m->qemu);
    memset(m->ring, 0, sizeof m->ring);
}

uint64_t mmio_offered(struct mmio *m)
{
    put(m, DEVICE_FEATURES_SEL, 0);
    uint64_t low = get(m, DEVICE_FEATURES);
    put(m, DEVICE_FEATURES_SEL, 1);
    return low | (uint64_t)get(m, DEVICE_FEATURES) << 32;
}

static void put_address(struct mmio *m, unsigned at, const uint8_t *where)
{
    uint64_t address = (uint64_t)(where - m->qemu->ram);
    put(m, at, (uint32_t)address);
    put(m, at + 4, (uint32_t)(address >> 32));
}

static void set_up_queue(struct mmio *m, unsigned queue, uint16_t size)
{
    struct mmio_ring *r = &m->ring[queue];
    uint32_t page = MMIO_WINDOW_FIRST + queue * RING_PAGES;

    put(m, QUEUE_SEL, queue);
    cr_assert(get(m, QUEUE_NUM_MAX) >= size, "queue %u is missing", queue);
    *r = (struct mmio_ring){.size = size, .descriptors = m->qemu->ram + (size_t)page * PAGE};
    memset(r->descriptors, 0, RING_PAGES * PAGE);
    r->avail = r->descriptors + size * DESCRIPTOR_BYTES;
    /* Where the legacy layout has it: the next page boundary after the available ring. */
    r->used_ring =
        r->descriptors + (size * DESCRIPTOR_BYTES + 6u + 2u * size + PAGE - 1) / PAGE * PAGE;
    put(m, QUEUE_NUM, size);
    if (m->legacy) {
        put(m, QUEUE_ALIGN, PAGE);
        put(m, QUEUE_PFN, page);
        return;
    }
    put_address(m, QUEUE_DESC, r->descriptors);
    put_address(m, QUEUE_AVAIL, r->avail);
    put_address(m, QUEUE_USED, r->used_ring);
    put(m, QUEUE_READY, 1);
}

void mmio_choose(struct mmio *m, uint64_t features)
{
    put(m, STATUS, ACKNOWLEDGE);
    put(m, STATUS, ACKNOWLEDGE | DRIVER);
    put(m, DRIVER_FEATURES_SEL, 0);
    put(m, DRIVER_FEATURES, (uint32_t)features);
    if (m->legacy) {
        put(m, GUEST_PAGE_SIZE, PAGE);
    } else {
        put(m, DRIVER_FEATURES_SEL, 1);
        put(m, DRIVER_FEATURES, (uint32_t)(features >> 32));
        put(m, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    }
    qemu_sync(m->qemu);
}

void mmio_start(struct mmio *m, unsigned queues, uint16_t size)
{
    for (unsigned i = 0; i < MMIO_QUEUES; i++)
        if (queues >> i & 1)
            set_up_queue(m, i, size);
    uint32_t status = get(m, STATUS) | DRIVER_OK;
    put(m, STATUS, status);
    uint32_t got = get(m, STATUS);
    cr_assert(got == status, "QEMU shows status %#x instead of %#x", got, status);
}

static void store(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t load(const volatile uint8_t *at, unsigned bytes)
{
    uint32_t value = 0;
    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

void mmio_send(struct mmio *m, unsigned queue, struct mmio_buffer *buffers, unsigned count)
{
    struct mmio_ring *r = &m->ring[queue];

    for (unsigned b = 0; b < count; b++) {
        struct mmio_buffer *buffer = &buffers[b];
        buffer->head = r->next;
        for (unsigned i = 0; i < buffer->pieces; i++) {
            const struct mmio_piece *piece = &buffer->piece[i];
            uint8_t *at = r->descriptors + r->next * DESCRIPTOR_BYTES;
            bool more = i + 1 < buffer->pieces;

            /* At most one chain is outstanding, and it is the last one, so going round is safe. */
            r->next = (uint16_t)((r->next + 1) % r->size);
            store(at, piece->address, 8);
            store(at + 8, piece->bytes, 4);
            store(at + 12, (more ? NEXT : 0) | (piece->writable ? WRITE : 0), 2);
            store(at + 14, more ? r->next : 0, 2);
        }
        store(r->avail + 4 + 2 * (r->available++ % r->size), buffer->head, 2);
    }
    store(r->avail + 2, r->available, 2);
    put(m, QUEUE_NOTIFY, queue);
    qemu_sync(m->qemu);
}

unsigned mmio_take_used(struct mmio *m, unsigned queue, struct mmio_used *used, unsigned max,
                        unsigned wanted)
{
    struct mmio_ring *r = &m->ring[queue];
    unsigned n = 0;

    for (unsigned tries = 0; r->used_ring && n < max && tries < 50000;) {
        uint16_t index = (uint16_t)load(r->used_ring + 2, 2);
        for (; r->used != index && n < max; n++, r->used++) {
            const uint8_t *entry = r->used_ring + 4 + 8 * (r->used % r->size);
            used[n] = (struct mmio_used){load(entry, 4), load(entry + 4, 4)};
        }
        if (n >= wanted)
            break;
        /* Only the hinting queue is served by another thread. */
        struct timespec pause = {.tv_nsec = 100000};
        nanosleep(&pause, NULL);
        tries++;
    }
    cr_assert(!(get(m, STATUS) & NEEDS_RESET), "QEMU finds queue %u broken", queue);
    return n;
}

uint32_t mmio_interrupts(struct mmio *m)
{
    uint32_t bits = get(m, INTERRUPT_STATUS);
    put(m, INTERRUPT_ACK, bits);
    return bits;
}

uint32_t mmio_config_read(struct mmio *m, unsigned offset, unsigned width)
{
    return qemu_read(m->qemu, m->qemu->base + CONFIG + offset, width);
}

void mmio_config_write(struct mmio *m, unsigned offset, unsigned width, uint32_t value)
{
    qemu_write(m->qemu, m->qemu->base + CONFIG + offset, width, value);
    qemu_sync(m->qemu);
}
