/* Gathered pages leave when there are enough of them, or when the first has waited long enough,
 * whichever comes first, and the device says when. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)

static const balloon_region ram[] = {{0, 65536, 4}};

static balloon_device *make(void **memory)
{
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 1,
                                    .gather_pages = 100,
                                    .gather_delay = 10 * MS};
    balloon_device *device = rig_make(&config, memory);
    rig_start(device, BALLOON_F_MUST_TELL, 0);
    return device;
}

static void inflate(balloon_device *device, uint32_t first, uint32_t count, balloon_time_t now)
{
    uint32_t pfns[256];
    for (uint32_t i = 0; i < count; i++)
        pfns[i] = first + i;
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, count, now), BALLOON_OK);
}

/* Polls; returns the pages discarded. */
static uint64_t poll_all(balloon_device *device, balloon_time_t now)
{
    balloon_action action;
    uint64_t pages = 0;
    while (balloon_device_poll(device, now, &action))
        for (uint32_t i = 0; i < action.run_count; i++)
            pages += action.runs[i].range.count;
    return pages;
}

Test(gather_window, by_time)
{
    void *memory;
    balloon_device *device = make(&memory);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    inflate(device, 0, 2, MS);
    cr_assert_eq(poll_all(device, MS), 0);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER, "half a granule waits");
    inflate(device, 2, 6, 2 * MS);
    cr_assert_eq(poll_all(device, 2 * MS), 0);
    cr_assert_eq(balloon_device_deadline(device), 12 * MS);
    inflate(device, 8, 8, 7 * MS);
    cr_assert_eq(poll_all(device, 7 * MS), 0);
    cr_assert_eq(balloon_device_deadline(device), 12 * MS, "more pages do not put it off");
    cr_assert_eq(poll_all(device, 12 * MS - 1), 0);
    cr_assert_eq(poll_all(device, 12 * MS), 16);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    inflate(device, 100, 4, 20 * MS);
    cr_assert_eq(poll_all(device, 20 * MS), 0);
    cr_assert_eq(balloon_device_deadline(device), 30 * MS);
    free(memory);
}

Test(gather_window, by_pages)
{
    void *memory;
    balloon_device *device = make(&memory);
    inflate(device, 0, 99, MS);
    cr_assert_eq(poll_all(device, MS), 0);
    inflate(device, 99, 1, MS);
    cr_assert_eq(poll_all(device, MS), 100);
    inflate(device, 200, 80, MS);
    cr_assert_eq(poll_all(device, MS), 0);
    balloon_device_flush(device);
    cr_assert_eq(poll_all(device, MS), 80);
    free(memory);
}

/* A trickle for a long time: no page waits for longer than the delay. */
Test(gather_window, no_page_waits_too_long)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 8000);
    void *memory;
    balloon_device *device = make(&memory);
    balloon_time_t now = 0, oldest = BALLOON_TIME_NEVER;
    uint64_t given_back = 0;
    for (uint32_t page = 0; page + 256 < 65536;) {
        now += prng_below(&prng, 4 * MS);
        balloon_time_t deadline = balloon_device_deadline(device);
        if (deadline <= now) { /* As an event loop would. */
            given_back += poll_all(device, deadline);
            cr_assert_eq(balloon_tracker_ready(balloon_device_tracker(device)), 0);
            oldest = BALLOON_TIME_NEVER;
            now = deadline;
        }
        uint32_t count = 4 * (1 + (uint32_t)prng_below(&prng, 8));
        inflate(device, page, count, now);
        page += count + 4 * (uint32_t)prng_below(&prng, 2);
        if (oldest == BALLOON_TIME_NEVER)
            oldest = now;
        given_back += poll_all(device, now);
        if (!balloon_tracker_ready(balloon_device_tracker(device))) {
            oldest = BALLOON_TIME_NEVER;
            continue;
        }
        cr_assert_leq(balloon_device_deadline(device), oldest + 10 * MS, "BALLOON_SEED=%" PRIu64,
                      seed);
        cr_assert_lt(balloon_tracker_ready(balloon_device_tracker(device)), 100);
    }
    given_back += poll_all(device, now + 10 * MS);
    cr_assert_eq(given_back, balloon_tracker_held(balloon_device_tracker(device)));
    free(memory);
}

/* While discards are inhibited nothing leaves and nothing spins; at the release all of it does. */
Test(gather_window, inhibited)
{
    void *memory;
    balloon_device *device = make(&memory);
    balloon_device_inhibit(device);
    balloon_device_inhibit(device);
    inflate(device, 0, 200, MS);
    cr_assert_eq(poll_all(device, MS), 0);
    balloon_device_flush(device);
    cr_assert_eq(poll_all(device, 100 * MS), 0);
    cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    cr_assert_eq(poll_all(device, 200 * MS), 0);
    cr_assert_eq(balloon_device_release(device), BALLOON_OK);
    cr_assert_leq(balloon_device_deadline(device), 200 * MS);
    cr_assert_eq(poll_all(device, 200 * MS), 200);
    cr_assert_eq(balloon_device_release(device), BALLOON_ERR_STATE);
    free(memory);
}
