/* virtio: five queues. Buffers of one queue keep their order; those of different queues need not,
 * and neither need their answers. Configuration interrupts may be late, and several become one. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"

#define RING 8

/* Where the room for bits is, for the device: no RAM, since nobody looks. */
#define BITS_AT UINT64_C(0x80000000)

struct buffer {
    uint64_t cookie;
    size_t bytes, span_count, bitmap_bytes;
    uint8_t *readable;
    balloon_virtio_span spans[32];
};

/* One queue: buffers on their way to the device, and answers on their way back. */
static struct ring {
    struct buffer out[RING];
    unsigned count, answers;
    struct answer {
        uint32_t bytes;
        uint8_t bits[32];
    } in[RING];
} rings[BALLOON_QUEUE_KINDS];
static bool irq;
static uint64_t next_cookie;

static void drop(struct ring *r)
{
    for (unsigned i = 0; i < r->count; i++)
        free(r->out[i].readable);
    memset(r, 0, sizeof(*r));
}

static void close_virtio(struct loop *l)
{
    (void)l;
    for (unsigned i = 0; i < BALLOON_QUEUE_KINDS; i++)
        drop(&rings[i]);
    irq = false;
}

static void read_config(struct loop *l)
{
    uint8_t config[BALLOON_VIRTIO_CONFIG_BYTES];

    balloon_virtio_config_read(l->device, 0, config, sizeof(config));
    balloon_virtio_driver_config(l->driver, config, balloon_virtio_config_bytes(l->device), l->now);
}

static void config_action(struct loop *l, const balloon_driver_action *a)
{
    uint8_t bytes[4];

    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(a->value >> 8 * i);
    balloon_virtio_config_write(l->device, a->offset, bytes, 4);
}

static void configure_virtio(struct loop *l)
{
    balloon_virtio_options device = {
        .size = sizeof(device),
        .numbering = (balloon_virtio_numbering)(l->capabilities % 3),
        .legacy_only = l->capabilities >> 8 & 1,
        .legacy_endian = (balloon_endian)(l->capabilities >> 9 & 1),
    };

    LOOP_MUST(l, balloon_virtio_configure(l->device, &device));
}

static void open_virtio(struct loop *l)
{
    balloon_virtio_driver_options driver = {.size = sizeof(driver)};

    /* Most guests believe their hosts. */
    if (l->capabilities >> 10 & 3)
        driver.experimental = BALLOON_F_EXPERIMENTAL;
    uint64_t chosen;
    balloon_driver_action a;

    driver.numbering = (balloon_virtio_numbering)(l->capabilities % 3);
    driver.legacy_endian = (balloon_endian)(l->capabilities >> 9 & 1);
    if (balloon_virtio_driver_negotiate(l->driver, balloon_virtio_features(l->device), &driver,
                                        &chosen) != BALLOON_OK ||
        balloon_virtio_set_features(l->device, chosen) != BALLOON_OK)
        loop_fail(l, "cannot negotiate");
    while (balloon_driver_poll(l->driver, l->now, &a))
        if (a.type == BALLOON_DRIVER_CONFIG)
            config_action(l, &a);
        else
            loop_fail(l, "action %d before the start", (int)a.type);
    if (balloon_virtio_driver_ok(l->device, 0, l->now) != BALLOON_OK ||
        balloon_virtio_driver_start(l->driver, l->now) != BALLOON_OK)
        loop_fail(l, "cannot start");
    read_config(l);
}

static void send(struct loop *l, const balloon_driver_action *a)
{
    balloon_virtio_message m;
    uint8_t *bytes = malloc(a->bytes ? a->bytes : 1);

    if (balloon_virtio_driver_write(l->driver, a->channel, bytes, a->bytes, &m) != BALLOON_OK ||
        m.queue >= BALLOON_QUEUE_KINDS || rings[m.queue].count == RING) {
        loop_fail(l, "cannot write a message for channel %d", (int)a->channel);
        free(bytes);
        return;
    }
    struct buffer *b = &rings[m.queue].out[rings[m.queue].count++];

    *b = (struct buffer){.cookie = next_cookie++, .bytes = m.bytes, .readable = bytes};
    b->span_count = m.span_count;
    b->bitmap_bytes = m.bitmap_bytes;
    if (m.bitmap_bytes)
        b->spans[b->span_count++] = (balloon_virtio_span){BITS_AT, m.bitmap_bytes};
    for (uint32_t i = 0; i < m.span_count; i++)
        b->spans[i] = (balloon_virtio_span){m.spans[i].first * BALLOON_PAGE_SIZE,
                                            m.spans[i].count * BALLOON_PAGE_SIZE};
}

static void driver_virtio(struct loop *l, const balloon_driver_action *a)
{
    if (a->type == BALLOON_DRIVER_CONFIG)
        config_action(l, a);
    else
        send(l, a);
}

static void device_virtio(struct loop *l, const balloon_action *a)
{
    struct ring *r = &rings[a->queue];

    if (a->type == BALLOON_ACTION_CONFIG_IRQ) {
        irq = true;
    } else if (a->type == BALLOON_ACTION_ACK && r->answers < RING) {
        struct answer *in = &r->in[r->answers++];

        *in = (struct answer){.bytes = a->used_bytes};
        if (a->used && a->used_bytes <= sizeof(in->bits))
            memcpy(in->bits, a->used, a->used_bytes);
    } else if (a->type == BALLOON_ACTION_ACK) {
        loop_fail(l, "more answers than questions");
    }
}

/* A hint is free memory again when its round is over, whether or not the host has seen it, and so
 * may be unplugged by then. */
static bool outdated(const struct loop *l, const struct buffer *b)
{
    for (size_t i = 0; i < b->span_count && !b->bitmap_bytes; i++)
        if (b->spans[i].address + b->spans[i].bytes > (LOOP_PAGES + l->plugged) * BALLOON_PAGE_SIZE)
            return true;
    return false;
}

/* The buffer arrives at the device, in one piece or in two. */
static void arrive(struct loop *l, unsigned queue)
{
    struct ring *r = &rings[queue];
    struct buffer b = r->out[0];
    size_t cut = (size_t)prng_below(&l->prng, b.bytes + 1);
    balloon_iov iov[2] = {{b.readable, cut}, {b.readable + cut, b.bytes - cut}};
    balloon_virtio_buffer buffer = {.cookie = b.cookie,
                                    .readable = iov,
                                    .readable_count = b.bytes ? 2 : 0,
                                    .writable = b.spans,
                                    .writable_count = b.span_count};
    balloon_status status = balloon_virtio_receive(l->device, queue, &buffer, l->now);

    if (status != BALLOON_OK && !(status == BALLOON_ERR_PROTOCOL && outdated(l, &b)))
        loop_fail(l, "the device refuses a buffer of queue %u: %s", queue,
                  balloon_status_text(status));
    free(b.readable);
    memmove(r->out, r->out + 1, --r->count * sizeof(b));
}

static bool carry_virtio(struct loop *l)
{
    unsigned first = (unsigned)prng_below(&l->prng, BALLOON_QUEUE_KINDS);

    if (irq && prng_one_in(&l->prng, 3)) {
        irq = false;
        read_config(l);
        return true;
    }
    for (unsigned i = 0; i < BALLOON_QUEUE_KINDS; i++) {
        unsigned queue = (first + i) % BALLOON_QUEUE_KINDS;
        struct ring *r = &rings[queue];

        if (r->answers && (!r->count || prng_one_in(&l->prng, 2))) {
            struct answer in = r->in[0];

            memmove(r->in, r->in + 1, --r->answers * sizeof(in));
            if (balloon_virtio_driver_used(l->driver, queue, in.bytes, in.bits, l->now) !=
                BALLOON_OK)
                loop_fail(l, "the driver did not expect an answer on queue %u", queue);
            return true;
        }
        if (r->count) {
            arrive(l, queue);
            return true;
        }
    }
    return false;
}

static const struct loop_transport virtio = {
    .name = "virtio",
    .features = BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL,
    .may_deflate = true,
    .configure = configure_virtio,
    .open = open_virtio,
    .close = close_virtio,
    .driver_action = driver_virtio,
    .device_action = device_virtio,
    .carry = carry_virtio,
};

Test(loop, virtio, .timeout = 600)
{
    loop_run(&virtio, 1, loop_steps());
}
