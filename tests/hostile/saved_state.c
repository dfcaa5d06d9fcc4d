/* Saved bytes that were damaged, cut or made up: refused with nothing changed, or loaded into a
 * device that is sound and works on. */
#include "device_duel.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

static const balloon_region ram[] = {{3, 2000, 4}, {3000, 1200, 512}};

static balloon_device *make(void **memory)
{
    balloon_device_config config = {.size = sizeof(config),
                                    .regions = ram,
                                    .region_count = 2,
                                    .features = BALLOON_F_ALL,
                                    .max_buffers = 8};
    return rig_make(&config, memory);
}

/* A device in the middle of everything. */
static balloon_device *make_busy(void **memory, bool gather)
{
    balloon_device *device = make(memory);
    uint32_t pfns[700];
    uint8_t stats[20] = {4, 0, 9};
    for (uint32_t i = 0; i < 700; i++)
        pfns[i] = 3 + i;
    cr_assert_eq(balloon_device_set_target(device, 1024, 0), BALLOON_OK);
    balloon_device_set_stats_period(device, 100 * MS, 0);
    rig_start(device, BALLOON_F_ALL & ~(gather ? 0 : BALLOON_F_MUST_TELL), 0);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 1, stats, 20, 0), BALLOON_OK);
    rig_drain(device, MS);
    cr_assert_eq(rig_send(device, BALLOON_QUEUE_STATS, 2, stats, 20, 0), BALLOON_OK);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 3, pfns, 600, 2 * MS), BALLOON_OK);
    cr_assert_eq(balloon_device_start_hinting(device), BALLOON_OK);
    rig_drain(device, 2 * MS);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 4, pfns + 600, 100, 3 * MS),
                 BALLOON_OK);
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_DEFLATE, 5, pfns, 9, 3 * MS), BALLOON_OK);
    rig_write_config(device, 4, 691);
    return device;
}

/* Whether a device that has just loaded something does its work. */
static void use(balloon_device *device, const char *what)
{
    const char *why = NULL;
    cr_assert(balloon_device_check(device, &why), "%s: %s", what, why);
    rig_drain(device, 10 * MS);
    balloon_device_status status;
    balloon_device_status_get(device, &status);
    if (status.driver) {
        uint32_t pfns[] = {100, 101, 3100, 99999};
        (void)!rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 70, pfns, 4, 11 * MS);
        cr_assert_eq(rig_drain(device, 11 * MS), 1, "%s", what);
        cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_DEFLATE, 71, pfns, 3, 12 * MS),
                     BALLOON_OK);
        cr_assert_eq(rig_drain(device, 12 * MS), 1, "%s", what);
    }
    cr_assert(balloon_device_check(device, &why), "%s: %s", what, why);
    balloon_device_reset(device);
    rig_start(device, BALLOON_F_MUST_TELL, 13 * MS);
    cr_assert_eq(balloon_tracker_held(balloon_device_tracker(device)), 0);
}

/* Load into a fresh device that is not quite empty itself, so that a change would show. */
static bool try_load(const uint8_t *bytes, size_t count, const char *what)
{
    void *memory;
    size_t before_bytes, after_bytes;
    balloon_device *device = make(&memory);
    rig_start(device, BALLOON_F_MUST_TELL, 0);
    uint32_t pfn = 7;
    cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, &pfn, 1, 0), BALLOON_OK);
    void *before = rig_save(device, 0, &before_bytes);
    balloon_status status = balloon_device_load(device, 5 * MS, bytes, count);
    if (status == BALLOON_OK) {
        use(device, what);
    } else {
        cr_assert(status == BALLOON_ERR_PROTOCOL || status == BALLOON_ERR_UNSUPPORTED,
                  "%s: status %d", what, (int)status);
        void *after = rig_save(device, 0, &after_bytes);
        cr_assert(before_bytes == after_bytes && !memcmp(before, after, after_bytes),
                  "%s: refused, yet something changed", what);
        free(after);
    }
    free(before);
    free(memory);
    return status == BALLOON_OK;
}

Test(saved_state, every_truncation_is_refused)
{
    for (int gather = 0; gather < 2; gather++) {
        void *memory;
        size_t bytes;
        uint8_t *saved = rig_save(make_busy(&memory, gather), 4 * MS, &bytes);
        cr_assert(try_load(saved, bytes, "the whole"));
        for (size_t cut = 0; cut < bytes; cut++) {
            /* In memory of its own size, so that a sanitizer sees a read past the end. */
            uint8_t *part = malloc(cut + 1);
            memcpy(part, saved, cut);
            cr_assert(!try_load(part, cut, "cut"), "%zu of %zu bytes were loaded", cut, bytes);
            free(part);
        }
        uint8_t *more = calloc(bytes + 1, 1);
        memcpy(more, saved, bytes);
        cr_assert(!try_load(more, bytes + 1, "longer"));
        free(more);
        free(saved);
        free(memory);
    }
}

Test(saved_state, every_changed_byte_is_refused_or_harmless)
{
    static const uint8_t values[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 3100);
    for (int gather = 0; gather < 2; gather++) {
        void *memory;
        size_t bytes, refused = 0;
        uint8_t *saved = rig_save(make_busy(&memory, gather), 4 * MS, &bytes);
        for (size_t at = 0; at < bytes; at++) {
            uint8_t original = saved[at];
            for (size_t i = 0; i < (prng_check_all() ? 256 : 8); i++) {
                uint8_t value = (uint8_t)i;
                if (!prng_check_all())
                    value = i < 6    ? values[i]
                            : i == 6 ? (uint8_t)prng_next(&prng)
                                     : original ^ (uint8_t)(1u << prng_below(&prng, 8));
                char what[64];
                snprintf(what, sizeof(what), "byte %zu from %#x to %#x", at, original, value);
                saved[at] = value;
                refused += !try_load(saved, bytes, what);
            }
            saved[at] = original;
        }
        cr_assert_gt(refused, 0);
        free(saved);
        free(memory);
    }
}

Test(saved_state, rubbish_is_refused)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 3200);
    uint8_t bytes[600];
    for (int i = 0; i < 2000; i++) {
        size_t count = (size_t)prng_below(&prng, sizeof(bytes));
        for (size_t j = 0; j < count; j++)
            bytes[j] = (uint8_t)prng_next(&prng);
        cr_assert(!try_load(bytes, count, "rubbish"));
    }
}

/* Many bytes changed at once in a good form reach deeper than rubbish does. */
Test(saved_state, several_changed_bytes)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 3300);
    void *memory;
    size_t bytes;
    uint8_t *saved = rig_save(make_busy(&memory, true), 4 * MS, &bytes);
    uint8_t *copy = malloc(bytes);
    for (int i = 0; i < (prng_check_all() ? 100000 : 4000); i++) {
        memcpy(copy, saved, bytes);
        for (uint64_t n = 1 + prng_below(&prng, 5); n; n--)
            copy[8 + prng_below(&prng, bytes - 8)] = (uint8_t)prng_below(&prng, 4);
        try_load(copy, bytes, "several bytes");
    }
    free(copy);
    free(saved);
    free(memory);
}

/* What the host has is not asked for again, and what waits still waits. */
Test(saved_state, given_back_stays_given_back)
{
    void *memory, *other_memory;
    size_t bytes;
    balloon_device *device = make(&memory), *other = make(&other_memory);
    rig_start(device, BALLOON_F_MUST_TELL, 0);
    uint32_t *pfns = malloc(4200 * sizeof(*pfns));
    for (uint32_t i = 0; i < 4200; i++)
        pfns[i] = i;
    (void)!rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 4200, 0);
    balloon_device_flush(device);
    rig_drain(device, 0);
    const balloon_tracker *tracker = balloon_device_tracker(device);
    uint64_t held = balloon_tracker_held(tracker), pending = balloon_tracker_pending(tracker);
    cr_assert_eq(held, 3200);
    cr_assert_eq(balloon_tracker_ready(tracker), 0);
    uint8_t *saved = rig_save(device, 0, &bytes);
    cr_assert_eq(balloon_device_load(other, 0, saved, bytes), BALLOON_OK);
    tracker = balloon_device_tracker(other);
    cr_assert_eq(balloon_tracker_held(tracker), held);
    cr_assert_eq(balloon_tracker_ready(tracker), 0, "%" PRIu64 " pages are to be discarded again",
                 balloon_tracker_ready(tracker));
    cr_assert_eq(balloon_tracker_pending(tracker), pending);
    free(saved);
    free(pfns);
    free(memory);
    free(other_memory);
}

/* The host that loads may have other page sizes: the same pages are held, and only held ones are
 * ever discarded. */
Test(saved_state, another_host_page_size)
{
    static const uint64_t granules[] = {1, 4, 16, 512};
    for (int from = 0; from < 4; from++) {
        for (int to = 0; to < 4; to++) {
            for (int flushed = 0; flushed < 2; flushed++) {
                balloon_region region = {3, 4000, granules[from]};
                balloon_device_config config = {.size = sizeof(config),
                                                .regions = &region,
                                                .region_count = 1,
                                                .gather_pages = 100000};
                void *memory, *other_memory;
                size_t bytes;
                balloon_device *device = rig_make(&config, &memory);
                region.granule = granules[to];
                balloon_device *other = rig_make(&config, &other_memory);
                rig_start(device, BALLOON_F_MUST_TELL, 0);
                uint8_t held[4096] = {0};
                uint32_t pfns[3000];
                for (uint32_t i = 0; i < 3000; i++) {
                    pfns[i] = i < 2000 ? 3 + i : 2003 + (i - 2000) * 3 / 2;
                    held[pfns[i]] = 1;
                }
                cr_assert_eq(rig_send_pfns(device, BALLOON_QUEUE_INFLATE, 1, pfns, 3000, 0),
                             BALLOON_OK);
                if (flushed)
                    balloon_device_flush(device);
                rig_drain(device, 0);
                uint64_t pending = balloon_tracker_pending(balloon_device_tracker(device));
                uint8_t *saved = rig_save(device, 0, &bytes);
                cr_assert_eq(balloon_device_load(other, 0, saved, bytes), BALLOON_OK);
                const balloon_tracker *tracker = balloon_device_tracker(other);
                cr_assert_eq(balloon_tracker_held(tracker),
                             balloon_tracker_held(balloon_device_tracker(device)));
                cr_assert_geq(balloon_tracker_pending(tracker), pending);
                balloon_device_flush(other);
                balloon_action action;
                while (balloon_device_poll(other, 0, &action)) {
                    for (uint32_t i = 0; i < action.run_count; i++) {
                        balloon_range run = action.runs[i].range;
                        cr_assert_null(memchr(held + run.first, 0, run.count));
                        cr_assert_eq(run.first % granules[to], 0);
                    }
                }
                cr_assert_eq(balloon_tracker_ready(tracker), 0);
                const char *why = NULL;
                cr_assert(balloon_device_check(other, &why), "%s", why);
                free(saved);
                free(memory);
                free(other_memory);
            }
        }
    }
}
