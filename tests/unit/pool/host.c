/* What is passed on between a device and the pool. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/host.h>

#include "pool_rig.h"
#include "rig.h"

#define RAM UINT64_C(262144)
#define S   RIG_SECOND

static balloon_device *device;
static void *memory;
static uint64_t guest;

static void make(void)
{
    balloon_region ram = {0, RAM, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &ram, .region_count = 1};

    pool_rig_make(1000000, NULL);
    device = rig_make(&config, &memory);
    guest = pool_rig_add(0, RAM, RAM);
}

static void drop(void)
{
    free(memory);
    pool_rig_drop();
}

TestSuite(host, .init = make, .fini = drop);

static void feed(balloon_time_t now)
{
    cr_assert_eq(balloon_host_feed(pool_rig.pool, guest, device, now), BALLOON_OK);
}

static balloon_device_status status(void)
{
    balloon_device_status is;

    balloon_device_status_get(device, &is);
    return is;
}

Test(host, feeds_the_size_that_was_counted)
{
    static const uint32_t pfns[] = {5, 6, 7, 5};

    rig_start(device, BALLOON_F_DEFAULT, 0);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 4, 0), BALLOON_OK);
    rig_drain(device, 0);
    feed(S);
    cr_assert_eq(pool_rig_guest(guest).config.current, RAM - 3);
    cr_assert_eq(pool_rig_guest(guest).owed, 3, "discards are gathered");
    rig_drain(device, S);
    feed(S);
    cr_assert_eq(pool_rig_guest(guest).config.current, RAM - 3);
    cr_assert_eq(pool_rig_guest(guest).owed, 0);
    cr_assert_eq(pool_rig_guest(guest).flags, BALLOON_GUEST_STALE);
}

Test(host, feeds_whether_the_guest_can_be_changed)
{
    feed(S);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_guest(guest).flags, BALLOON_GUEST_NO_DRIVER | BALLOON_GUEST_STALE);
    rig_start(device, 0, S);
    feed(2 * S);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_guest(guest).flags, BALLOON_GUEST_STALE);
    balloon_device_inhibit(device);
    feed(3 * S);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_guest(guest).flags, BALLOON_GUEST_PINNED | BALLOON_GUEST_STALE);
}

Test(host, feeds_the_newest_statistics_once)
{
    /* Tag 6, available: 4096 * 1000 bytes. */
    static const uint8_t record[10] = {6, 0, 0x00, 0x80, 0x3e, 0, 0, 0, 0, 0};

    rig_start(device, BALLOON_F_DEFAULT, 0);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, record, sizeof(record), S), BALLOON_OK);
    rig_drain(device, S);
    feed(2 * S);
    feed(3 * S);
    cr_assert_eq(pool_rig_counters().samples, 1);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_seen(guest)->available, 1000);
    cr_assert_eq(pool_rig_seen(guest)->age, 2 * S);
}

Test(host, feeds_existing_guests_only)
{
    cr_assert_eq(balloon_host_feed(pool_rig.pool, guest + 1, device, S), BALLOON_ERR_INVALID);
}

Test(host, applies_a_size_as_its_balloon)
{
    balloon_change change = {.id = guest, .target = RAM - 4096};

    rig_start(device, BALLOON_F_DEFAULT, 0);
    cr_assert_eq(balloon_host_apply(device, &change, S), BALLOON_OK);
    cr_assert_eq(status().target, 4096);
    change.target = RAM - 4095;
    cr_assert_eq(balloon_host_apply(device, &change, S), BALLOON_OK);
    cr_assert_eq(status().target, 4080);
    change.target = 0;
    cr_assert_eq(balloon_host_apply(device, &change, S), BALLOON_OK);
    cr_assert_eq(status().target, RAM);
    change.target = RAM + 1;
    cr_assert_eq(balloon_host_apply(device, &change, S), BALLOON_OK);
    cr_assert_eq(status().target, 0);
}

Test(host, tells_what_a_device_refuses)
{
    balloon_region high = {UINT64_C(1) << 32, 4096, 1};
    balloon_device_config config = {.size = sizeof(config), .regions = &high, .region_count = 1};
    balloon_change change = {.target = 0, .emergency = 1};
    void *other_memory;
    balloon_device *other = rig_make(&config, &other_memory);

    cr_assert_eq(balloon_host_apply(other, &change, S), BALLOON_ERR_UNSUPPORTED);
    free(other_memory);
}

/* Discards are gathered for 100 ms, but not in an emergency. */
Test(host, does_not_gather_in_an_emergency)
{
    static const uint32_t pfns[] = {5};
    balloon_change change = {.id = guest, .target = RAM / 2};

    rig_start(device, BALLOON_F_MUST_TELL, 0);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 1, S), BALLOON_OK);
    cr_assert_eq(balloon_host_apply(device, &change, S), BALLOON_OK);
    rig_drain(device, S);
    cr_assert_eq(status().ready, 1);
    change.emergency = 1;
    cr_assert_eq(balloon_host_apply(device, &change, S), BALLOON_OK);
    rig_drain(device, S);
    cr_assert_eq(status().ready, 0);
}

/* A guest that follows: pool and device agree at the end. */
Test(host, brings_a_guest_to_its_size)
{
    balloon_change change;
    uint32_t next = 0;

    rig_start(device, BALLOON_F_DEFAULT, 0);
    pool_rig_wish(guest, RAM - 1000, BALLOON_WHY_SHARE, 0);
    for (balloon_time_t now = S; now < 20 * S; now += S) {
        feed(now);
        pool_rig_sample(guest, now, BALLOON_STAT_FREE, UINT64_C(1), -1);
        balloon_pool_decide(pool_rig.pool, now);
        while (balloon_pool_next(pool_rig.pool, &change))
            cr_assert_eq(balloon_host_apply(device, &change, now), BALLOON_OK);
        while (rig_read_config(device, 0) > next) {
            cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, &next, 1, now),
                         BALLOON_OK);
            rig_drain(device, now);
            next++;
        }
    }
    cr_assert_eq(next, 992);
    cr_assert_eq(pool_rig_guest(guest).config.current, RAM - 992);
    cr_assert_eq(pool_rig_guest(guest).flags, 0);
    cr_assert_eq(pool_rig_guest(guest).flagged, 0);
}
