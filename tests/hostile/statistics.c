/* The statistics queue of a guest that floods it, keeps silent, or answers out of turn. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)

static const balloon_region ram[] = {{0, 1024, 1}};

static balloon_device *make(void **memory)
{
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_STATS,
                                    .stats_timeout = 100 * MS};
    balloon_device *device = rig_make(&config, memory);
    rig_start(device, BALLOON_F_STATS, 0);
    return device;
}

static balloon_status send(balloon_device *device, uint64_t cookie, uint64_t free_bytes,
                           balloon_time_t now)
{
    balloon_sample sample = {0};
    uint8_t bytes[10];
    balloon_sample_set(&sample, BALLOON_STAT_FREE, free_bytes);
    balloon_virtio_write_stats(&sample, BALLOON_LITTLE_ENDIAN, bytes, sizeof(bytes));
    return rig_send(device, BALLOON_QUEUE_STATS, cookie, bytes, sizeof(bytes), now);
}

static balloon_device_counters counters(const balloon_device *device)
{
    balloon_device_counters c;
    balloon_device_counters_get(device, &c);
    return c;
}

/* The next action must be this one; 0 means none. Returns its cookie. */
static uint64_t next(balloon_device *device, balloon_time_t now, int type)
{
    balloon_action action = {0};
    cr_assert_eq(balloon_device_poll(device, now, &action), type != 0);
    cr_assert_eq((int)action.type, type);
    cr_assert_eq(action.used_bytes, 0);
    return action.cookie;
}

static uint64_t value(const balloon_device *device)
{
    balloon_sample sample;
    uint64_t free_bytes = 0;
    cr_assert(balloon_device_sample(device, &sample));
    cr_assert(balloon_sample_get(&sample, BALLOON_STAT_FREE, &free_bytes));
    return free_bytes;
}

Test(hostile_statistics, a_flood)
{
    void *memory;
    balloon_device *device = make(&memory);
    (void)!send(device, 0, 1, 0);
    rig_drain(device, 0);
    for (uint64_t i = 1; i <= 20000; i++) {
        balloon_status status = send(device, i, i, i);
        cr_assert(status == BALLOON_OK || status == BALLOON_ERR_PROTOCOL);
        /* The older one goes back, the newer one stays. */
        cr_assert_eq(next(device, i, BALLOON_ACTION_ACK), i - 1);
        next(device, i, 0);
    }
    cr_assert_eq(value(device), 1, "statistics nobody asked for were read");
    cr_assert_eq(counters(device).stats_unasked, 20000);
    cr_assert_eq(counters(device).acks, 20000);
    cr_assert_eq(counters(device).buffers, 20001);
    free(memory);
}

/* Buffers of any length, with any tags, whole or cut: nothing but whole known records counts. */
Test(hostile_statistics, random_contents)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 6000);
    void *memory;
    balloon_device *device = make(&memory);
    (void)!send(device, 0, 1, 0);
    rig_drain(device, 0);
    for (uint64_t i = 1; i < 5000; i++) {
        uint8_t bytes[400];
        size_t count = (size_t)prng_below(&prng, sizeof(bytes)), records = count / 10;
        balloon_sample want = {0}, got;
        for (size_t j = 0; j < count; j++)
            bytes[j] = (uint8_t)prng_next(&prng);
        for (size_t r = 0; r < records; r++) {
            uint64_t number = 0;
            if (prng_one_in(&prng, 2)) {
                bytes[10 * r] = (uint8_t)prng_below(&prng, 18);
                bytes[10 * r + 1] = 0;
            }
            for (size_t j = 8; j-- > 0;)
                number = number << 8 | bytes[10 * r + 2 + j];
            uint32_t tag = bytes[10 * r] | (uint32_t)bytes[10 * r + 1] << 8;
            if (tag >= BALLOON_VIRTIO_STAT_TAGS || number >> 63)
                tag = BALLOON_STAT_SLOTS;
            balloon_sample_set(&want, (balloon_stat)tag, number);
        }
        uint64_t tails = counters(device).tail_bytes;
        cr_assert_eq(balloon_device_request_stats(device, i), BALLOON_OK);
        cr_assert_eq(next(device, i, BALLOON_ACTION_ACK), i - 1);
        (void)!rig_send(device, BALLOON_QUEUE_STATS, i, bytes, count, i);
        next(device, i, BALLOON_ACTION_STATS);
        cr_assert(balloon_device_sample(device, &got));
        cr_assert_eq(got.present, want.present);
        cr_assert_eq(got.ignored, want.ignored);
        cr_assert_eq(got.time, i);
        for (int s = 0; s < BALLOON_STAT_COUNT; s++)
            cr_assert_eq(got.value[s], want.value[s]);
        cr_assert_eq(counters(device).tail_bytes - tails, count % 10);
    }
    free(memory);
}

Test(hostile_statistics, silence_is_told_once_and_a_late_answer_counts)
{
    void *memory;
    balloon_device *device = make(&memory);
    (void)!send(device, 1, 1, 0);
    rig_drain(device, 0);
    cr_assert_eq(balloon_device_request_stats(device, 5 * MS), BALLOON_OK);
    cr_assert_eq(next(device, 5 * MS, BALLOON_ACTION_ACK), 1);
    cr_assert_eq(balloon_device_request_stats(device, 6 * MS), BALLOON_ERR_BUSY);
    cr_assert_eq(balloon_device_deadline(device), 105 * MS);
    next(device, 105 * MS - 1, 0);
    next(device, 105 * MS, BALLOON_ACTION_STATS_LATE);
    next(device, 106 * MS, 0);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    balloon_device_status status;
    balloon_device_status_get(device, &status);
    cr_assert(status.stats_late);
    cr_assert_eq(value(device), 1);
    cr_assert_eq(send(device, 2, 2, 107 * MS), BALLOON_OK);
    next(device, 107 * MS, BALLOON_ACTION_STATS);
    cr_assert_eq(value(device), 2);
    balloon_device_status_get(device, &status);
    cr_assert_not(status.stats_late);
    free(memory);
}

/* A guest that never sends a buffer at all, and a period. */
Test(hostile_statistics, regular_requests_to_a_silent_guest)
{
    void *memory;
    balloon_device *device = make(&memory);
    balloon_device_set_stats_period(device, 500 * MS, 0);
    balloon_time_t now = 0;
    uint64_t late = 0;
    for (int i = 0; i < 200; i++) {
        balloon_action action;
        while (balloon_device_poll(device, now, &action)) {
            cr_assert_eq(action.type, BALLOON_ACTION_STATS_LATE);
            late++;
        }
        cr_assert_gt(balloon_device_deadline(device), now);
        now = balloon_device_deadline(device);
    }
    cr_assert_eq(late, now / (500 * MS) + (now % (500 * MS) > 100 * MS), "%" PRIu64 " at %" PRIu64,
                 late, now / MS);
    balloon_device_set_stats_period(device, 0, now);
    rig_drain(device, now + 1000 * MS);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    free(memory);
}

/* With a guest that answers, the period is kept and each answer told. */
Test(hostile_statistics, regular_requests)
{
    void *memory;
    balloon_device *device = make(&memory);
    (void)!send(device, 0, 0, 0);
    rig_drain(device, 0);
    balloon_device_set_stats_period(device, 500 * MS, MS);
    for (uint64_t i = 1; i < 50; i++) {
        balloon_time_t now = balloon_device_deadline(device);
        cr_assert_eq(now, MS + (i - 1) * 500 * MS);
        cr_assert_eq(next(device, now, BALLOON_ACTION_ACK), i - 1);
        cr_assert_eq(send(device, i, i, now + MS), BALLOON_OK);
        next(device, now + MS, BALLOON_ACTION_STATS);
        next(device, now + MS, 0);
        cr_assert_eq(value(device), i);
    }
    free(memory);
}
