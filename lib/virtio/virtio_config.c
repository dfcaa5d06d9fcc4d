/* The virtio binding: features, queue numbers, configuration space. */
#include <string.h>

#include "../device/device_p.h"

enum { OFFSET_TARGET = 0, OFFSET_ACTUAL = 4, OFFSET_HINT = 8, OFFSET_POISON = 12 };

balloon_status balloon_virtio_configure(balloon_device *d, const balloon_virtio_options *options)
{
    if (options->size < sizeof(*options) || (unsigned)options->numbering > BALLOON_QUEUES_FIXED ||
        (unsigned)options->legacy_endian > BALLOON_BIG_ENDIAN)
        return BALLOON_ERR_INVALID;
    if (d->driver)
        return BALLOON_ERR_STATE;
    d->virtio.numbering = d->virtio.configured_numbering = options->numbering;
    d->virtio.legacy_endian = options->legacy_endian;
    d->virtio.windows_pfns = options->windows_pfns;
    d->virtio.legacy_only = options->legacy_only;
    return BALLOON_OK;
}

uint64_t balloon_virtio_features(const balloon_device *d)
{
    return d->offered | (d->virtio.legacy_only ? 0 : BALLOON_VIRTIO_F_VERSION_1);
}

balloon_status balloon_virtio_set_features(balloon_device *d, uint64_t chosen)
{
    uint32_t ours = (uint32_t)chosen & BALLOON_F_ALL;
    bool version_1 = (chosen & BALLOON_VIRTIO_F_VERSION_1) != 0;

    if ((ours & ~d->offered) || (version_1 && d->virtio.legacy_only))
        return BALLOON_ERR_PROTOCOL;
    if (d->driver && (ours != d->chosen || version_1 != d->virtio.version_1))
        return BALLOON_ERR_STATE;
    d->chosen = ours;
    d->virtio.version_1 = version_1;
    return BALLOON_OK;
}

balloon_status balloon_virtio_driver_ok(balloon_device *d, uint32_t enabled, balloon_time_t now)
{
    balloon_virtio_numbering rule = d->virtio.configured_numbering;
    uint32_t expected = 0;

    if (d->driver)
        return BALLOON_ERR_STATE;
    for (uint32_t i = 0; i < BALLOON_QUEUE_KINDS; i++)
        if (balloon_virtio_queue_kind(rule, d->offered, d->chosen, i) != BALLOON_QUEUE_NONE)
            expected |= 1u << i;
    /* A driver may leave queues alone that it has no use for. Only queues that should not exist
     * mean that it counts in another way. */
    if (enabled & ~expected)
        (void)balloon_virtio_find_numbering(d->offered, d->chosen, enabled, &rule);
    d->virtio.numbering = rule;
    bl_device_attach(d, now);
    return BALLOON_OK;
}

balloon_virtio_queue balloon_virtio_queue_of(const balloon_device *d, uint32_t index)
{
    return balloon_virtio_queue_kind(d->virtio.numbering, d->offered, d->chosen, index);
}

uint32_t balloon_virtio_queue_count(const balloon_device *d)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < BALLOON_QUEUE_KINDS; i++)
        if (balloon_virtio_queue_kind(BALLOON_QUEUES_FIXED, d->offered, d->offered, i) !=
            BALLOON_QUEUE_NONE)
            n = i + 1;
    return n;
}

size_t balloon_virtio_config_bytes(const balloon_device *d)
{
    if (d->offered & BALLOON_F_POISON)
        return OFFSET_POISON + 4;
    return d->offered & BALLOON_F_HINTING ? OFFSET_HINT + 4 : OFFSET_ACTUAL + 4;
}

static void put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

void balloon_virtio_config_read(const balloon_device *d, uint64_t offset, void *bytes, size_t count)
{
    uint8_t space[BALLOON_VIRTIO_CONFIG_BYTES], *to = bytes;
    size_t size = balloon_virtio_config_bytes(d);

    put32(space + OFFSET_TARGET, (uint32_t)d->target);
    put32(space + OFFSET_ACTUAL, (uint32_t)d->actual);
    put32(space + OFFSET_HINT, d->hint.id);
    put32(space + OFFSET_POISON, d->virtio.poison);
    memset(to, 0xff, count);
    if (offset < size)
        memcpy(to, space + offset, count < size - offset ? count : (size_t)(size - offset));
}

static void write_actual(balloon_device *d, size_t byte, uint8_t value)
{
    uint32_t actual = 0;

    d->virtio.actual[byte] = value;
    if (byte < 3)
        return;
    for (int i = 3; i >= 0; i--)
        actual = actual << 8 | d->virtio.actual[i];
    bl_device_set_actual(d, actual);
}

static void write_poison(balloon_device *d, size_t byte, uint8_t value)
{
    unsigned shift = 8 * (unsigned)byte;

    d->virtio.poison = (d->virtio.poison & ~(UINT32_C(0xff) << shift)) | (uint32_t)value << shift;
    d->virtio.poison_written = true;
}

void balloon_virtio_config_write(balloon_device *d, uint64_t offset, const void *bytes,
                                 size_t count)
{
    const uint8_t *from = bytes;
    size_t i = 0, size = balloon_virtio_config_bytes(d);
    bool sane = true;

    for (; i < count && offset < size; i++, offset++) {
        if (offset >= OFFSET_ACTUAL && offset < OFFSET_HINT)
            write_actual(d, (size_t)offset - OFFSET_ACTUAL, from[i]);
        else if (offset >= OFFSET_POISON && (d->chosen & BALLOON_F_POISON) && !d->driver)
            write_poison(d, (size_t)offset - OFFSET_POISON, from[i]);
        else
            sane = false;
    }
    if (!sane || i < count)
        d->count.protocol_errors++;
}
