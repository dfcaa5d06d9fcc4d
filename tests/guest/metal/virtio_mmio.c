/* virtio over memory-mapped registers, in both layouts, with one buffer at a time in each queue and
 * no interrupts. */
#include "metal.h"

#include <balloon/virtio.h>

/* Where the microvm machine has its slots. */
enum { SLOTS = 24, SLOT_BYTES = 0x200 };
#define FIRST_SLOT UINT32_C(0xfeb00000)

enum {
    MAGIC = 0x00,
    VERSION = 0x04,
    DEVICE_ID = 0x08,
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
    STATUS = 0x70,
    QUEUE_DESC = 0x80,
    QUEUE_AVAIL = 0x90,
    QUEUE_USED = 0xa0,
    CONFIG = 0x100
};

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { MAGIC_VALUE = 0x74726976, LEGACY = 1, MODERN = 2, PAGE = 4096 };
enum { NEXT = 1, WRITE = 2, NO_INTERRUPT = 1, SIZE_LIMIT = 128 };

struct descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags, next;
};

struct available {
    uint16_t flags, index, entry[SIZE_LIMIT];
};

struct used {
    uint16_t flags, index;
    struct {
        uint32_t head, bytes;
    } entry[SIZE_LIMIT];
};

/* Descriptors, then the available ring; on the next page the used ring. So the legacy layout has
 * it, for all sizes up to our limit. */
static _Alignas(PAGE) uint8_t ring[BALLOON_QUEUE_KINDS][2 * PAGE];

static struct queue {
    struct descriptor *descriptor;
    struct available *available;
    volatile struct used *used;
    uint16_t size, sent, back;
} queues[BALLOON_QUEUE_KINDS];

static uint32_t base, version;

static uint32_t get(uint32_t at)
{
    return *(volatile uint32_t *)(uintptr_t)(base + at);
}

static void put(uint32_t at, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)(base + at) = value;
}

uint32_t virtio_find(void)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        base = FIRST_SLOT + i * SLOT_BYTES;
        if (get(MAGIC) == MAGIC_VALUE && get(DEVICE_ID) == BALLOON_VIRTIO_DEVICE_ID) {
            version = get(VERSION);
            put(STATUS, 0);
            put(STATUS, ACKNOWLEDGE);
            put(STATUS, ACKNOWLEDGE | DRIVER);
            return version == LEGACY || version == MODERN ? version : 0;
        }
    }
    return 0;
}

uint64_t virtio_offered(void)
{
    put(DEVICE_FEATURES_SEL, 0);
    uint64_t low = get(DEVICE_FEATURES);
    put(DEVICE_FEATURES_SEL, 1);
    return low | (uint64_t)get(DEVICE_FEATURES) << 32;
}

bool virtio_choose(uint64_t features)
{
    put(DRIVER_FEATURES_SEL, 0);
    put(DRIVER_FEATURES, (uint32_t)features);
    if (version == LEGACY) {
        put(GUEST_PAGE_SIZE, PAGE);
        return features >> 32 == 0;
    }
    put(DRIVER_FEATURES_SEL, 1);
    put(DRIVER_FEATURES, (uint32_t)(features >> 32));
    put(STATUS, get(STATUS) | FEATURES_OK);
    return (get(STATUS) & FEATURES_OK) != 0;
}

static void put_address(uint32_t at, const volatile void *what)
{
    put(at, (uint32_t)(uintptr_t)what);
    put(at + 4, (uint32_t)((uint64_t)(uintptr_t)what >> 32));
}

uint32_t virtio_start_queue(unsigned number)
{
    struct queue *q = &queues[number];

    put(QUEUE_SEL, number);
    uint32_t size = get(QUEUE_NUM_MAX);
    q->size = (uint16_t)(size < SIZE_LIMIT ? size : SIZE_LIMIT);
    if (!q->size)
        return 0;
    q->descriptor = (struct descriptor *)ring[number];
    q->available = (struct available *)(q->descriptor + q->size);
    q->used = (volatile struct used *)(ring[number] + PAGE);
    q->available->flags = NO_INTERRUPT;
    put(QUEUE_NUM, q->size);
    if (version == LEGACY) {
        put(QUEUE_ALIGN, PAGE);
        put(QUEUE_PFN, (uint32_t)((uintptr_t)q->descriptor / PAGE));
    } else {
        put_address(QUEUE_DESC, q->descriptor);
        put_address(QUEUE_AVAIL, q->available);
        put_address(QUEUE_USED, q->used);
        put(QUEUE_READY, 1);
    }
    return q->size;
}

void virtio_ready(void)
{
    put(STATUS, get(STATUS) | DRIVER_OK);
}

void virtio_config_read(uint32_t *words, size_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += 4)
        words[at / 4] = get(CONFIG + at);
}

void virtio_config_write(uint32_t offset, uint32_t value)
{
    put(CONFIG + offset, value);
}

static void describe(struct queue *q, size_t i, uint64_t address, uint64_t bytes, bool writable,
                     bool more)
{
    q->descriptor[i] = (struct descriptor){
        .address = address,
        .bytes = (uint32_t)bytes,
        .flags = (uint16_t)((writable ? WRITE : 0) | (more ? NEXT : 0)),
        .next = (uint16_t)(more ? i + 1 : 0),
    };
}

static void send_described(unsigned number)
{
    struct queue *q = &queues[number];

    q->available->entry[q->sent % q->size] = 0;
    __atomic_store_n(&q->available->index, ++q->sent, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    put(QUEUE_NOTIFY, number);
}

void virtio_send(unsigned queue, const void *bytes, size_t count, size_t room)
{
    describe(&queues[queue], 0, (uintptr_t)bytes, count, false, room > 0);
    if (room)
        describe(&queues[queue], 1, (uintptr_t)bytes + count, room, true, false);
    send_described(queue);
}

void virtio_send_ranges(unsigned queue, const balloon_range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        describe(&queues[queue], i, ranges[i].first << BALLOON_PAGE_SHIFT,
                 ranges[i].count << BALLOON_PAGE_SHIFT, true, i + 1 < count);
    send_described(queue);
}

bool virtio_came_back(unsigned queue, uint32_t *bytes)
{
    struct queue *q = &queues[queue];

    if (!q->size || q->used->index == q->back)
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    *bytes = q->used->entry[q->back % q->size].bytes;
    q->back++;
    return true;
}
