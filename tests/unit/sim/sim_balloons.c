/* Simulated guests with real balloons: a device and a driver each, joined by the bytes of virtio.
 * Pages are owned one by one, so none is lost, lent twice or discarded while in use. */
#include <criterion/criterion.h>

#include <balloon/device.h>
#include <balloon/driver.h>
#include <balloon/virtio.h>

#include "sim_lab.h"

enum { CHUNK = 256, RUN_BATCH = 64 };

enum owner { OWNER_GUEST, OWNER_BALLOON };

/* What an actuator has for a guest; after it its pages' owners, the driver and the device. */
struct balloon {
    balloon_device *device;
    balloon_driver *driver;
    const balloon_sample *stats; /* what the guest answers when it is asked */
    uint64_t pages, lent, cursor, discarded;
    uint8_t owner[];
};

static uint64_t moves, samples, discards; /* over all of them: something must happen */

static balloon_device_config device_config(const balloon_region *ram)
{
    return (balloon_device_config){.size = sizeof(balloon_device_config),
                                   .regions = ram,
                                   .region_count = 1,
                                   .features = BALLOON_F_STATS | BALLOON_F_MUST_TELL,
                                   .run_batch = RUN_BATCH};
}

static balloon_driver_config driver_config(const balloon_region *ram)
{
    return (balloon_driver_config){.size = sizeof(balloon_driver_config),
                                   .regions = ram,
                                   .region_count = 1,
                                   .floor_pages = 1,
                                   .chunk_pages = CHUNK,
                                   .stats = true};
}

static size_t aligned(size_t at, size_t align)
{
    return (at + align - 1) & ~(align - 1);
}

/* Where driver and device lie; what may be needed for their alignment is part of it. */
static size_t balloon_bytes(uint64_t ram)
{
    balloon_region region = {0, ram, 1};
    balloon_device_config device = device_config(&region);
    balloon_driver_config driver = driver_config(&region);
    balloon_layout a, b;

    if (balloon_driver_layout(&driver, &a) != BALLOON_OK ||
        balloon_device_layout(&device, &b) != BALLOON_OK)
        return SIZE_MAX;
    return sizeof(struct balloon) + (size_t)ram + a.bytes + a.align + b.bytes + b.align;
}

/* --- both ends -------------------------------------------------------------------------------- */

static void lend(struct balloon *b, const balloon_driver_action *a, balloon_time_t now)
{
    balloon_range runs[CHUNK];
    size_t count = 0;

    for (uint64_t i = 0; i < a->pages && count < a->max_runs && count < CHUNK && b->lent < b->pages;
         i++) {
        while (b->owner[b->cursor] != OWNER_GUEST)
            b->cursor = (b->cursor + 1) % b->pages;
        b->owner[b->cursor] = OWNER_BALLOON;
        b->lent++;
        if (count && runs[count - 1].first + runs[count - 1].count == b->cursor)
            runs[count - 1].count++;
        else
            runs[count++] = (balloon_range){b->cursor, 1};
    }
    cr_assert_eq(balloon_driver_give(b->driver, a->channel, runs, count, now), BALLOON_OK);
}

static void take_back(struct balloon *b, balloon_range run)
{
    for (uint64_t i = 0; i < run.count; i++) {
        cr_assert_eq(b->owner[run.first + i], OWNER_BALLOON, "a page comes back that was not lent");
        b->owner[run.first + i] = OWNER_GUEST;
        b->lent--;
    }
}

static void discard(struct balloon *b, const balloon_action *a)
{
    for (uint32_t i = 0; i < a->run_count; i++) {
        for (uint64_t k = 0; k < a->runs[i].range.count; k++)
            cr_assert_eq(b->owner[a->runs[i].range.first + k], OWNER_BALLOON,
                         "a page in use is discarded");
        b->discarded += a->runs[i].range.count;
    }
}

static void read_config(struct balloon *b, balloon_time_t now)
{
    uint8_t config[BALLOON_VIRTIO_CONFIG_BYTES];

    balloon_virtio_config_read(b->device, 0, config, sizeof(config));
    balloon_virtio_driver_config(b->driver, config, sizeof(config), now);
}

static void serve_device(struct balloon *b, balloon_time_t now)
{
    balloon_action a;

    while (balloon_device_poll(b->device, now, &a)) {
        if (a.type == BALLOON_ACTION_DISCARD)
            discard(b, &a);
        else if (a.type == BALLOON_ACTION_ACK)
            cr_assert_eq(balloon_virtio_driver_acked(b->driver, a.queue, now), BALLOON_OK);
        else if (a.type == BALLOON_ACTION_CONFIG_IRQ)
            read_config(b, now);
    }
}

static void send(struct balloon *b, balloon_driver_channel channel, balloon_time_t now)
{
    uint8_t bytes[4 * CHUNK];
    balloon_virtio_message message;

    cr_assert_eq(balloon_virtio_driver_write(b->driver, channel, bytes, sizeof(bytes), &message),
                 BALLOON_OK);
    balloon_iov piece = {bytes, message.bytes};
    balloon_virtio_buffer buffer = {.readable = &piece, .readable_count = 1};

    cr_assert_eq(balloon_virtio_receive(b->device, message.queue, &buffer, now), BALLOON_OK);
    serve_device(b, now);
}

static void serve(struct balloon *b, balloon_time_t now)
{
    balloon_driver_action a;
    balloon_sample nothing = {0};

    serve_device(b, now);
    while (balloon_driver_poll(b->driver, now, &a)) {
        if (a.type == BALLOON_DRIVER_ALLOC) {
            lend(b, &a, now);
        } else if (a.type == BALLOON_DRIVER_FREE) {
            for (uint32_t i = 0; i < a.run_count; i++)
                take_back(b, a.runs[i]);
        } else if (a.type == BALLOON_DRIVER_SEND) {
            send(b, a.channel, now);
        } else if (a.type == BALLOON_DRIVER_STATS) {
            cr_assert_eq(balloon_driver_give_stats(b->driver, b->stats ? b->stats : &nothing, now),
                         BALLOON_OK);
        } else if (a.type == BALLOON_DRIVER_CONFIG) {
            uint8_t value[4] = {(uint8_t)a.value, (uint8_t)(a.value >> 8), (uint8_t)(a.value >> 16),
                                (uint8_t)(a.value >> 24)};

            balloon_virtio_config_write(b->device, a.offset, value, sizeof(value));
        }
    }
    serve_device(b, now);
}

/* Each page is the guest's or in the balloon, and both ends and the owners agree. */
static void check(const struct balloon *b)
{
    balloon_driver_status guest;
    balloon_device_status host;
    const char *why = "";

    /* These look at each page. */
    if (moves % 256 == 0) {
        cr_assert(balloon_driver_check(b->driver, &why), "%s", why);
        cr_assert(balloon_device_check(b->device, &why), "%s", why);
    }
    balloon_driver_status_get(b->driver, &guest);
    balloon_device_status_get(b->device, &host);
    cr_assert_eq(guest.held + guest.on_way_in, b->lent);
    cr_assert_eq(host.held, guest.held);
}

/* --- the actuator ----------------------------------------------------------------------------- */

static void balloon_start(void *state, uint64_t ram, balloon_time_t now)
{
    struct balloon *b = state;
    balloon_region region = {0, ram, 1};
    balloon_device_config device = device_config(&region);
    balloon_driver_config driver = driver_config(&region);
    balloon_layout a, d;
    const balloon_virtio_driver_options all = {.size = sizeof(all),
                                               .stat_tags = BALLOON_VIRTIO_STAT_TAGS};
    uint64_t features;
    uintptr_t at;

    *b = (struct balloon){.pages = ram};
    memset(b->owner, OWNER_GUEST, (size_t)ram);
    cr_assert_eq(balloon_driver_layout(&driver, &a), BALLOON_OK);
    cr_assert_eq(balloon_device_layout(&device, &d), BALLOON_OK);
    at = aligned((uintptr_t)(b->owner + ram), a.align);
    cr_assert_eq(balloon_driver_init((void *)at, a.bytes, &driver, &b->driver), BALLOON_OK);
    at = aligned(at + a.bytes, d.align);
    cr_assert_eq(balloon_device_init((void *)at, d.bytes, &device, &b->device), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_negotiate(b->driver, balloon_virtio_features(b->device),
                                                 &all, &features),
                 BALLOON_OK);
    cr_assert_eq(balloon_virtio_set_features(b->device, features), BALLOON_OK);
    serve(b, now);
    cr_assert_eq(balloon_virtio_driver_ok(b->device, 0, now), BALLOON_OK);
    cr_assert_eq(balloon_virtio_driver_start(b->driver, now), BALLOON_OK);
    read_config(b, now);
    serve(b, now);
}

static uint64_t balloon_move(void *state, uint64_t size, balloon_time_t now)
{
    struct balloon *b = state;

    cr_assert_eq(balloon_device_set_target(b->device, b->pages - size, now), BALLOON_OK);
    serve(b, now);
    check(b);
    moves++;
    discards += b->discarded;
    b->discarded = 0;
    return b->pages - b->lent;
}

/* Statistics take the way over the queue, too. */
static void balloon_stats(void *state, balloon_sample *sample, balloon_time_t now)
{
    struct balloon *b = state;
    balloon_sample sent = *sample;

    b->stats = &sent;
    cr_assert_eq(balloon_device_request_stats(b->device, now), BALLOON_OK);
    serve(b, now);
    b->stats = NULL;
    cr_assert(balloon_device_sample(b->device, sample));
    cr_assert_eq(sample->present, sent.present);
    cr_assert_arr_eq(sample->value, sent.value, sizeof(sent.value));
    cr_assert_eq(sample->time, now);
    samples++;
}

static const balloon_sim_actuator balloons = {sizeof(balloons), "virtio",     balloon_bytes,
                                              balloon_start,    balloon_move, balloon_stats};

/* --- what comes of it ------------------------------------------------------------------------- */

/* 64, 128 and 256 MiB in a pool of 240. After a minute the largest needs all of its memory, for a
 * minute; then it is rebooted. */
static struct lab *surge(void)
{
    static const uint64_t ram[] = {64, 128, 256};
    struct lab *lab = lab_new(3);

    for (uint32_t i = 0; i < 3; i++) {
        balloon_sim_guest *g = &lab->guests[i];

        g->max = ram[i] * BALLOON_SIM_MIB;
        g->min = g->max / 8;
        g->start = g->max / 2;
        g->swap = g->max;
        g->refill = 8;
        g->sends = BALLOON_SIM_SENDS_LINUX;
        lab->phases[i][0].pages = g->max / 3;
    }
    lab->phases[2][1] = lab->phases[2][0];
    lab->phases[2][1].at_ms = 60000;
    lab->phases[2][1].pages = lab->guests[2].max;
    lab->phases[2][2] = lab->phases[2][0];
    lab->phases[2][2].at_ms = 120000;
    lab->guests[2].phase_count = 3;
    lab_event(lab, 150000, BALLOON_SIM_REBOOT, 2, 0);
    lab->scenario.pages = 300 * BALLOON_SIM_MIB;
    lab->scenario.reserve = 0;
    lab->scenario.duration_ms = 200000;
    lab->config.pool = (balloon_pool_config){.policy = &balloon_policy_waterline};
    return lab;
}

Test(sim_balloons, follow_as_sizes_do, .timeout = 300)
{
    struct lab *plain = surge(), *real = surge();
    balloon_sim_result a, b;
    uint64_t small = 0, large = 0;

    real->config.actuator = &balloons;
    for (uint64_t at = 0; at <= 200000; at += 1000) {
        lab_run(plain, at);
        lab_run(real, at);
        for (uint32_t i = 0; i < 3; i++) {
            balloon_sim_guest_status x = lab_guest(plain, i), y = lab_guest(real, i);
            uint64_t far = x.size > y.size ? x.size - y.size : y.size - x.size;

            /* A device rounds to 64 KiB, and small differences make a decision earlier or later. */
            cr_expect_leq(far, x.size / 8 + 64, "guest %u at %llu ms: %llu and %llu", i,
                          (unsigned long long)at, (unsigned long long)x.size,
                          (unsigned long long)y.size);
        }
        if (at == 55000)
            small = lab_guest(real, 2).size;
        if (at == 110000)
            large = lab_guest(real, 2).size;
    }
    cr_assert_gt(large, small + 50 * BALLOON_SIM_MIB);
    a = lab_result(plain);
    b = lab_result(real);
    cr_assert_eq(b.unsafe_growth + b.unsafe_targets, 0);
    cr_assert_gt(a.cost, 0);
    cr_assert_geq(b.cost, a.cost - a.cost / 50);
    cr_assert_leq(b.cost, a.cost + a.cost / 50);
    cr_assert_gt(moves, 100);
    cr_assert_gt(samples, 500);
    cr_assert_gt(discards, 100 * BALLOON_SIM_MIB);
    lab_free(plain);
    lab_free(real);
}
