/* What granules are after pages of them came from elsewhere: given back, ready, or waiting. What
 * else becomes of a bitmap is compared with the model (tracker_model). */
#include <criterion/criterion.h>

#include <string.h>

#include <balloon/alloc.h>

#include "../../../lib/core/tracker_saved_p.h"
#include "prng.h"

static balloon_tracker *make_one(balloon_region region, bool gather)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = region.count};
    balloon_tracker *t = NULL;

    cr_assert_eq(balloon_tracker_create(&config, &t), BALLOON_OK);
    cr_assert_eq(balloon_tracker_add_region(t, &region, NULL), BALLOON_OK);
    balloon_tracker_set_gather(t, gather);
    return t;
}

static void end_one(balloon_tracker *t)
{
    const char *why = NULL;

    cr_assert(balloon_tracker_check(t, &why), "broken: %s", why);
    balloon_tracker_destroy(t);
}

static void import_all(balloon_tracker *t, balloon_range range)
{
    static uint8_t bits[1024];

    memset(bits, 0xff, sizeof(bits));
    cr_assert_eq(balloon_tracker_import(t, range, bits, sizeof(bits), NULL), BALLOON_OK);
}

static const uint64_t granules[] = {2, 8, 64, 128, 256, 512, 1024, 2048};
enum { GRANULES = sizeof(granules) / sizeof(*granules) };

Test(tracker_import, a_granule_that_came_whole_waits_again_when_it_loses_a_page)
{
    for (int i = 0; i < GRANULES; i++) {
        balloon_tracker *t = make_one((balloon_region){4096, 4096, granules[i]}, true);

        import_all(t, (balloon_range){4093, 4103});
        cr_assert_eq(balloon_tracker_returned(t), 4096);
        cr_assert_eq(balloon_tracker_pending(t), 0);
        balloon_tracker_deflate_range(t, (balloon_range){4097, 1}, NULL);
        cr_assert_eq(balloon_tracker_pending(t), granules[i] - 1);
        cr_assert_eq(balloon_tracker_ready(t), 0);
        end_one(t);
    }
}

Test(tracker_import, a_granule_that_comes_in_two_parts_is_ready)
{
    for (int i = 0; i < GRANULES; i++) {
        balloon_tracker *t = make_one((balloon_region){4096, 4096, granules[i]}, true);
        balloon_run run = {.region = 7};

        import_all(t, (balloon_range){4096, granules[i] - 1});
        cr_assert_eq(balloon_tracker_pending(t), granules[i] - 1);
        cr_assert_eq(balloon_tracker_ready(t), 0);
        import_all(t, (balloon_range){4096 + granules[i] - 1, 1});
        cr_assert_eq(balloon_tracker_ready(t), granules[i]);
        cr_assert_eq(balloon_tracker_take(t, &run, 1), 1);
        cr_assert_eq(run.range.first, 4096);
        cr_assert_eq(run.range.count, granules[i]);
        end_one(t);
    }
}

/* Pages of whole granules in a range of which all pages are in the first set and none in the other.
 */
static uint64_t count_granules(const balloon_tracker *t, balloon_range range, uint64_t granule)
{
    uint64_t n = 0;

    range = balloon_range_inward(range, granule);
    for (uint64_t at = range.first; at < range.first + range.count; at += granule) {
        balloon_range one = {at, granule};

        n += balloon_tracker_count(t, BALLOON_SET_HELD, one) == granule &&
                     !balloon_tracker_count(t, BALLOON_SET_PENDING, one)
                 ? granule
                 : 0;
    }
    return n;
}

/* In settling mode a saved device says of pieces of memory, which begin at any page, that what is
 * whole in them was given back. */
static uint64_t give_back_pieces(struct prng *prng, uint64_t granule)
{
    balloon_range all = {3000, 9000}, piece;
    balloon_tracker *t = make_one((balloon_region){all.first, all.count, granule}, false);
    uint64_t expected = 0, end = all.first + all.count;

    for (uint64_t at = all.first; at < end; at += prng_below(prng, 2 * granule + 9))
        balloon_tracker_inflate_range(t, (balloon_range){at, 1 + prng_below(prng, granule)}, NULL);
    balloon_tracker_settle(t);
    for (uint64_t at = all.first; at < end; at += 1 + prng_below(prng, 5000))
        balloon_tracker_inflate_range(t, (balloon_range){at, 1 + prng_below(prng, 90)}, NULL);
    import_all(t, (balloon_range){3500, 7000});
    for (piece.first = all.first; piece.first < end; piece.first += prng_below(prng, 40)) {
        piece.count = 1 + prng_below(prng, prng_one_in(prng, 2) ? 5000 : 60);
        bl_tracker_set_returned(t, balloon_range_intersect(piece, all));
        expected += count_granules(t, balloon_range_intersect(piece, all), granule);
        piece.first += piece.count;
    }
    cr_assert_eq(balloon_tracker_returned(t), expected, "granule %d", (int)granule);
    end_one(t);
    return expected;
}

Test(tracker_import, given_back_in_pieces)
{
    struct prng prng = prng_start(prng_seed(), 1);

    for (int i = -1; i < GRANULES; i++) {
        uint64_t pages = 0;

        for (int round = 0; round < 30; round++)
            pages += give_back_pieces(&prng, i < 0 ? 1 : granules[i]);
        cr_assert_gt(pages, 0);
    }
}
