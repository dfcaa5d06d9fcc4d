/* Page numbers that lie in memory of a guest, in each version of the code: the same as those of the
 * caller's own. */
#include <criterion/criterion.h>
#include <string.h>

#include <balloon/alloc.h>

#include "../../../lib/core/tracker_batch_p.h"
#include "page_batches.h"
#include "restless.h"

/* One tracker gets the numbers, the other the bytes, from an address that may be odd. */
static void give(struct prng *prng, balloon_tracker *a, balloon_tracker *b, const uint32_t *v,
                 size_t n)
{
    static unsigned char bytes[BATCH_MOST * 4 + 4];
    unsigned char *peer = bytes + prng_below(prng, 4);
    balloon_tally ours = {0}, theirs = {0};
    bool in = prng_one_in(prng, 2);

    memcpy(peer, v, n * sizeof(*v));
    (in ? bl_tracker_inflate_from : bl_tracker_deflate_from)(a, peer, n, &ours);
    (in ? balloon_tracker_inflate : balloon_tracker_deflate)(b, v, n, &theirs);
    cr_assert_eq(memcmp(&ours, &theirs, sizeof(ours)), 0);
    cr_assert_eq(memcmp(peer, v, n * sizeof(*v)), 0, "it is only read");
}

static void compare(uint64_t granule, bool gather)
{
    balloon_tracker *a = batch_tracker(granule, gather), *b = batch_tracker(granule, gather);
    struct prng prng = prng_start(prng_seed(), granule + gather);
    uint64_t drawn[BATCH_MOST];
    uint32_t v[BATCH_MOST];

    for (int left = prng_check_all() ? 50000 : 2000; left; left--) {
        size_t n = draw_batch(&prng, drawn);

        for (size_t i = 0; i < n; i++)
            v[i] = (uint32_t)drawn[i];
        /* Now and then few, and the ends of what a number can be. */
        if (prng_one_in(&prng, 4))
            n = n < 12 ? n : 1 + (size_t)prng_below(&prng, 12);
        if (prng_one_in(&prng, 20)) {
            bool down = prng_one_in(&prng, 2);

            for (size_t i = 0; i < n; i++)
                v[i] = (uint32_t)(down ? n - i : i) - 4;
        }
        give(&prng, a, b, v, n);
        if (prng_one_in(&prng, 2))
            trackers_take(a, b, 1 + (size_t)prng_below(&prng, 64));
        if (prng_one_in(&prng, 3)) {
            balloon_tracker_settle(a);
            balloon_tracker_settle(b);
        }
        if (prng_one_in(&prng, 8))
            trackers_agree(a, b);
        /* A set that fills up has no more to say. */
        if (prng_one_in(&prng, 50)) {
            balloon_tracker_deflate_range(a, (balloon_range){0, 4096}, NULL);
            balloon_tracker_deflate_range(b, (balloon_range){0, 4096}, NULL);
        }
    }
    trackers_agree(a, b);
    balloon_tracker_destroy(a);
    balloon_tracker_destroy(b);
}

Test(tracker_peer, is_as_numbers_of_our_own)
{
    static const uint64_t granules[] = {1, 4, 512};

    for (unsigned i = 0; bl_batch_version(i); i++) {
        bl_batch_use(bl_batch_version(i));
        for (unsigned k = 0; k < sizeof(granules) / sizeof(granules[0]); k++) {
            compare(granules[k], false);
            compare(granules[k], true);
        }
    }
}

/* --- memory that changes ---------------------------------------------------------------------- */

enum { LOOKED_AT = 256, CONTENTS = 2 };

static uint32_t contents[CONTENTS][LOOKED_AT];
static unsigned turns;

/* A run becomes scattered pages, or the other way round. */
static void turn_numbers(unsigned char *page)
{
    memcpy(page, contents[++turns % CONTENTS], sizeof(contents[0]));
}

/* What was seen of each byte by the one look at it. */
static void seen(size_t looks, uint32_t *numbers)
{
    const size_t *places = restless_places();
    size_t bytes = sizeof(contents[0]);

    for (size_t i = 0; i < looks; i++) {
        size_t end = bytes;

        for (size_t k = 0; k < looks; k++) {
            cr_assert(k == i || places[k] != places[i], "byte %zu is read twice", places[i]);
            end = places[k] > places[i] && places[k] < end ? places[k] : end;
        }
        memcpy((unsigned char *)numbers + places[i],
               (const unsigned char *)contents[i % CONTENTS] + places[i], end - places[i]);
    }
}

static void look_once(bool inflate, uint32_t step)
{
    balloon_tracker *a = batch_tracker(1, false), *b = batch_tracker(1, false);
    balloon_tally ours = {0}, theirs = {0};
    unsigned char *page = restless_page();
    uint32_t numbers[LOOKED_AT];
    size_t looks;

    for (uint32_t i = 0; i < LOOKED_AT; i++) {
        contents[0][i] = 1000 + i * step;
        contents[1][i] = 1 + i * 3;
    }
    balloon_tracker_inflate_range(a, (balloon_range){0, inflate ? 100 : 4096}, NULL);
    balloon_tracker_inflate_range(b, (balloon_range){0, inflate ? 100 : 4096}, NULL);
    memcpy(page, contents[0], sizeof(contents[0]));
    turns = 0;
    restless_start(turn_numbers);
    (inflate ? bl_tracker_inflate_from : bl_tracker_deflate_from)(a, page, LOOKED_AT, &ours);
    looks = restless_stop();
    cr_assert_gt(looks, 0);
    cr_assert_leq(looks, LOOKED_AT * 4);
    seen(looks, numbers);
    (inflate ? balloon_tracker_inflate : balloon_tracker_deflate)(b, numbers, LOOKED_AT, &theirs);
    cr_assert_eq(memcmp(&ours, &theirs, sizeof(ours)), 0);
    trackers_agree(a, b);
    balloon_tracker_destroy(a);
    balloon_tracker_destroy(b);
}

Test(tracker_peer, is_looked_at_once)
{
    for (unsigned i = 0; bl_batch_version(i); i++) {
        bl_batch_use(bl_batch_version(i));
        for (int way = 0; way < 2; way++) {
            look_once(way, 1);
            look_once(way, UINT32_MAX);
        }
    }
}

/* --- words, and nothing ------------------------------------------------------------------------
 */

static void narrows(struct prng *prng)
{
    uint64_t words[70], any = 0, all = UINT64_MAX;
    uint32_t pfns[70], one = (uint32_t)prng_next(prng);
    size_t n = (size_t)prng_below(prng, 70);
    unsigned shift = prng_one_in(prng, 2) ? 12 : 0;
    struct narrowed bits;
    bool there = false;

    for (size_t i = 0; i < n; i++) {
        words[i] = prng_next(prng) >> prng_below(prng, 64) | UINT64_C(1) << 40;
        if (prng_one_in(prng, 100))
            words[i] = (uint64_t)one << shift;
        any |= words[i];
        all &= words[i];
        there |= (uint32_t)(words[i] >> shift) == one;
    }
    bits = bl_tracker_narrow(words, n, shift, one, pfns);
    cr_assert_eq(bits.any, any);
    cr_assert_eq(bits.all, all);
    cr_assert_eq(bits.found, there);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(pfns[i], (uint32_t)(words[i] >> shift));
}

Test(tracker_peer, words_become_numbers_of_32_bits)
{
    struct prng prng = prng_start(prng_seed(), 1);

    for (unsigned i = 0; bl_batch_version(i); i++) {
        bl_batch_use(bl_batch_version(i));
        for (int left = 2000; left; left--)
            narrows(&prng);
    }
}

Test(tracker_peer, without_memory_all_is_outside)
{
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = 8192};
    balloon_tracker *tracker = NULL;
    balloon_tally tally = {0};
    const uint32_t page = 5;

    cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
    bl_tracker_inflate_from(tracker, &page, 1, &tally);
    bl_tracker_deflate_from(tracker, &page, 1, &tally);
    cr_assert_eq(tally.outside, 2);
    balloon_tracker_destroy(tracker);
}
