/* Regions of guest memory: they come and go, and their rows of blocks move. */
#include <string.h>

#include "tracker_p.h"

/* By whole words: of blocks before `from` nothing else is known. Where nothing is held or pending
 * the counters are not read, since to read memory that nobody touched costs more than all else. */
void bl_tracker_rebuild(balloon_tracker *t, uint64_t from, uint64_t end)
{
    summary *const to[] = {&t->some, &t->room, &t->waiting, &t->ready, &t->calm, &t->reported};
    uint64_t b = from & ~(uint64_t)(WORD_BITS - 1), first = 0;
    const region *r = NULL;

    while (b < end) {
        uint64_t w = b / WORD_BITS, some = 0, full = 0, waiting = 0, busy = 0, used = 0;

        for (uint64_t bit = 1; bit && b < t->blocks; bit <<= 1, b++) {
            used |= bit;
            if (!t->held_pages && !t->pending_pages)
                continue;
            if (!r || b >= r->block + r->blocks)
                r = bl_tracker_region_of_block(t, b);
            unsigned held = t->in[b].held;
            unsigned pending = bl_giant_masks(t, r, b * BLOCK_PAGES, &first) ? 0 : t->pending_in[b];

            some |= held ? bit : 0;
            full |= held == BLOCK_PAGES ? bit : 0;
            waiting |= pending ? bit : 0;
            busy |= pending == BLOCK_PAGES ? bit : 0;
        }
        b = (w + 1) * WORD_BITS;
        const uint64_t now[] = {some,    used & ~full, waiting,
                                waiting, used & ~busy, t->any_reported ? waiting : 0};

        for (int i = 0; i < 6; i++) {
            to[i]->bit[w] = now[i];
            summary_note(to[i], w);
        }
    }
}

/* Then all rows are alike, and need not be moved. */
static bool nothing_is_known(const balloon_tracker *t)
{
    return !t->held_pages && !t->pending_pages && !t->hinted_pages;
}

/* Move the rows from block `from` up or down to block `to`, without their summaries. */
static void move_rows(balloon_tracker *t, uint64_t to, uint64_t from)
{
    size_t rows = (size_t)(t->blocks - from);
    uint64_t *const maps[3] = {t->held, t->pending, t->hinted};

    for (int i = 0; i < 3; i++)
        if (maps[i])
            memmove(maps[i] + to * BLOCK_WORDS, maps[i] + from * BLOCK_WORDS,
                    rows * BLOCK_WORDS * sizeof(uint64_t));
    memmove(t->in + to, t->in + from, rows * sizeof(*t->in));
    memmove(t->pending_in + to, t->pending_in + from, rows * sizeof(uint16_t));
}

static void clear_rows(balloon_tracker *t, uint64_t from, uint64_t count)
{
    uint64_t *const maps[3] = {t->held, t->pending, t->hinted};

    for (int i = 0; i < 3; i++)
        if (maps[i])
            memset(maps[i] + from * BLOCK_WORDS, 0,
                   (size_t)(count * BLOCK_WORDS) * sizeof(uint64_t));
    memset(t->in + from, 0, (size_t)count * sizeof(*t->in));
    memset(t->pending_in + from, 0, (size_t)count * sizeof(uint16_t));
}

void bl_tracker_place(region *r, uint64_t block)
{
    balloon_range whole = {r->first, r->end - r->first};

    whole = balloon_range_inward(whole, r->granule);
    r->block = block;
    r->shift = block * BLOCK_PAGES - (r->first & ~(BLOCK_PAGES - 1));
    r->whole_lo = whole.first + r->shift;
    r->whole_hi = r->whole_lo + whole.count;
}

/* Regions from a position on move up or down by some blocks. */
static void shift_regions(balloon_tracker *t, uint32_t from, uint64_t blocks)
{
    for (region *r = t->regions + from; r < t->regions + t->region_count; r++) {
        r->block += blocks;
        r->shift += blocks * BLOCK_PAGES;
        r->whole_lo += blocks * BLOCK_PAGES;
        r->whole_hi += blocks * BLOCK_PAGES;
    }
}

static uint32_t unused_id(const balloon_tracker *t)
{
    uint64_t used[MAX_REGIONS / WORD_BITS] = {0};
    uint32_t w = 0;

    for (uint32_t i = 0; i < t->region_count; i++)
        used[t->regions[i].id / WORD_BITS] |= UINT64_C(1) << t->regions[i].id % WORD_BITS;
    while (!~used[w])
        w++;
    return w * WORD_BITS + bits_lowest(~used[w]);
}

balloon_status bl_tracker_describe(const balloon_region *wanted, region *r)
{
    uint64_t granule = wanted->granule ? wanted->granule : 1;

    if (!wanted->count || granule > BALLOON_GRANULE_MAX || (granule & (granule - 1)))
        return BALLOON_ERR_INVALID;
    if (wanted->first >= MAX_PAGES || wanted->count > MAX_PAGES - wanted->first)
        return BALLOON_ERR_RANGE;
    r->first = wanted->first;
    r->end = wanted->first + wanted->count;
    r->granule = granule;
    r->blocks = (r->end - 1) / BLOCK_PAGES + 1 - r->first / BLOCK_PAGES;
    return BALLOON_OK;
}

balloon_status bl_tracker_add(balloon_tracker *t, const balloon_region *wanted,
                              const struct granule_runs *runs, uint32_t *id)
{
    region r;
    balloon_status status = bl_tracker_describe(wanted, &r);
    uint32_t at = 0;

    if (status != BALLOON_OK)
        return status;
    at = (uint32_t)(bl_tracker_region_after(t, r.first) - t->regions);
    if (at < t->region_count && t->regions[at].first < r.end)
        return BALLOON_ERR_INVALID;
    if (t->region_count == t->max_regions || wanted->count > t->max_pages - t->pages)
        return BALLOON_ERR_NOSPACE;

    bl_tracker_leave_line(t);
    uint64_t block = at < t->region_count ? t->regions[at].block : t->blocks, dirty = t->blocks;
    r.id = unused_id(t);
    r.granule = runs ? r.granule : 1;
    t->granule_runs = runs;
    bl_tracker_place(&r, block);

    if (!nothing_is_known(t)) {
        move_rows(t, block + r.blocks, block);
        clear_rows(t, block, r.blocks);
        dirty = block;
    }
    shift_regions(t, at, r.blocks);
    memmove(&t->regions[at + 1], &t->regions[at], (t->region_count - at) * sizeof(r));
    t->regions[at] = r;
    t->region_count++;
    t->blocks += r.blocks;
    t->pages += wanted->count;
    bl_tracker_rebuild(t, dirty, t->blocks);
    if (id)
        *id = r.id;
    return BALLOON_OK;
}

static uint32_t position_of(const balloon_tracker *t, uint32_t id)
{
    uint32_t at = 0;

    while (at < t->region_count && t->regions[at].id != id)
        at++;
    return at;
}

balloon_status balloon_tracker_remove_region(balloon_tracker *t, uint32_t id)
{
    uint32_t at = position_of(t, id);

    if (at == t->region_count)
        return BALLOON_ERR_INVALID;

    bl_tracker_leave_line(t);
    const region r = t->regions[at];
    const balloon_range all = {r.first, r.end - r.first};

    t->ready_pages -= bl_tracker_count_ready(t, &r, r.whole_lo, r.whole_hi);
    for (uint64_t g = r.whole_lo; bl_tracker_giants(&r) && g < r.whole_hi; g += r.granule)
        bl_tracker_lose_granule(t, &r, g);
    for (uint64_t b = r.block; !bl_tracker_giants(&r) && b < r.block + r.blocks; b++)
        t->returned_pages -= t->in[b].returned;
    t->held_pages -= balloon_tracker_count(t, BALLOON_SET_HELD, all);
    t->pending_pages -= balloon_tracker_count(t, BALLOON_SET_PENDING, all);
    t->hinted_pages -= balloon_tracker_count(t, BALLOON_SET_HINTED, all);

    move_rows(t, r.block, r.block + r.blocks);
    clear_rows(t, t->blocks - r.blocks, r.blocks);
    t->region_count--;
    memmove(&t->regions[at], &t->regions[at + 1], (t->region_count - at) * sizeof(r));
    t->blocks -= r.blocks;
    t->pages -= r.end - r.first;
    shift_regions(t, at, ~r.blocks + 1);
    bl_tracker_rebuild(t, r.block, t->blocks + r.blocks);
    return BALLOON_OK;
}

balloon_status balloon_tracker_region(const balloon_tracker *t, uint32_t id,
                                      balloon_region *region_out)
{
    uint32_t at = position_of(t, id);

    if (at == t->region_count)
        return BALLOON_ERR_INVALID;
    region_out->first = t->regions[at].first;
    region_out->count = t->regions[at].end - t->regions[at].first;
    region_out->granule = t->regions[at].granule;
    return BALLOON_OK;
}
