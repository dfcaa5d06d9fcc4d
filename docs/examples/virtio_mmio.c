/* virtio over MMIO: virtio specification 1.2, sections 2.1, 2.5, 4.2.2 and 4.2.4. */
#include "virtio_mmio.h"

/* Registers; those of one layout only are marked. */
enum {
    MAGIC = 0x00,
    VERSION = 0x04,
    DEVICE_ID = 0x08,
    VENDOR_ID = 0x0c,
    DEVICE_FEATURES = 0x10,
    DEVICE_FEATURES_SEL = 0x14,
    DRIVER_FEATURES = 0x20,
    DRIVER_FEATURES_SEL = 0x24,
    GUEST_PAGE_SIZE = 0x28, /* legacy */
    QUEUE_SEL = 0x30,
    QUEUE_NUM_MAX = 0x34,
    QUEUE_NUM = 0x38,
    QUEUE_ALIGN = 0x3c, /* legacy */
    QUEUE_PFN = 0x40,   /* legacy */
    QUEUE_READY = 0x44, /* modern, as all that follow but the next four */
    QUEUE_NOTIFY = 0x50,
    INTERRUPT_STATUS = 0x60,
    INTERRUPT_ACK = 0x64,
    STATUS = 0x70,
    QUEUE_DESC = 0x80, /* 64 bits each, in two registers */
    QUEUE_AVAIL = 0x90,
    QUEUE_USED = 0xa0,
    SHM_LENGTH = 0xb0,
    SHM_BASE = 0xb8,
    CONFIG_GENERATION = 0xfc,
    CONFIG = 0x100
};

enum { DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 0x40, DRIVERS_BITS = 0x8f };
enum { INTERRUPT_USED = 1, INTERRUPT_CONFIG = 2, DESC_BYTES = 16 };

void virtio_mmio_reset(struct virtio_mmio *m)
{
    *m = (struct virtio_mmio){.balloon = m->balloon, .memory = m->memory, .legacy = m->legacy};
    balloon_device_reset(m->balloon);
}

bool virtio_mmio_line(const struct virtio_mmio *m)
{
    return m->interrupts != 0;
}

void virtio_mmio_config_changed(struct virtio_mmio *m)
{
    m->generation++;
    if (m->status & DRIVER_OK)
        m->interrupts |= INTERRUPT_CONFIG;
}

/* --- queues ------------------------------------------------------------------------------ */

static uint32_t queue_count(const struct virtio_mmio *m)
{
    return balloon_virtio_queue_count(m->balloon);
}

/* The guest has put nonsense into a queue: it stops until the next reset. */
static void stop(struct virtio_mmio *m, unsigned queue)
{
    m->queue[queue].running = false;
    if (m->legacy)
        return; /* these drivers do not know of it */
    m->status |= NEEDS_RESET;
    virtio_mmio_config_changed(m);
}

static void turn(struct virtio_mmio *m, unsigned queue, balloon_time_t now)
{
    m->again &= ~(1u << queue);
    if (!m->queue[queue].running)
        return;
    enum vq_take end = virtqueue_receive(&m->queue[queue].vq, m->balloon, queue, 0, now);
    if (end == VQ_LATER)
        m->again |= 1u << queue;
    else if (end == VQ_BROKEN)
        stop(m, queue);
}

void virtio_mmio_again(struct virtio_mmio *m, balloon_time_t now)
{
    uint32_t again = m->again;
    for (unsigned i = 0; again >> i; i++)
        if (again >> i & 1)
            turn(m, i, now);
}

void virtio_mmio_give(struct virtio_mmio *m, const balloon_action *action)
{
    bool interrupt;
    uint32_t queue = action->queue, bytes = action->used_bytes;
    uint16_t head = (uint16_t)action->cookie;
    if (!m->queue[queue].running)
        return;
    if (action->used && !virtqueue_write(&m->queue[queue].vq, head, action->used, bytes))
        bytes = 0;
    if (!virtqueue_give(&m->queue[queue].vq, head, bytes, &interrupt))
        stop(m, queue);
    else if (interrupt)
        m->interrupts |= INTERRUPT_USED;
}

/* Where the parts of a legacy queue are follows from one number. */
static void place_legacy(const struct virtio_mmio *m, struct virtio_mmio_queue *q)
{
    uint64_t align = q->align ? q->align : 4096;
    q->vq.desc = (uint64_t)q->pfn * m->page_bytes;
    q->vq.avail = q->vq.desc + (uint64_t)q->vq.size * DESC_BYTES;
    q->vq.used = (q->vq.avail + 6 + (uint64_t)q->vq.size * 2 + align - 1) & ~(align - 1);
}

/* All queues get a turn, since some drivers fill theirs before they say DRIVER_OK. */
static void start(struct virtio_mmio *m, balloon_time_t now)
{
    uint32_t ready = 0;
    for (unsigned i = 0; i < VIRTIO_MMIO_QUEUES; i++) {
        struct virtio_mmio_queue *q = &m->queue[i];
        if (!q->ready)
            continue;
        ready |= 1u << i;
        if (m->legacy)
            place_legacy(m, q);
        q->vq.memory = m->memory;
        q->vq.features = m->features;
        q->running = virtqueue_start(&q->vq);
        if (!q->running)
            stop(m, i);
    }
    if (balloon_virtio_driver_ok(m->balloon, ready, now) != BALLOON_OK)
        return;
    for (unsigned i = 0; i < VIRTIO_MMIO_QUEUES; i++)
        turn(m, i, now);
}

/* --- registers --------------------------------------------------------------------------- */

static uint64_t offered(const struct virtio_mmio *m)
{
    uint64_t features = balloon_virtio_features(m->balloon) | VQ_FEATURES;
    return m->legacy ? (uint32_t)features : features;
}

static bool choose_features(struct virtio_mmio *m)
{
    return m->features & BALLOON_VIRTIO_F_VERSION_1 && !(m->features & ~offered(m)) &&
           balloon_virtio_set_features(m->balloon, m->features) == BALLOON_OK;
}

/* The driver sets bits one after the other; only a reset clears them. */
static void set_status(struct virtio_mmio *m, uint32_t value, balloon_time_t now)
{
    uint32_t added = value & DRIVERS_BITS & ~m->status;
    if (value == 0) {
        virtio_mmio_reset(m);
        return;
    }
    if (added & FEATURES_OK && !choose_features(m))
        added &= ~(uint32_t)FEATURES_OK;
    if (added & DRIVER_OK && !m->legacy && !((m->status | added) & FEATURES_OK))
        added &= ~(uint32_t)DRIVER_OK;
    m->status |= added;
    if (added & DRIVER_OK)
        start(m, now);
}

static void choose(struct virtio_mmio *m, uint32_t value)
{
    if (m->status & (FEATURES_OK | DRIVER_OK) || m->driver_select > 1)
        return;
    unsigned shift = 32 * m->driver_select;
    m->features = (m->features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
    if (!m->legacy)
        return;
    /* A legacy driver cannot be refused, so what it must not choose does not count. */
    m->features &= offered(m);
    if (balloon_virtio_set_features(m->balloon, m->features) != BALLOON_OK)
        m->features = 0;
}

static void set_half(uint64_t *address, uint64_t offset, uint32_t value)
{
    unsigned shift = offset & 4 ? 32 : 0;
    *address = (*address & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

static bool power_of_two(uint32_t value)
{
    return value && (value & (value - 1)) == 0;
}

static void write_queue(struct virtio_mmio *m, uint64_t offset, uint32_t value)
{
    struct virtio_mmio_queue *q = &m->queue[m->queue_select];
    bool go = offset == (m->legacy ? QUEUE_PFN : QUEUE_READY);
    if (go && value == 0)
        q->ready = q->running = false;
    if (q->ready || m->status & DRIVER_OK)
        return; /* nothing changes while it is in use, and no queue comes later */
    if (offset == QUEUE_NUM)
        q->vq.size = value <= VIRTIO_MMIO_QUEUE_SIZE ? value : 0;
    else if (m->legacy && offset == QUEUE_ALIGN && power_of_two(value))
        q->align = value;
    else if (m->legacy && offset == QUEUE_PFN)
        q->pfn = value;
    else if (!m->legacy && (offset & ~4ull) == QUEUE_DESC)
        set_half(&q->vq.desc, offset, value);
    else if (!m->legacy && (offset & ~4ull) == QUEUE_AVAIL)
        set_half(&q->vq.avail, offset, value);
    else if (!m->legacy && (offset & ~4ull) == QUEUE_USED)
        set_half(&q->vq.used, offset, value);
    q->ready = go && value != 0;
}

static void write_register(struct virtio_mmio *m, uint64_t offset, uint32_t value,
                           balloon_time_t now)
{
    switch (offset) {
    case DEVICE_FEATURES_SEL:
        m->device_select = value;
        break;
    case DRIVER_FEATURES_SEL:
        m->driver_select = value;
        break;
    case DRIVER_FEATURES:
        choose(m, value);
        break;
    case GUEST_PAGE_SIZE:
        if (power_of_two(value))
            m->page_bytes = value;
        break;
    case QUEUE_SEL:
        m->queue_select = value;
        break;
    case QUEUE_NOTIFY:
        if (value < VIRTIO_MMIO_QUEUES)
            turn(m, value, now);
        break;
    case INTERRUPT_ACK:
        m->interrupts &= ~value;
        break;
    case STATUS:
        set_status(m, value, now);
        break;
    default:
        if (m->queue_select < queue_count(m))
            write_queue(m, offset, value);
    }
}

static uint32_t read_register(const struct virtio_mmio *m, uint64_t offset)
{
    const struct virtio_mmio_queue *q =
        m->queue_select < queue_count(m) ? &m->queue[m->queue_select] : NULL;
    switch (offset) {
    case MAGIC:
        return 0x74726976;
    case VERSION:
        return m->legacy ? 1 : 2;
    case DEVICE_ID:
        return BALLOON_VIRTIO_DEVICE_ID;
    case VENDOR_ID:
        return 0x4f4c4142;
    case DEVICE_FEATURES:
        return m->device_select > 1 ? 0 : (uint32_t)(offered(m) >> 32 * m->device_select);
    case QUEUE_NUM_MAX:
        return q ? VIRTIO_MMIO_QUEUE_SIZE : 0;
    case QUEUE_PFN:
        return m->legacy && q && q->ready ? q->pfn : 0;
    case QUEUE_READY:
        return !m->legacy && q && q->ready;
    case INTERRUPT_STATUS:
        return m->interrupts;
    case STATUS:
        return m->status;
    case SHM_LENGTH:
    case SHM_LENGTH + 4:
    case SHM_BASE:
    case SHM_BASE + 4:
        return m->legacy ? 0 : UINT32_MAX; /* there is no shared memory */
    case CONFIG_GENERATION:
        return m->legacy ? 0 : m->generation;
    default:
        return 0;
    }
}

/* --- accesses ---------------------------------------------------------------------------- */

uint64_t virtio_mmio_read(const struct virtio_mmio *m, uint64_t offset, unsigned bytes)
{
    uint8_t config[8] = {0};
    uint64_t value = 0;
    if (offset < CONFIG)
        return bytes == 4 ? read_register(m, offset) : 0;
    if (bytes > sizeof config)
        return 0;
    balloon_virtio_config_read(m->balloon, offset - CONFIG, config, bytes);
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)config[i] << 8 * i;
    return value;
}

void virtio_mmio_write(struct virtio_mmio *m, uint64_t offset, uint64_t value, unsigned bytes,
                       balloon_time_t now)
{
    uint8_t config[8];
    if (offset < CONFIG && bytes == 4)
        write_register(m, offset, (uint32_t)value, now);
    if (offset < CONFIG || bytes > sizeof config)
        return;
    for (unsigned i = 0; i < bytes; i++)
        config[i] = (uint8_t)(value >> 8 * i);
    balloon_virtio_config_write(m->balloon, offset - CONFIG, config, bytes);
}
