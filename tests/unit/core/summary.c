/* A summary of three levels: the next item is the one that looking at each of them finds, over the
 * borders of all levels. */
#include <string.h>

#include <criterion/criterion.h>

#include "../../../lib/core/bits.h"

/* Two words of the highest level, and a part of a third. */
enum { TOP = WORD_BITS * WORD_BITS, PEAK = WORD_BITS * TOP, ITEMS = 2 * PEAK + 5 * TOP + 3 };

static uint64_t bit[ITEMS / WORD_BITS + 1], top[ITEMS / TOP + 1], peak[ITEMS / PEAK + 1];
static summary items = {bit, top, peak};

/* Around borders of words of all levels. */
static const uint64_t places[] = {0,           1,
                                  63,          64,
                                  TOP - 1,     TOP,
                                  TOP + 1,     PEAK - TOP,
                                  PEAK - 1,    PEAK,
                                  PEAK + 64,   PEAK + 1,
                                  PEAK + TOP,  2 * PEAK - 1,
                                  2 * PEAK,    2 * PEAK + TOP,
                                  70000,       ITEMS / 2,
                                  ITEMS - TOP, ITEMS - 64,
                                  ITEMS - 2,   ITEMS - 1};

enum { PLACES = sizeof(places) / sizeof(*places) };

static bool levels_agree(void)
{
    for (uint64_t w = 0; w <= ITEMS / WORD_BITS; w++)
        if ((top[w / WORD_BITS] >> (w % WORD_BITS) & 1) != (bit[w] != 0))
            return false;
    for (uint64_t w = 0; w <= ITEMS / TOP; w++)
        if ((peak[w / WORD_BITS] >> (w % WORD_BITS) & 1) != (top[w] != 0))
            return false;
    return true;
}

static void wipe(void)
{
    memset(bit, 0, sizeof(bit));
    memset(top, 0, sizeof(top));
    memset(peak, 0, sizeof(peak));
}

Test(summary, next_finds_one_item_from_everywhere)
{
    for (unsigned i = 0; i < PLACES; i++) {
        summary_set(&items, places[i]);
        cr_assert(levels_agree());
        for (unsigned f = 0; f < PLACES; f++)
            for (unsigned e = 0; e < PLACES; e++) {
                uint64_t from = places[f], end = places[e] + 1, at = places[i];

                if (from < end)
                    cr_assert_eq(summary_next(&items, from, end), at >= from && at < end ? at : end,
                                 "%u from %u to %u", i, f, e);
            }
        summary_clear(&items, places[i]);
        cr_assert(levels_agree());
        cr_assert_eq(summary_next(&items, 0, ITEMS), ITEMS);
    }
}

Test(summary, next_walks_over_all_items)
{
    uint64_t at = 0;

    for (unsigned i = 0; i < PLACES; i++)
        summary_set(&items, places[i]);
    for (unsigned found = 0; found < PLACES; found++, at++) {
        uint64_t least = ITEMS;

        for (unsigned i = 0; i < PLACES; i++)
            least = places[i] >= at && places[i] < least ? places[i] : least;
        at = summary_next(&items, at, ITEMS);
        cr_assert_eq(at, least);
    }
    cr_assert_eq(summary_next(&items, at, ITEMS), ITEMS);
    wipe();
}

Test(summary, items_come_and_go_together)
{
    for (unsigned i = 0; i < PLACES; i++)
        for (unsigned e = 0; e < PLACES; e++) {
            uint64_t from = places[i], end = places[e] + 1, before = from / WORD_BITS * WORD_BITS;

            if (from >= end)
                continue;
            summary_put_all(&items, from, end, true);
            cr_assert_eq(summary_next(&items, before, ITEMS), from);
            cr_assert_eq(bits_count(bit, from, end), end - from);
            cr_assert(end == ITEMS || !summary_has(&items, end));
            summary_put_all(&items, from, end, false);
            cr_assert_eq(summary_next(&items, 0, ITEMS), ITEMS);
        }
    cr_assert(levels_agree());
}
