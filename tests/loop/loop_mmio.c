/* virtio over real rings and registers: docs/examples/virtio_mmio.c at the host, mmio_guest.c at
 * the guest. Kicks and interrupts are late, and come only when they were asked for. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "loop.h"
#include "mmio_guest.h"

/* Rings and buffers lie behind all memory that the balloon knows. */
#define WINDOW_AT ((LOOP_PAGES + LOOP_PLUG) * BALLOON_PAGE_SIZE)

static _Alignas(4096) uint8_t window[MMIO_GUEST_PAGES * BALLOON_PAGE_SIZE];
static struct virtio_mmio registers;
static struct mmio_guest guest;
static bool look[MMIO_GUEST_QUEUES]; /* an interrupt told of used buffers */

static void *find(void *self, uint64_t address, uint64_t *bytes)
{
    (void)self;
    if (address < WINDOW_AT || address - WINDOW_AT >= sizeof window)
        return NULL;
    uint64_t left = WINDOW_AT + sizeof window - address;
    *bytes = *bytes < left ? *bytes : left;
    return window + (address - WINDOW_AT);
}

static void write_register(void *self, uint64_t offset, uint32_t value)
{
    virtio_mmio_write(&registers, offset, value, 4, ((struct loop *)self)->now);
}

static void read_config(struct loop *l)
{
    uint8_t config[BALLOON_VIRTIO_CONFIG_BYTES];
    uint64_t generation;

    do {
        generation = virtio_mmio_read(&registers, 0xfc, 4);
        for (unsigned i = 0; i < sizeof config; i++)
            config[i] = (uint8_t)virtio_mmio_read(&registers, 0x100 + i, 1);
    } while (virtio_mmio_read(&registers, 0xfc, 4) != generation);
    balloon_virtio_driver_config(l->driver, config, balloon_virtio_config_bytes(l->device), l->now);
}

static void close_mmio(struct loop *l)
{
    (void)l;
    virtio_mmio_reset(&registers);
    memset(look, 0, sizeof look);
}

static void configure_mmio(struct loop *l)
{
    balloon_virtio_options device = {.size = sizeof device,
                                     .legacy_only = l->capabilities >> 8 & 1};

    LOOP_MUST(l, balloon_virtio_configure(l->device, &device));
    registers.balloon = l->device;
}

static void open_mmio(struct loop *l)
{
    uint64_t chosen, rings = (l->capabilities & 3) << 28;
    balloon_virtio_driver_options driver = {.size = sizeof driver};
    balloon_driver_action a;
    uint32_t queues = 0;

    registers = (struct virtio_mmio){
        .balloon = l->device, .memory = {find, NULL}, .legacy = l->capabilities >> 8 & 1};
    guest = (struct mmio_guest){.mmio = &registers,
                                .write = write_register,
                                .self = l,
                                .window = window,
                                .window_at = WINDOW_AT};
    uint64_t offered = mmio_guest_offered(&guest);
    if (l->capabilities >> 10 & 3)
        driver.experimental = BALLOON_F_EXPERIMENTAL;
    if (balloon_virtio_driver_negotiate(l->driver, offered, &driver, &chosen) != BALLOON_OK ||
        !mmio_guest_choose(&guest, chosen | (rings & offered)))
        loop_fail(l, "cannot negotiate");
    while (balloon_driver_poll(l->driver, l->now, &a))
        if (a.type == BALLOON_DRIVER_CONFIG)
            write_register(l, 0x100 + a.offset, a.value);
        else
            loop_fail(l, "action %d before the start", (int)a.type);
    for (unsigned i = 0; i < MMIO_GUEST_QUEUES; i++) {
        int index = balloon_virtio_queue_index(BALLOON_QUEUES_BY_OFFER, (uint32_t)offered & 0x3f,
                                               (uint32_t)chosen & 0x3f, (balloon_virtio_queue)i);
        queues |= index >= 0 ? 1u << index : 0;
    }
    mmio_guest_set_up(&guest, queues);
    mmio_guest_ready(&guest);
    if (balloon_virtio_driver_start(l->driver, l->now) != BALLOON_OK)
        loop_fail(l, "cannot start");
    read_config(l);
}

static void driver_mmio(struct loop *l, const balloon_driver_action *a)
{
    static uint8_t bytes[4096];
    balloon_virtio_message m;

    if (a->type == BALLOON_DRIVER_CONFIG)
        write_register(l, 0x100 + a->offset, a->value);
    else if (balloon_virtio_driver_write(l->driver, a->channel, bytes, sizeof bytes, &m) !=
                 BALLOON_OK ||
             m.queue >= MMIO_GUEST_QUEUES || (guest.room = m.bitmap_bytes) > 32 ||
             !mmio_guest_put(&guest, m.queue, bytes, m.bytes, m.spans, m.span_count))
        loop_fail(l, "cannot send a message for channel %d", (int)a->channel);
}

static void device_mmio(struct loop *l, const balloon_action *a)
{
    (void)l;
    if (a->type == BALLOON_ACTION_CONFIG_IRQ)
        virtio_mmio_config_changed(&registers);
    else if (a->type == BALLOON_ACTION_ACK)
        virtio_mmio_give(&registers, a);
}

static bool carry_mmio(struct loop *l)
{
    unsigned first = (unsigned)prng_below(&l->prng, MMIO_GUEST_QUEUES);

    if (virtio_mmio_line(&registers) && prng_one_in(&l->prng, 3)) {
        uint32_t interrupts = mmio_guest_interrupts(&guest);
        for (unsigned i = 0; i < MMIO_GUEST_QUEUES; i++)
            look[i] |= interrupts & 1;
        if (interrupts & 2)
            read_config(l);
        return true;
    }
    if (registers.again) {
        virtio_mmio_again(&registers, l->now);
        return true;
    }
    for (unsigned i = 0; i < MMIO_GUEST_QUEUES; i++) {
        unsigned queue = (first + i) % MMIO_GUEST_QUEUES;

        if (guest.queue[queue].kick) {
            mmio_guest_kick(&guest, queue);
            return true;
        }
        if (look[queue]) {
            look[queue] = mmio_guest_take(&guest, queue);
            if (look[queue] && balloon_virtio_driver_used(l->driver, queue, guest.used,
                                                          guest.written, l->now) != BALLOON_OK)
                loop_fail(l, "the driver did not expect an answer on queue %u", queue);
            return true;
        }
    }
    return false;
}

static const struct loop_transport mmio = {
    .name = "mmio",
    .features = BALLOON_F_ALL | BALLOON_F_EXPERIMENTAL,
    .may_deflate = true,
    .configure = configure_mmio,
    .open = open_mmio,
    .close = close_mmio,
    .driver_action = driver_mmio,
    .device_action = device_mmio,
    .carry = carry_mmio,
};

Test(loop, mmio, .timeout = 600)
{
    loop_run(&mmio, 6, loop_steps());
}
