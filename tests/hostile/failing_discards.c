/* The host's discard calls fail: now and then, in part, for a time or for ever. Buffers come back
 * all the same, and what can be given back later is. */
#include "prng.h"
#include "rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MS    UINT64_C(1000000)
#define PAGES 4096

static const balloon_region ram[] = {{0, PAGES, 4}};

struct host {
    uint8_t back[PAGES]; /* Given back to the host. */
    uint64_t calls, failures;
    balloon_time_t last_try;
};

static balloon_device *make(void **memory, uint32_t features)
{
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 1,
                                    .features = BALLOON_F_ALL,
                                    .run_batch = 4,
                                    .gather_pages = 256,
                                    .gather_delay = 10 * MS};
    balloon_device *device = rig_make(&config, memory);
    rig_start(device, features, 0);
    return device;
}

/* Discards a run; every n-th call fails, after a part of its granules if that is asked for. */
static void discard(struct host *host, balloon_device *device, balloon_run run, uint64_t every,
                    bool partly, balloon_time_t now)
{
    uint64_t done = run.range.count;
    if (every && ++host->calls % every == 0) {
        done = partly ? run.range.count / 8 * 4 : 0;
        host->failures++;
    }
    memset(host->back + run.range.first, 1, done);
    if (done == run.range.count)
        return;
    balloon_run rest = {.region = run.region,
                        .range = {run.range.first + done, run.range.count - done}};
    balloon_device_discard_failed(device, &rest, now);
}

/* Returns the acknowledgements. */
static size_t drain(struct host *host, balloon_device *device, uint64_t every, bool partly,
                    balloon_time_t now)
{
    balloon_action action;
    size_t acks = 0, actions = 0;
    while (balloon_device_poll(device, now, &action)) {
        cr_assert_lt(actions++, 5000, "poll never ends");
        acks += action.type == BALLOON_ACTION_ACK;
        if (action.type == BALLOON_ACTION_DISCARD)
            host->last_try = now;
        balloon_run runs[4];
        memcpy(runs, action.runs ? action.runs : runs, action.run_count * sizeof(*runs));
        for (uint32_t i = 0; i < action.run_count; i++)
            discard(host, device, runs[i], every, partly, now);
    }
    cr_assert_gt(balloon_device_deadline(device), now, "nothing to do, but the deadline is now");
    const char *why = NULL;
    cr_assert(balloon_device_check(device, &why), "%s", why);
    return acks;
}

static void inflate_all(struct host *host, balloon_device *device, uint64_t every, bool partly,
                        balloon_time_t *now)
{
    for (uint32_t at = 0; at < PAGES; at += 128) {
        uint32_t pfns[128];
        for (uint32_t i = 0; i < 128; i++)
            pfns[i] = (at + i) * 5 % PAGES; /* All over the place; 5 is prime to PAGES. */
        cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, at, pfns, 128, *now), BALLOON_OK);
        cr_assert_eq(drain(host, device, every, partly, *now), 1);
        *now += 3 * MS;
    }
}

/* Polls at each deadline. Returns whether everything was given back in the end. */
static bool wait_for_all(struct host *host, balloon_device *device, uint64_t every, bool partly,
                         balloon_time_t *now)
{
    for (int i = 0; i < 2000; i++) {
        if (!memchr(host->back, 0, PAGES))
            return true;
        balloon_time_t next = balloon_device_deadline(device);
        if (next == BALLOON_TIME_NEVER)
            return false;
        cr_assert_leq(next, *now + 10000 * MS, "a retry is due only in %" PRIu64 " ms",
                      (next - *now) / MS);
        *now = next;
        cr_assert_eq(drain(host, device, every, partly, *now), 0);
    }
    return false;
}

Test(failing_discards, every_nth_is_tried_again)
{
    for (uint64_t every = 1; every <= 7; every++) {
        for (int partly = 0; partly < 2; partly++) {
            struct host host = {0};
            void *memory;
            balloon_device *device = make(&memory, BALLOON_F_MUST_TELL);
            balloon_time_t now = 0;
            inflate_all(&host, device, every, partly, &now);
            if (every > 1) /* With every call failing there is no end. */
                cr_assert(wait_for_all(&host, device, every, partly, &now));
            cr_assert(wait_for_all(&host, device, 0, false, &now));
            cr_assert_gt(host.failures, 0);
            balloon_device_counters c;
            balloon_device_counters_get(device, &c);
            cr_assert_gt(c.discard_failed, 0);
            cr_assert_eq(c.discarded - c.discard_failed, PAGES);
            cr_assert_eq(balloon_tracker_pending(balloon_device_tracker(device)), 0);
            free(memory);
        }
    }
}

/* Without MUST_TELL_HOST there is no second try, but nothing waits for one either. */
Test(failing_discards, settling_goes_on)
{
    for (uint64_t every = 1; every <= 3; every++) {
        struct host host = {0};
        void *memory;
        balloon_device *device = make(&memory, BALLOON_F_REPORTING);
        balloon_time_t now = 0;
        inflate_all(&host, device, every, false, &now);
        balloon_virtio_span span = {0, PAGES << 12};
        cr_assert_eq(rig_send_spans(device, BALLOON_QUEUE_REPORT, 1, &span, 1, now), BALLOON_OK);
        cr_assert_eq(drain(&host, device, 1, false, now), 1);
        cr_assert_eq(balloon_tracker_pending(balloon_device_tracker(device)), 0);
        cr_assert_eq(balloon_device_deadline(device), BALLOON_TIME_NEVER);
        cr_assert(balloon_device_explain(device, now, NULL) == BALLOON_REASON_DISCARD_FAILS);
        free(memory);
    }
}

/* A host that always fails is asked less and less often, but at least every 10 s, and guests are
 * answered at once meanwhile. */
Test(failing_discards, tries_become_rare)
{
    struct host host = {0};
    void *memory;
    balloon_device *device = make(&memory, BALLOON_F_MUST_TELL);
    balloon_time_t now = 0, gap = 0;
    inflate_all(&host, device, 1, false, &now);
    for (int i = 0; i < 30; i++) {
        balloon_time_t before = host.last_try;
        now = balloon_device_deadline(device);
        cr_assert_neq(now, BALLOON_TIME_NEVER);
        cr_assert_eq(drain(&host, device, 1, false, now), 0);
        cr_assert_eq(host.last_try, now, "the deadline was for nothing");
        cr_assert_geq(now - before, gap);
        gap = now - before;
        cr_assert_leq(gap, 10000 * MS);
        uint32_t pfn = (uint32_t)i;
        cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_DEFLATE, 1, &pfn, 1, now), BALLOON_OK);
        cr_assert_eq(drain(&host, device, 1, false, now), 1);
        cr_assert_eq(host.last_try, now);
    }
    cr_assert_eq(gap, 10000 * MS);
    cr_assert_eq(balloon_tracker_ready(balloon_device_tracker(device)), PAGES - 32);
    free(memory);
}

/* A page that leaves the balloon while its discard waits for another try is not discarded. */
Test(failing_discards, deflated_pages_are_not_tried_again)
{
    struct host host = {0};
    void *memory;
    balloon_device *device = make(&memory, BALLOON_F_MUST_TELL);
    balloon_time_t now = 0;
    inflate_all(&host, device, 1, false, &now);
    uint32_t pfns[PAGES / 4];
    for (uint32_t i = 0; i < PAGES / 4; i++)
        pfns[i] = i * 8 + i % 4; /* One page of every other granule, and beyond. */
    (void)!rig_send_pfns(device, BALLOON_QUEUE_DEFLATE, 1, pfns, PAGES / 8, now);
    drain(&host, device, 1, false, now);
    for (int i = 0; i < 10; i++) {
        now = balloon_device_deadline(device);
        if (now == BALLOON_TIME_NEVER)
            break;
        drain(&host, device, 0, false, now);
    }
    for (uint32_t p = 0; p < PAGES; p++)
        cr_assert_eq(host.back[p], p / 4 % 2, "page %u", p);
    free(memory);
}
