/* Pages in their order, as far as they can go, in each version of the code: what is done of a batch
 * and what is left of it are as page by page. */
#include <criterion/criterion.h>

#include <balloon/alloc.h>

#include "../../../lib/core/tracker_batch_p.h"
#include "page_batches.h"

static balloon_tracker *make(uint64_t granule)
{
    balloon_tracker_config config = {
        .size = sizeof(config), .max_pages = 8192, .max_regions = BATCH_REGIONS};
    balloon_region regions[BATCH_REGIONS];
    balloon_tracker *tracker = NULL;

    batch_regions(regions, granule);
    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    for (unsigned i = 0; i < BATCH_REGIONS; i++)
        cr_assert_eq(balloon_tracker_add_region(tracker, &regions[i], NULL), BALLOON_OK);
    balloon_tracker_set_gather(tracker, true);
    return tracker;
}

static bool in_granules(balloon_tracker *t, uint32_t pfn)
{
    balloon_range page = {pfn, 1};
    balloon_region part;
    balloon_run run;

    return balloon_tracker_next(t, BALLOON_SET_HELD, page, &run) &&
           balloon_tracker_region(t, run.region, &part) == BALLOON_OK && part.granule > 1;
}

/* One by one up to the first that changes nothing, or leaves a region of granules. */
static size_t step_by_step(balloon_tracker *t, bool in, const uint32_t *v, size_t n,
                           balloon_tally *tally)
{
    size_t i = 0;

    for (; i < n; i++) {
        uint64_t changed = tally->changed;
        balloon_tally one = *tally;

        if (!in && in_granules(t, v[i]))
            break;
        (in ? balloon_tracker_inflate_range
            : balloon_tracker_deflate_range)(t, (balloon_range){v[i], 1}, &one);
        if (one.changed == changed)
            break;
        *tally = one;
    }
    return i;
}

static void same_bits(balloon_tracker *a, balloon_tracker *b, balloon_set set)
{
    static uint8_t ours[2048], theirs[2048];
    balloon_range parts[] = {{0, 12000}, {UINT64_C(1) << 32, 1000}};

    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(balloon_tracker_export(a, set, parts[i], ours, sizeof(ours)), BALLOON_OK);
        cr_assert_eq(balloon_tracker_export(b, set, parts[i], theirs, sizeof(theirs)), BALLOON_OK);
        cr_assert_eq(memcmp(ours, theirs, (size_t)(parts[i].count + 7) / 8), 0);
    }
}

static void same(balloon_tracker *a, balloon_tracker *b)
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

static void same_runs(balloon_tracker *a, balloon_tracker *b, size_t max)
{
    balloon_run ours[64], theirs[64];
    size_t n = balloon_tracker_take(a, ours, max);

    cr_assert_eq(balloon_tracker_take(b, theirs, max), n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(&ours[i], &theirs[i], sizeof(ours[i])), 0);
}

static void compare(uint64_t granule)
{
    balloon_tracker *a = make(granule), *b = make(granule);
    struct prng prng = prng_start(prng_seed(), granule);
    uint64_t drawn[BATCH_MOST];
    uint32_t v[BATCH_MOST];
    size_t n = 0;

    for (int left = prng_check_all() ? 100000 : 2000; left; left--) {
        bool in = prng_one_in(&prng, 2);
        balloon_tally ours = {0}, theirs = {0};

        if (in || !n || prng_one_in(&prng, 2)) {
            n = draw_batch(&prng, drawn);
            for (size_t i = 0; i < n; i++)
                v[i] = (uint32_t)drawn[i];
        }

        size_t went =
            (in ? bl_tracker_inflate_in_order : bl_tracker_deflate_in_order)(a, v, n, &ours);

        cr_assert_eq(step_by_step(b, in, v, n, &theirs), went);
        cr_assert_eq(ours.changed, went);
        cr_assert_eq(ours.cancelled, theirs.cancelled);
        cr_assert_eq(ours.unchanged + ours.outside, 0);
        same(a, b);
        if (prng_one_in(&prng, 3))
            same_runs(a, b, 1 + (size_t)prng_below(&prng, 64));
        /* A set that fills up has no more to say. */
        if (prng_one_in(&prng, 50)) {
            balloon_tracker_deflate_range(a, (balloon_range){0, 4096}, NULL);
            balloon_tracker_deflate_range(b, (balloon_range){0, 4096}, NULL);
        }
    }
    balloon_tracker_destroy(a);
    balloon_tracker_destroy(b);
}

Test(tracker_order, is_as_page_by_page)
{
    static const uint64_t granules[] = {1, 4, 64, 512, 1024};

    for (unsigned i = 0; bl_batch_version(i); i++) {
        bl_batch_use(bl_batch_version(i));
        for (unsigned k = 0; k < sizeof(granules) / sizeof(granules[0]); k++)
            compare(granules[k]);
    }
}

/* Where it would not be so simple, nothing is done. */
Test(tracker_order, is_for_gathering_without_reports)
{
    balloon_tracker *t = make(1);
    balloon_tally tally = {0};
    const uint32_t page = 5;

    balloon_tracker_report(t, (balloon_range){100, 10}, NULL);
    cr_assert_eq(bl_tracker_inflate_in_order(t, &page, 1, &tally), 0);
    balloon_tracker_settle(t);
    cr_assert_eq(bl_tracker_inflate_in_order(t, &page, 1, &tally), 1);
    balloon_tracker_report(t, (balloon_range){100, 10}, NULL);
    cr_assert_eq(bl_tracker_deflate_in_order(t, &page, 1, &tally), 0);
    balloon_tracker_settle(t);
    balloon_tracker_set_gather(t, false);
    cr_assert_eq(bl_tracker_deflate_in_order(t, &page, 1, &tally), 0);
    cr_assert_eq(tally.changed, 1);
    cr_assert_eq(balloon_tracker_held(t), 1);
    balloon_tracker_destroy(t);
}

Test(tracker_order, a_page_is_inside_and_held_or_not)
{
    balloon_tracker *t = make(4);
    const uint32_t page = 10005;
    balloon_tally tally = {0};
    bool held = true;

    cr_assert(bl_tracker_has(t, page, &held) && !held);
    cr_assert_eq(bl_tracker_inflate_in_order(t, &page, 1, &tally), 1);
    cr_assert(bl_tracker_has(t, page, &held) && held);
    cr_assert(bl_tracker_has(t, page + 1, &held) && !held);
    cr_assert(bl_tracker_has(t, UINT64_C(1) << 32, &held) && !held);
    cr_assert(!bl_tracker_has(t, 4096, &held) && !held);
    cr_assert(!bl_tracker_has(t, 11000, &held) && !held);
    cr_assert(!bl_tracker_has(t, UINT64_MAX, &held) && !held);
    balloon_tracker_destroy(t);
}
