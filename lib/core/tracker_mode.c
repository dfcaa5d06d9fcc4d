/* State that no buffer brings: what a change of mode makes of the pages that are held, and pages
 * that come from a saved device or another host. */
#include "bytes.h"
#include "tracker_p.h"

/* The giant at index lo came in whole, and counts as given back. */
static void give_giant(balloon_tracker *t, const region *r, uint64_t lo)
{
    if (*bl_giant_given(t, lo))
        return;
    *bl_giant_given(t, lo) = 1;
    if (!t->gather) {
        t->returned_pages += r->granule;
        return;
    }
    bl_tracker_wait(t, lo, lo + r->granule);
    *bl_giant_full(t, lo) = (uint16_t)(r->granule / BLOCK_PAGES);
    bl_giant_note(t, r, lo, false);
    t->pending_pages -= r->granule;
}

static bool any_pending(const balloon_tracker *t, const region *r, uint64_t lo)
{
    balloon_range granule = {lo - r->shift, r->granule};

    return balloon_tracker_count(t, BALLOON_SET_PENDING, granule) != 0;
}

/* Pages lo..hi-1 are held as before or came in as given back. Make pending what is held of
 * incomplete granules; complete ones without anything pending are given back. */
static void regather(balloon_tracker *t, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t edge = r->whole_lo < r->whole_hi && hi > r->whole_lo ? r->whole_lo : hi;

    if (r->granule == 1)
        return; /* a single page is complete, and waits or does not */
    /* The edges of a region are in no whole granule and wait for ever. */
    bl_tracker_wait_held(t, lo, edge, true);
    bl_tracker_wait_held(t, lo > r->whole_hi ? lo : r->whole_hi, hi, true);
    if (!bl_tracker_granules(r, &lo, &hi))
        return;
    uint64_t before = bl_tracker_count_ready(t, r, lo, hi);

    for (uint64_t g = lo; g < hi; g += r->granule) {
        bool complete = bl_tracker_granule_held(t, r, g) && !any_pending(t, r, g);

        if (complete && bl_tracker_giants(r))
            give_giant(t, r, g);
        if (complete)
            continue;
        bl_tracker_wait_held(t, g, g + r->granule, true);
        if (bl_tracker_giants(r))
            *bl_giant_full(t, g) = (uint16_t)bl_tracker_full_blocks(t, g, g + r->granule);
    }
    t->ready_pages += bl_tracker_count_ready(t, r, lo, hi) - before;
    bl_tracker_note_ready(t, r, lo, hi);
}

void bl_tracker_set_returned(balloon_tracker *t, balloon_range range)
{
    uint64_t stop = balloon_range_end(range);
    const region *end = t->regions + t->region_count;

    for (const region *r = bl_tracker_region_after(t, range.first); r < end && r->first < stop;
         r++) {
        balloon_range part = {range.first > r->first ? range.first : r->first, 0};

        part.count = (stop < r->end ? stop : r->end) - part.first;
        part = balloon_range_inward(part, r->granule);
        for (uint64_t g = part.first + r->shift; part.count; part.count -= r->granule) {
            bool returned = bl_tracker_granule_held(t, r, g) && !any_pending(t, r, g);

            if (returned && bl_tracker_giants(r)) {
                give_giant(t, r, g);
            } else if (returned) {
                t->in[g / BLOCK_PAGES].returned =
                    (uint16_t)(t->in[g / BLOCK_PAGES].returned + r->granule);
                t->returned_pages += r->granule;
            }
            g += r->granule;
        }
    }
}

void balloon_tracker_set_gather(balloon_tracker *t, bool gather)
{
    if (t->gather == gather)
        return;
    bl_tracker_leave_line(t);
    if (!gather)
        for (const region *r = t->regions; r < t->regions + t->region_count; r++)
            for (uint64_t g = r->whole_lo; bl_tracker_giants(r) && g < r->whole_hi; g += r->granule)
                bl_tracker_lose_granule(t, r, g); /* its bits are to be cleared */
    t->gather = gather;
    bl_tracker_forget_returned(t);
    if (!gather)
        balloon_tracker_settle(t); /* the promise for what gathered is over */
    else if (t->held_pages)
        for (const region *r = t->regions; r < t->regions + t->region_count; r++)
            regather(t, r, region_lo(r), region_hi(r));
}

/* --- import --------------------------------------------------------------------------------- */

/* Pages that came in, and whose granules are not looked at yet: not before all that the bitmap has
 * of a granule is in, or each run of it would cost as much as the granule. */
struct arrival {
    const region *r;
    uint64_t lo, hi;
};

static void look_at(balloon_tracker *t, const struct arrival *a)
{
    if (a->r && t->gather)
        regather(t, a->r, a->lo, a->hi);
}

static void arrive(balloon_tracker *t, struct arrival *a, const region *r, uint64_t lo, uint64_t hi)
{
    uint64_t last = 0, next = 0;

    bl_tracker_granule_at(r, a->hi - 1, &last);
    bl_tracker_granule_at(r, lo, &next);
    if (a->r != r || last != next) {
        look_at(t, a);
        a->r = r;
        a->lo = lo;
    }
    a->hi = hi;
}

/* The first bit from number `at` on that is set, or that is not; or end. */
static uint64_t find_bit(const uint8_t *bits, uint64_t at, uint64_t end, bool set)
{
    const uint8_t skip = set ? 0 : 0xff;

    for (; at < end; at++) {
        if (at % 8 == 0)
            for (; end - at >= 64 && bl_get_le(bits + at / 8, 8) == (set ? 0 : ~UINT64_C(0));)
                at += 64;
        if (at % 8 == 0 && end - at >= 8 && bits[at / 8] == skip)
            at += 7;
        else if (at < end && (bits[at / 8] >> (at % 8) & 1) == set)
            return at;
    }
    return end;
}

balloon_status balloon_tracker_import(balloon_tracker *t, balloon_range range, const uint8_t *bits,
                                      size_t bytes, balloon_tally *tally)
{
    uint64_t i = 0;
    balloon_tally sum = {0};
    struct arrival arrival = {0};

    if (!bl_tracker_bitmap_fits(range, bytes))
        return BALLOON_ERR_NOSPACE;
    while ((i = find_bit(bits, i, range.count, true)) < range.count) {
        uint64_t n = find_bit(bits, i, range.count, false) - i;

        if (range.first + i < range.first)
            break; /* page numbers end here */
        balloon_range run = {range.first + i, n};
        uint64_t stop = balloon_range_end(run), inside = 0;
        const region *end = t->regions + t->region_count,
                     *r = bl_tracker_region_after(t, run.first);

        for (; r < end && r->first < stop; r++) {
            uint64_t lo = (run.first > r->first ? run.first : r->first) + r->shift;
            uint64_t hi = (stop < r->end ? stop : r->end) + r->shift;

            sum.changed += bl_tracker_hold(t, lo, hi);
            inside += hi - lo;
            arrive(t, &arrival, r, lo, hi);
        }
        sum.outside += n - inside;
        sum.unchanged += inside;
        i += n;
    }
    look_at(t, &arrival);
    if (tally) {
        tally->changed += sum.changed;
        tally->unchanged += sum.unchanged - sum.changed;
        tally->outside += sum.outside;
    }
    return BALLOON_OK;
}
