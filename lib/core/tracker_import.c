/* Pages that come in as a bitmap, as a migration and a saved device have them: block by block,
 * whatever the runs in it are. */
#include "bytes.h"
#include "tracker_p.h"

/* n bits of a bitmap from number `at` on become the pages of a block from number `to` on; the
 * others are 0. No byte is read that has none of them. */
static ALWAYS_INLINE void get_block(const uint8_t *bits, uint64_t at, uint64_t n, unsigned to,
                                    uint64_t block[BLOCK_WORDS])
{
    uint64_t words[BLOCK_WORDS + 1] = {0};
    unsigned skip = at % 8, down = (skip - to) % 8; /* after whole bytes, bits move down */

    if (n == BLOCK_PAGES && !skip) {
        memcpy(block, bits + at / 8, BLOCK_PAGES / 8);
        bl_swap_words(block, BLOCK_WORDS);
        return;
    }
    memcpy((uint8_t *)words + (to + down - skip) / 8, bits + at / 8, (size_t)(skip + n + 7) / 8);
    bl_swap_words(words, BLOCK_WORDS + 1);
    for (uint64_t w = 0; w < BLOCK_WORDS; w++)
        block[w] = words[w] >> down | words[w + 1] << 1 << (WORD_BITS - 1 - down);
    for (uint64_t w = 0; n < BLOCK_PAGES && w < BLOCK_WORDS; w++)
        block[w] &=
            w < to / WORD_BITS || w > (to + n - 1) / WORD_BITS ? 0 : bits_mask(w, to, to + n);
}

/* bits_ones() of all words; their sums are added as bytes. */
static ALWAYS_INLINE unsigned block_ones(const uint64_t block[BLOCK_WORDS])
{
    const uint64_t halves = UINT64_C(0x00ff00ff00ff00ff);
    uint64_t sum = 0;

    for (unsigned i = 0; i < BLOCK_WORDS; i++) {
        uint64_t x = block[i];

        x -= (x >> 1) & UINT64_C(0x5555555555555555);
        x = (x & UINT64_C(0x3333333333333333)) + ((x >> 2) & UINT64_C(0x3333333333333333));
        sum += (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    }
    sum = (sum & halves) + (sum >> 8 & halves);
    return (unsigned)((sum * UINT64_C(0x0001000100010001)) >> 48);
}

/* Hold the named pages of a block, `count` of them. Returns those that were not held. */
static unsigned hold_block(balloon_tracker *t, uint64_t block, const uint64_t named[BLOCK_WORDS],
                           unsigned count)
{
    uint64_t *held = t->held + block * BLOCK_WORDS, fresh[BLOCK_WORDS];
    unsigned was = t->in[block].held, n = count;

    if (was == BLOCK_PAGES)
        return 0;
    if (was) {
        for (unsigned i = 0; i < BLOCK_WORDS; i++)
            fresh[i] = named[i] & ~held[i];
        n = block_ones(fresh);
    }
    if (!n)
        return 0;
    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        held[i] |= named[i];
    t->in[block].held = (uint16_t)(was + n);
    t->held_pages += n;
    if (!was)
        summary_set(&t->some, block);
    if (was + n == BLOCK_PAGES)
        summary_clear(&t->room, block);
    return n;
}

/* Pages lo..hi-1 of a region are the bits from number `at` on. A giant is looked at when all that
 * the bitmap has of it is in, or each block of it would cost as much as the giant. */
static void import_part(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi,
                        const uint8_t *bits, uint64_t at, balloon_tally *tally)
{
    uint64_t giant = hi, first = 0;

    for (uint64_t end; lo < hi; at += end - lo, lo = end) {
        uint64_t block = lo / BLOCK_PAGES, named[BLOCK_WORDS], any = 0;

        end = (block + 1) * BLOCK_PAGES;
        end = end < hi ? end : hi;
        get_block(bits, at, end - lo, lo % BLOCK_PAGES, named);
        for (unsigned i = 0; i < BLOCK_WORDS; i++)
            any |= named[i];
        if (!any)
            continue;
        unsigned count = block_ones(named), fresh = hold_block(t, block, named, count);

        tally->changed += fresh;
        tally->unchanged += count - fresh;
        if (!t->gather || r->granule == 1)
            continue;
        bl_tracker_regather_block(t, r, block, named);
        if (!bl_tracker_giants(r) || !bl_tracker_granule_at(r, lo, &first))
            continue;
        if (giant < first)
            bl_tracker_regather(t, r, giant);
        giant = first;
    }
    if (giant < hi)
        bl_tracker_regather(t, r, giant);
}

/* Bits at..end-1 that are set. */
static uint64_t count_bits(const uint8_t *bits, uint64_t at, uint64_t end)
{
    uint64_t named[BLOCK_WORDS], count = 0;

    for (uint64_t n; at < end; at += n) {
        n = end - at < BLOCK_PAGES ? end - at : BLOCK_PAGES;
        get_block(bits, at, n, 0, named);
        count += block_ones(named);
    }
    return count;
}

balloon_status balloon_tracker_import(balloon_tracker *t, balloon_range range, const uint8_t *bits,
                                      size_t bytes, balloon_tally *tally)
{
    const region *r = bl_tracker_region_after(t, range.first),
                 *regions_end = t->regions + t->region_count;
    uint64_t stop = balloon_range_end(range), at = 0;
    balloon_tally sum = {0};

    if (!bl_tracker_bitmap_fits(range, bytes))
        return BALLOON_ERR_NOSPACE;
    for (; r < regions_end && r->first < stop; r++) {
        uint64_t from = (range.first > r->first ? range.first : r->first) - range.first;
        uint64_t to = (stop < r->end ? stop : r->end) - range.first;

        sum.outside += count_bits(bits, at, from);
        import_part(t, r, range.first + from + r->shift, range.first + to + r->shift, bits, from,
                    &sum);
        at = to;
    }
    /* Pages past the end of the 64-bit space exist as little as others that are in no region. */
    sum.outside += count_bits(bits, at, range.count);
    if (tally) {
        tally->changed += sum.changed;
        tally->unchanged += sum.unchanged;
        tally->outside += sum.outside;
    }
    return BALLOON_OK;
}
