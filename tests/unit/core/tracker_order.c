/* Pages in their order, as far as they can go, in each version of the code: what is done of a batch
 * and what is left of it are as page by page. */
#include <criterion/criterion.h>

#include <balloon/alloc.h>

#include "../../../lib/core/tracker_batch_p.h"
#include "page_batches.h"

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

static void compare(uint64_t granule)
{
    balloon_tracker *a = batch_tracker(granule, true), *b = batch_tracker(granule, true);
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
        trackers_agree(a, b);
        if (prng_one_in(&prng, 3))
            trackers_take(a, b, 1 + (size_t)prng_below(&prng, 64));
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
    balloon_tracker *t = batch_tracker(1, true);
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
    balloon_tracker *t = batch_tracker(4, true);
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
