/* Can guests talk a pool into promising memory that has not come back? Devices of all kinds below
 * one pool, guests that send what they like, discards that fail or are inhibited, and beside them
 * a plain record of what was discarded. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/host.h>
#include <balloon/range.h>

#include "pool_rig.h"
#include "prng.h"
#include "rig.h"

#define RAM    UINT64_C(4096)
#define GUESTS 6
#define POOL   (GUESTS * RAM * 2 / 3)
#define S      RIG_SECOND

struct victim {
    balloon_device *device;
    void *memory;
    uint64_t id, target;
    uint64_t granule;
    bool back[RAM]; /* discarded, and not deflated since */
};

static struct victim victims[GUESTS];
static struct prng prng;

static void make(void)
{
    static const uint64_t granules[] = {1, 16, 512};

    pool_rig_make(POOL, NULL);
    prng = prng_start(prng_seed(), 77);
    for (unsigned i = 0; i < GUESTS; i++) {
        struct victim *v = &victims[i];
        balloon_region ram = {0, RAM, granules[i / 2]};
        balloon_device_config config = {.size = sizeof(config),
                                        .regions = &ram,
                                        .region_count = 1,
                                        .run_batch = 4,
                                        .gather_pages = 1024};

        v->granule = ram.granule;
        v->device = rig_make(&config, &v->memory);
        rig_start(v->device, BALLOON_F_REPORTING | (i % 2 ? BALLOON_F_MUST_TELL : 0), 0);
        v->id = pool_rig_add(0, RAM, POOL / GUESTS - POOL / 64);
        v->target = RAM;
    }
}

static void drop(void)
{
    for (unsigned i = 0; i < GUESTS; i++)
        free(victims[i].memory);
    pool_rig_drop();
}

TestSuite(promises, .init = make, .fini = drop);

static bool is_held(const struct victim *v, uint64_t page)
{
    return balloon_tracker_count(balloon_device_tracker(v->device), BALLOON_SET_HELD,
                                 (balloon_range){page, 1}) != 0;
}

/* Do what the device says; one discard in `fails` fails, in part. */
static void run(struct victim *v, balloon_time_t now, uint32_t fails)
{
    balloon_action action;

    while (balloon_device_poll(v->device, now, &action)) {
        for (uint32_t i = 0; i < action.run_count; i++) {
            balloon_run part = action.runs[i];
            bool failed = fails && prng_one_in(&prng, fails);

            if (failed) {
                uint64_t skip = prng_below(&prng, part.range.count / v->granule) * v->granule;

                part.range.first += skip;
                part.range.count -= skip;
            }
            for (uint64_t p = action.runs[i].range.first; p < balloon_range_end(part.range); p++)
                v->back[p] = is_held(v, p) && !(failed && p >= part.range.first);
            if (failed)
                balloon_device_discard_failed(v->device, &part, now);
        }
    }
}

static void send(struct victim *v, balloon_virtio_queue kind, uint64_t first, uint64_t step,
                 uint64_t count, balloon_time_t now)
{
    uint32_t pfns[512];

    count = count < 512 ? count : 512;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t page = (first + i * step) % RAM;

        pfns[i] = (uint32_t)page;
        if (kind == BALLOON_QUEUE_DEFLATE)
            v->back[page] = false;
    }
    (void)!rig_send_pfns(v->device, kind, 1, pfns, count, now);
}

/* What guests have or may take. */
static uint64_t promised(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < GUESTS; i++) {
        const struct victim *v = &victims[i];
        balloon_device_status at;
        uint64_t back = 0, own, all;

        balloon_device_status_get(v->device, &at);
        for (uint64_t p = 0; p < RAM; p++)
            back += v->back[p];
        cr_assert_leq(at.returned, back, "guest %u", i);
        own = RAM - at.held;
        all = (own > v->target ? own : v->target) + at.held - back;
        /* No guest can have more than its RAM. */
        sum += all < RAM ? all : RAM;
    }
    return sum;
}

static void decide(balloon_time_t now)
{
    uint64_t before, after, budget;

    for (unsigned i = 0; i < GUESTS; i++)
        cr_assert_eq(balloon_host_feed(pool_rig.pool, victims[i].id, victims[i].device, now),
                     BALLOON_OK);
    before = promised();
    pool_rig_decide(now);
    for (unsigned i = 0; i < GUESTS; i++)
        victims[i].target = pool_rig_guest(victims[i].id).target;
    for (uint32_t i = 0; i < pool_rig.change_count; i++)
        cr_assert_eq(balloon_host_apply(victims[pool_rig.changes[i].id - 1].device,
                                        &pool_rig.changes[i], now),
                     BALLOON_OK);
    after = promised();
    budget = POOL - pool_rig_status().reserve / 2;
    cr_assert_leq(after, before > budget ? before : budget, "%lu after %lu, budget %lu",
                  (unsigned long)after, (unsigned long)before, (unsigned long)budget);
}

/* Half a guest in the balloon, and nothing of it discarded. */
static void check_that_nothing_is_promised(struct victim *v, uint64_t step)
{
    balloon_device_status at;

    for (unsigned i = 0; i < GUESTS; i++)
        if (&victims[i] != v) {
            send(&victims[i], BALLOON_QUEUE_INFLATE, 0, 1, 512, S);
            send(&victims[i], BALLOON_QUEUE_INFLATE, 512, 1, 512, S);
            run(&victims[i], S, 0);
            run(&victims[i], 2 * S, 0);
        }
    decide(2 * S);
    for (uint64_t i = 0; i < 4; i++)
        send(v, BALLOON_QUEUE_INFLATE, step == 1 ? 512 * i : 1024 * i, step, 512, 2 * S);
    run(v, 2 * S, 0);
    run(v, 3 * S, 0);
    balloon_device_status_get(v->device, &at);
    cr_assert_eq(at.held, RAM / 2);
    cr_assert_eq(at.returned, 0);
    for (unsigned i = 0; i < GUESTS; i++)
        pool_rig_wish(victims[i].id, &victims[i] == v ? RAM / 2 : RAM, BALLOON_WHY_SHARE, 0);
    for (balloon_time_t now = 3 * S; now < 10 * S; now += S)
        decide(now);
    cr_assert_eq(pool_rig_guest(v->id).config.current, RAM / 2);
    cr_assert_eq(pool_rig_status().owed, RAM / 2);
}

Test(promises, not_for_every_second_page)
{
    for (unsigned i = 4; i < GUESTS; i++) {
        if (i > 4) {
            drop();
            memset(victims, 0, sizeof(victims));
            make();
        }
        check_that_nothing_is_promised(&victims[i], 2);
    }
}

Test(promises, not_for_inhibited_memory)
{
    balloon_device_inhibit(victims[1].device);
    check_that_nothing_is_promised(&victims[1], 1);
}

/* It does what it was asked for, and its host has granules of 2 MiB. */
Test(promises, an_obedient_guest_counts_as_one)
{
    struct victim *v = &victims[5];

    for (unsigned i = 0; i < GUESTS; i++)
        pool_rig_wish(victims[i].id, RAM / 2, BALLOON_WHY_SHARE, 0);
    for (balloon_time_t now = 1; now < 60; now++) {
        if (now < 5)
            send(v, BALLOON_QUEUE_INFLATE, 1024 * now, 2, 512, now * S);
        run(v, now * S, 0);
        decide(now * S);
    }
    cr_assert_eq(pool_rig_guest(v->id).config.current, RAM / 2);
    cr_assert_eq(pool_rig_guest(v->id).flags & BALLOON_GUEST_INACTIVE, 0);
    cr_assert_eq(pool_rig_guest(v->id).flagged, 0);
}

static void anything(struct victim *v, balloon_time_t now)
{
    uint64_t first = prng_below(&prng, RAM), step = prng_one_in(&prng, 3) ? 2 : 1;
    uint64_t count = prng_below(&prng, prng_one_in(&prng, 2) ? 513 : 32);
    balloon_virtio_span span = {first / 512 * 512 << 12, 512 << 12};

    if (prng_one_in(&prng, 2)) {
        first = first / 512 * 512;
        count = 512;
    }
    switch (prng_below(&prng, 12)) {
    case 0:
        balloon_device_inhibit(v->device);
        break;
    case 1:
    case 2:
        (void)!balloon_device_release(v->device);
        break;
    case 3:
        (void)!rig_send_spans(v->device, BALLOON_QUEUE_REPORT, 1, &span, 1, now);
        break;
    case 4:
    case 5:
        send(v, BALLOON_QUEUE_DEFLATE, first, step, count, now);
        break;
    case 6:
        balloon_device_flush(v->device);
        break;
    case 7:
        if (prng_one_in(&prng, 10)) {
            balloon_device_reset(v->device);
            memset(v->back, 0, sizeof(v->back));
            rig_start(v->device, prng_one_in(&prng, 2) ? BALLOON_F_MUST_TELL : 0, now);
        }
        break;
    default:
        send(v, BALLOON_QUEUE_INFLATE, first, step, count, now);
    }
    if (!prng_one_in(&prng, 3))
        run(v, now, 20);
}

Test(promises, hold_whatever_guests_do)
{
    uint64_t granted = 0;

    for (balloon_time_t now = 1; now < 3000; now++) {
        for (unsigned i = 0; i < GUESTS; i++) {
            anything(&victims[i], now * S / 4);
            if (prng_one_in(&prng, 4))
                pool_rig_wish(victims[i].id, prng_below(&prng, RAM + 1), BALLOON_WHY_SHARE, 0);
        }
        decide(now * S / 4);
        for (uint32_t i = 0; i < pool_rig.change_count; i++)
            granted += pool_rig.changes[i].target > RAM / 2;
    }
    cr_assert_gt(granted, 100);
}
