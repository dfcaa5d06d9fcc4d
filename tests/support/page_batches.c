#include "page_batches.h"

#include <criterion/criterion.h>
#include <string.h>

#include <balloon/alloc.h>

static const balloon_region memory[BATCH_REGIONS] = {
    {0, 4096, 1}, {10000, 1000, 1}, {UINT64_C(1) << 32, 700, 1}};

void batch_regions(balloon_region regions[BATCH_REGIONS], uint64_t granule)
{
    memcpy(regions, memory, sizeof(memory));
    /* The second one stays of single pages. */
    regions[0].granule = regions[2].granule = granule;
}

static void add_run(uint64_t *pfns, size_t count, uint64_t first, bool down)
{
    for (size_t i = 0; i < count; i++)
        pfns[i] = first + (down ? count - 1 - i : i);
}

static void add_runs(struct prng *prng, const balloon_region *r, uint64_t *pfns, size_t count)
{
    bool down = prng_one_in(prng, 2);

    for (size_t at = 0, n; at < count; at += n) {
        n = 1 + prng_below(prng, 32);
        n = n < count - at ? n : count - at;
        add_run(pfns + at, n, r->first + prng_below(prng, r->count - n), down);
    }
}

static void shuffle(struct prng *prng, uint64_t *pfns, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t k = (size_t)prng_below(prng, i);
        uint64_t other = pfns[k];

        pfns[k] = pfns[i - 1];
        pfns[i - 1] = other;
    }
}

static void spoil(struct prng *prng, uint64_t *pfns, size_t count)
{
    for (uint64_t left = 1 + prng_below(prng, 3); left; left--) {
        size_t at = (size_t)prng_below(prng, count);

        switch (prng_below(prng, 4)) {
        case 0:
            pfns[at] = 4096 + prng_below(prng, 5000);
            break;
        case 1:
            pfns[at] = prng_next(prng) >> (12 + prng_below(prng, 30));
            break;
        case 2:
            pfns[at] ^= UINT64_C(1) << 32;
            break;
        default:
            pfns[at] = pfns[prng_below(prng, count)];
            break;
        }
    }
}

size_t draw_batch(struct prng *prng, uint64_t pfns[BATCH_MOST])
{
    const balloon_region *r = &memory[prng_one_in(prng, 4) ? 1 + prng_below(prng, 2) : 0];
    size_t most = prng_one_in(prng, 3) ? BATCH_MOST : 40;
    size_t count = 1 + (size_t)prng_below(prng, most);
    uint64_t block;

    switch (prng_below(prng, 5)) {
    case 0:
    case 1:
        add_run(pfns, count, r->first + prng_below(prng, r->count - count), prng_one_in(prng, 2));
        break;
    case 2:
        add_runs(prng, r, pfns, count);
        break;
    case 3: /* shuffled in a block, of which a part is named */
        block = r->first + prng_below(prng, r->count / 512) * 512;
        add_run(pfns, count, block - block % 512, false);
        shuffle(prng, pfns, count);
        break;
    default: /* every fifth page */
        for (size_t i = 0; i < count; i++)
            pfns[i] = r->first + (5 * i + count) % r->count;
        shuffle(prng, pfns, count);
        break;
    }
    if (prng_one_in(prng, 3))
        spoil(prng, pfns, count);
    return count;
}

void devices_agree(const balloon_device *a, const balloon_device *b, balloon_time_t now)
{
    static unsigned char saved[2][65536];
    balloon_device_counters ours, theirs;
    balloon_device_status is, should;
    size_t used[2];

    balloon_device_counters_get(a, &ours);
    balloon_device_counters_get(b, &theirs);
    ours.buffers = theirs.buffers;
    ours.acks = theirs.acks;
    ours.protocol_errors = theirs.protocol_errors;
    cr_assert_eq(memcmp(&ours, &theirs, sizeof(ours)), 0);
    balloon_device_status_get(a, &is);
    balloon_device_status_get(b, &should);
    cr_assert_eq(memcmp(&is, &should, sizeof(is)), 0);
    cr_assert_eq(balloon_device_save(a, now, saved[0], sizeof(saved[0]), &used[0]), BALLOON_OK);
    cr_assert_eq(balloon_device_save(b, now, saved[1], sizeof(saved[1]), &used[1]), BALLOON_OK);
    cr_assert_eq(used[0], used[1]);
    cr_assert_eq(memcmp(saved[0], saved[1], used[0]), 0);
    cr_assert(balloon_device_check(a, NULL));
    cr_assert(balloon_device_check(b, NULL));
    cr_assert_eq(balloon_device_deadline(a), balloon_device_deadline(b));
}

void devices_poll(balloon_device *a, balloon_device *b, balloon_time_t now)
{
    balloon_action said = {0}, expected = {0};
    bool more;

    do {
        more = balloon_device_poll(b, now, &expected);
        cr_assert_eq(balloon_device_poll(a, now, &said), more);
        cr_assert_eq(said.type, expected.type);
        cr_assert_eq(said.run_count, expected.run_count);
        for (uint32_t i = 0; more && i < said.run_count; i++)
            cr_assert_eq(memcmp(&said.runs[i], &expected.runs[i], sizeof(said.runs[i])), 0);
    } while (more);
}

/* --- two trackers ----------------------------------------------------------------------------- */

balloon_tracker *batch_tracker(uint64_t granule, bool gather)
{
    balloon_tracker_config config = {
        .size = sizeof(config), .max_pages = 8192, .max_regions = BATCH_REGIONS};
    balloon_region regions[BATCH_REGIONS];
    balloon_tracker *tracker = NULL;

    batch_regions(regions, granule);
    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    for (unsigned i = 0; i < BATCH_REGIONS; i++)
        cr_assert_eq(balloon_tracker_add_region(tracker, &regions[i], NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, gather);
    return tracker;
}

static void same_bits(const balloon_tracker *a, const balloon_tracker *b, balloon_set set)
{
    static uint8_t ours[2048], theirs[2048];
    balloon_range parts[] = {{0, 12000}, {UINT64_C(1) << 32, 1000}};

    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(balloon_tracker_export(a, set, parts[i], ours, sizeof(ours)), BALLOON_OK);
        cr_assert_eq(balloon_tracker_export(b, set, parts[i], theirs, sizeof(theirs)), BALLOON_OK);
        cr_assert_eq(memcmp(ours, theirs, (size_t)(parts[i].count + 7) / 8), 0);
    }
}

void trackers_agree(const balloon_tracker *a, const balloon_tracker *b)
{
    const char *why = NULL;

    cr_assert(balloon_tracker_check(a, &why), "%s", why);
    cr_assert_eq(balloon_tracker_held(a), balloon_tracker_held(b));
    cr_assert_eq(balloon_tracker_pending(a), balloon_tracker_pending(b));
    cr_assert_eq(balloon_tracker_ready(a), balloon_tracker_ready(b));
    cr_assert_eq(balloon_tracker_returned(a), balloon_tracker_returned(b));
    same_bits(a, b, BALLOON_SET_HELD);
    same_bits(a, b, BALLOON_SET_PENDING);
}

void trackers_take(balloon_tracker *a, balloon_tracker *b, size_t max)
{
    balloon_run ours[64], theirs[64];
    size_t n = balloon_tracker_take(a, ours, max);

    cr_assert_eq(balloon_tracker_take(b, theirs, max), n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&ours[i], &theirs[i], sizeof(ours[i])), 0);
}
