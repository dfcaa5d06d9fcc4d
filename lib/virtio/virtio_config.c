/* The virtio binding: features, queue numbers, configuration space. */
#include <string.h>

#include "virtio_device_p.h"

enum { OFFSET_TARGET = 0, OFFSET_ACTUAL = 4, OFFSET_HINT = 8, OFFSET_POISON = 12 };

/* --- the table -------------------------------------------------------------------------------- */

static void virtio_reset(balloon_device *d)
{
    struct virtio_state *v = virtio_state(d);

    memset(&v->base, 0, sizeof(v->base));
    v->base.numbering = (uint8_t)v->configured_numbering;
}

/* Saved are the base and, beside VERSION_1, the options, since they must be the same where it is
 * loaded: bit 1 a big-endian guest, bit 2 64-bit page numbers. */
static uint8_t saved_options(const struct virtio_state *v)
{
    return (uint8_t)((unsigned)(v->legacy_endian == BALLOON_BIG_ENDIAN) << 1 |
                     (unsigned)v->windows_pfns << 2);
}

static void virtio_save(const balloon_device *d, balloon_time_t now,
                        uint8_t saved[SAVED_BINDING_BYTES])
{
    const struct virtio_state *v = virtio_const(d);
    struct unbound_state base = v->base;

    (void)now;
    base.version_1 |= saved_options(v);
    memcpy(saved, &base, sizeof(base));
}

static bool virtio_load(balloon_device *d, balloon_time_t now,
                        const uint8_t saved[SAVED_BINDING_BYTES])
{
    struct virtio_state *v = virtio_state(d);
    unsigned options;

    (void)now;
    memcpy(&v->base, saved, sizeof(v->base));
    options = v->base.version_1 & ~1u;
    v->base.version_1 &= 1;
    return v->base.numbering <= NUMBERING_MOST && options == saved_options(v) &&
           !(v->base.version_1 && v->legacy_only);
}

static void virtio_nudge(balloon_device *d)
{
    d->tell_config = true;
}

const struct device_binding bl_virtio_binding = {
    .number = 0,
    .unit = VIRTIO_UNIT,
    .nudge = virtio_nudge,
    .reset = virtio_reset,
    .save = virtio_save,
    .load = virtio_load,
    .leaves = true,
};

/* --- setting up ------------------------------------------------------------------------------- */

balloon_status balloon_virtio_configure(balloon_device *d, const balloon_virtio_options *options)
{
    struct virtio_state *v = virtio_state(d);

    if (!bl_sized(options, sizeof(*options)) ||
        (unsigned)options->numbering > BALLOON_QUEUES_FIXED ||
        (unsigned)options->legacy_endian > BALLOON_BIG_ENDIAN)
        return BALLOON_ERR_INVALID;
    if (d->driver)
        return BALLOON_ERR_STATE;
    if (!virtio_bind(d))
        bl_device_bind(d, &bl_virtio_binding);
    v->configured_numbering = options->numbering;
    v->base.numbering = (uint8_t)options->numbering;
    v->legacy_endian = options->legacy_endian;
    v->windows_pfns = options->windows_pfns;
    v->legacy_only = options->legacy_only;
    return BALLOON_OK;
}

uint64_t balloon_virtio_features(const balloon_device *d)
{
    return d->offered | (virtio_const(d)->legacy_only ? 0 : BALLOON_VIRTIO_F_VERSION_1);
}

balloon_status balloon_virtio_set_features(balloon_device *d, uint64_t chosen)
{
    /* Others use the bits of what is not offered for something else. */
    uint32_t ours = (uint32_t)chosen & (BALLOON_F_ALL | (d->offered & BALLOON_F_EXPERIMENTAL));
    bool version_1 = (chosen & BALLOON_VIRTIO_F_VERSION_1) != 0;
    struct virtio_state *v = virtio_state(d);

    if (!virtio_bind(d))
        return BALLOON_ERR_STATE;
    if ((ours & ~d->offered) || (version_1 && v->legacy_only))
        return BALLOON_ERR_PROTOCOL;
    if (d->driver && (ours != d->chosen || version_1 != v->base.version_1))
        return BALLOON_ERR_STATE;
    d->chosen = ours;
    v->base.version_1 = version_1;
    if (!(ours & BALLOON_F_POISON)) {
        d->poison.written = false;
        d->poison.value = 0;
    }
    return BALLOON_OK;
}

balloon_status balloon_virtio_driver_ok(balloon_device *d, uint32_t enabled, balloon_time_t now)
{
    balloon_virtio_numbering rule;
    uint32_t expected = 0;

    if (d->driver || !virtio_bind(d))
        return BALLOON_ERR_STATE;
    rule = virtio_state(d)->configured_numbering;
    for (uint32_t i = 0; i < BALLOON_QUEUE_KINDS; i++)
        if (balloon_virtio_queue_kind(rule, d->offered, d->chosen, i) != BALLOON_QUEUE_NONE)
            expected |= 1u << i;
    /* A driver may leave queues alone that it has no use for. Only queues that should not exist
     * mean that it counts in another way. */
    if (enabled & ~expected)
        (void)balloon_virtio_find_numbering(d->offered, d->chosen, enabled, &rule);
    virtio_state(d)->base.numbering = (uint8_t)rule;
    bl_device_attach(d, now);
    /* Some drivers look at the target only when they are told to (OpenBSD's viomb, Haiku). */
    d->tell_config = d->target != 0;
    return BALLOON_OK;
}

balloon_virtio_queue balloon_virtio_queue_of(const balloon_device *d, uint32_t index)
{
    balloon_virtio_numbering rule = (balloon_virtio_numbering)virtio_const(d)->base.numbering;

    /* By every rule. */
    if (index <= BALLOON_QUEUE_DEFLATE)
        return (balloon_virtio_queue)index;
    return balloon_virtio_queue_kind(rule, d->offered, d->chosen, index);
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
    put32(space + OFFSET_POISON, d->chosen & BALLOON_F_POISON ? d->poison.value : 0);
    memset(to, 0xff, count);
    if (offset < size)
        memcpy(to, space + offset, count < size - offset ? count : (size_t)(size - offset));
}

static void write_actual(balloon_device *d, size_t byte, uint8_t value)
{
    uint8_t *latch = virtio_state(d)->base.actual;
    uint32_t actual = 0;

    latch[byte] = value;
    if (byte < 3)
        return;
    for (int i = 3; i >= 0; i--)
        actual = actual << 8 | latch[i];
    bl_device_set_actual(d, actual);
}

static void write_poison(balloon_device *d, size_t byte, uint8_t value)
{
    unsigned shift = 8 * (unsigned)byte;

    d->poison.value = (d->poison.value & ~(UINT32_C(0xff) << shift)) | (uint32_t)value << shift;
    d->poison.written = true;
}

/* Some front-ends pass on what the guest writes before its features (QEMU's vhost-user does), so
 * that a pattern is kept until they come. */
static bool may_write_poison(const balloon_device *d)
{
    bool features = d->chosen || virtio_const(d)->base.version_1;

    return !d->driver && (!features || (d->chosen & BALLOON_F_POISON));
}

static bool reads_same(const balloon_device *d, uint64_t offset, uint8_t byte)
{
    uint8_t now;

    balloon_virtio_config_read(d, offset, &now, 1);
    return now == byte;
}

void balloon_virtio_config_write(balloon_device *d, uint64_t offset, const void *bytes,
                                 size_t count)
{
    const uint8_t *from = bytes;
    size_t size = balloon_virtio_config_bytes(d);
    bool bound = virtio_bind(d), sane = bound || !count;

    for (size_t i = 0; bound && i < count; i++) {
        uint64_t at = offset + i < offset ? UINT64_MAX : offset + i;

        if (at >= OFFSET_ACTUAL && at < OFFSET_HINT)
            write_actual(d, (size_t)at - OFFSET_ACTUAL, from[i]);
        else if (at >= OFFSET_POISON && at < size && may_write_poison(d))
            write_poison(d, (size_t)at - OFFSET_POISON, from[i]);
        else
            sane = sane && reads_same(d, at, from[i]);
    }
    if (!sane)
        d->count.protocol_errors++;
}
