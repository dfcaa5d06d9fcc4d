/* The tracker's life: memory, modes, regions that come and go. */
#include <string.h>

#include "tracker_p.h"

#define DEFAULT_REGIONS 8u

/* Rounded up; the unit is a constant power of two, so no division is left for a 32-bit guest. */
#define UNITS(n, unit) ((n) / (unit) + ((n) % (unit) != 0))

/* Everything in one piece of memory: offsets of the parts, found the same way by layout and
 * init. */
struct parts {
    size_t regions, held, pending, hinted, held_in, pending_in, returned_in, summary[5], bytes;
    uint64_t blocks, summary_words, top_words;
};

static bool find_parts(const balloon_tracker_config *config, struct parts *p)
{
    uint64_t at = sizeof(balloon_tracker), regions = config->max_regions;

    if (!regions)
        regions = DEFAULT_REGIONS;
    if (config->size < sizeof(*config) || !config->max_pages || config->max_pages > MAX_PAGES ||
        regions > MAX_REGIONS)
        return false;
    /* A region may begin and end inside a block, which costs it up to two more. */
    p->blocks = UNITS(config->max_pages, BLOCK_PAGES) + 2 * regions;
    p->summary_words = UNITS(p->blocks, WORD_BITS);
    p->top_words = UNITS(p->summary_words, WORD_BITS);

    at = UNITS(at, sizeof(uint64_t)) * sizeof(uint64_t);
    p->regions = (size_t)at;
    at += regions * sizeof(region);
    p->held = (size_t)at;
    at += p->blocks * BLOCK_WORDS * sizeof(uint64_t);
    p->pending = (size_t)at;
    at += p->blocks * BLOCK_WORDS * sizeof(uint64_t);
    p->hinted = (size_t)at;
    if (config->hints)
        at += p->blocks * BLOCK_WORDS * sizeof(uint64_t);
    for (int i = 0; i < 5; i++) {
        p->summary[i] = (size_t)at;
        at += (p->summary_words + p->top_words) * sizeof(uint64_t);
    }
    p->held_in = (size_t)at;
    at += p->blocks * sizeof(uint16_t);
    p->pending_in = (size_t)at;
    at += p->blocks * sizeof(uint16_t);
    p->returned_in = (size_t)at;
    at += p->blocks * sizeof(uint16_t);
    p->bytes = (size_t)at;
    return at <= SIZE_MAX / 2;
}

balloon_status balloon_tracker_layout(const balloon_tracker_config *config, balloon_layout *layout)
{
    struct parts p;

    if (!config || !layout || !find_parts(config, &p))
        return BALLOON_ERR_INVALID;
    layout->bytes = p.bytes;
    layout->align = _Alignof(max_align_t) > _Alignof(balloon_tracker) ? _Alignof(max_align_t)
                                                                      : _Alignof(balloon_tracker);
    return BALLOON_OK;
}

balloon_status balloon_tracker_init(void *memory, size_t bytes,
                                    const balloon_tracker_config *config, balloon_tracker **tracker)
{
    balloon_tracker *t = memory;
    uint8_t *base = memory;
    struct parts p;

    if (!memory || !config || !tracker || !find_parts(config, &p) ||
        (uintptr_t)memory % _Alignof(balloon_tracker))
        return BALLOON_ERR_INVALID;
    if (bytes < p.bytes)
        return BALLOON_ERR_NOSPACE;

    memset(memory, 0, p.bytes);
    t->regions = (region *)(void *)(base + p.regions);
    t->held = (uint64_t *)(void *)(base + p.held);
    t->pending = (uint64_t *)(void *)(base + p.pending);
    t->hinted = config->hints ? (uint64_t *)(void *)(base + p.hinted) : NULL;
    t->held_in = (uint16_t *)(void *)(base + p.held_in);
    t->pending_in = (uint16_t *)(void *)(base + p.pending_in);
    t->returned_in = (uint16_t *)(void *)(base + p.returned_in);

    summary *const summaries[5] = {&t->some, &t->room, &t->waiting, &t->ready, &t->reported};
    for (int i = 0; i < 5; i++) {
        summaries[i]->bit = (uint64_t *)(void *)(base + p.summary[i]);
        summaries[i]->top = summaries[i]->bit + p.summary_words;
    }
    t->max_pages = config->max_pages;
    t->max_regions = config->max_regions ? config->max_regions : DEFAULT_REGIONS;
    t->max_blocks = p.blocks;
    *tracker = t;
    return BALLOON_OK;
}

void balloon_tracker_reset(balloon_tracker *t)
{
    size_t words = (size_t)(t->blocks * BLOCK_WORDS);

    memset(t->held, 0, words * sizeof(uint64_t));
    memset(t->pending, 0, words * sizeof(uint64_t));
    memset(t->held_in, 0, (size_t)t->blocks * sizeof(uint16_t));
    memset(t->pending_in, 0, (size_t)t->blocks * sizeof(uint16_t));
    t->held_pages = t->pending_pages = t->ready_pages = 0;
    bl_tracker_forget_returned(t);
    t->any_reported = false;
    balloon_tracker_forget_hints(t);
    bl_tracker_rebuild(t, 0, t->blocks);
}

void bl_tracker_forget_returned(balloon_tracker *t)
{
    if (t->returned_pages)
        memset(t->returned_in, 0, (size_t)t->blocks * sizeof(uint16_t));
    t->returned_pages = 0;
}

void balloon_tracker_forget_hints(balloon_tracker *t)
{
    if (t->hinted && t->hinted_pages)
        memset(t->hinted, 0, (size_t)(t->blocks * BLOCK_WORDS) * sizeof(uint64_t));
    t->hinted_pages = 0;
}

void bl_tracker_rebuild(balloon_tracker *t, uint64_t from, uint64_t end)
{
    for (uint64_t b = from; b < end; b++) {
        bool used = b < t->blocks;
        bool pending = used && t->pending_in[b];

        (used && t->held_in[b] ? summary_set : summary_clear)(&t->some, b);
        (used && t->held_in[b] < BLOCK_PAGES ? summary_set : summary_clear)(&t->room, b);
        (pending ? summary_set : summary_clear)(&t->waiting, b);
        (pending ? summary_set : summary_clear)(&t->ready, b);
        (pending && t->any_reported ? summary_set : summary_clear)(&t->reported, b);
    }
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
    memmove(t->held_in + to, t->held_in + from, rows * sizeof(uint16_t));
    memmove(t->pending_in + to, t->pending_in + from, rows * sizeof(uint16_t));
    memmove(t->returned_in + to, t->returned_in + from, rows * sizeof(uint16_t));
}

static void clear_rows(balloon_tracker *t, uint64_t from, uint64_t count)
{
    uint64_t *const maps[3] = {t->held, t->pending, t->hinted};

    for (int i = 0; i < 3; i++)
        if (maps[i])
            memset(maps[i] + from * BLOCK_WORDS, 0,
                   (size_t)(count * BLOCK_WORDS) * sizeof(uint64_t));
    memset(t->held_in + from, 0, (size_t)count * sizeof(uint16_t));
    memset(t->pending_in + from, 0, (size_t)count * sizeof(uint16_t));
    memset(t->returned_in + from, 0, (size_t)count * sizeof(uint16_t));
}

static void place_region(region *r, uint64_t block)
{
    balloon_range whole = {r->first, r->end - r->first};

    whole = balloon_range_inward(whole, r->granule);
    r->block = block;
    r->shift = block * BLOCK_PAGES - (r->first & ~(BLOCK_PAGES - 1));
    r->whole_lo = whole.first + r->shift;
    r->whole_hi = r->whole_lo + whole.count;
}

static uint32_t unused_id(const balloon_tracker *t)
{
    for (uint32_t id = 0;; id++) {
        uint32_t i = 0;

        while (i < t->region_count && t->regions[i].id != id)
            i++;
        if (i == t->region_count)
            return id;
    }
}

balloon_status balloon_tracker_add_region(balloon_tracker *t, const balloon_region *wanted,
                                          uint32_t *id)
{
    uint64_t granule = wanted->granule ? wanted->granule : 1;
    region r = {.first = wanted->first, .granule = granule};
    uint32_t at = 0;

    if (!wanted->count || granule > BALLOON_GRANULE_MAX || (granule & (granule - 1)))
        return BALLOON_ERR_INVALID;
    if (wanted->first >= MAX_PAGES || wanted->count > MAX_PAGES - wanted->first)
        return BALLOON_ERR_RANGE;
    r.end = wanted->first + wanted->count;
    while (at < t->region_count && t->regions[at].end <= r.first)
        at++;
    if (at < t->region_count && t->regions[at].first < r.end)
        return BALLOON_ERR_INVALID;
    if (t->region_count == t->max_regions || wanted->count > t->max_pages - t->pages)
        return BALLOON_ERR_NOSPACE;

    uint64_t block = at < t->region_count ? t->regions[at].block : t->blocks;
    r.blocks = UNITS(r.end, BLOCK_PAGES) - r.first / BLOCK_PAGES;
    r.id = unused_id(t);
    place_region(&r, block);

    move_rows(t, block + r.blocks, block);
    clear_rows(t, block, r.blocks);
    memmove(&t->regions[at + 1], &t->regions[at], (t->region_count - at) * sizeof(r));
    t->regions[at] = r;
    t->region_count++;
    t->blocks += r.blocks;
    t->pages += wanted->count;
    for (uint32_t i = at + 1; i < t->region_count; i++)
        place_region(&t->regions[i], t->regions[i].block + r.blocks);
    bl_tracker_rebuild(t, block, t->blocks);
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

    const region r = t->regions[at];
    for (uint64_t b = r.block; b < r.block + r.blocks; b++) {
        t->held_pages -= t->held_in[b];
        t->pending_pages -= t->pending_in[b];
        t->returned_pages -= t->returned_in[b];
    }
    t->ready_pages -= bl_tracker_count_ready(t, &r, r.whole_lo, r.whole_hi);
    if (t->hinted)
        t->hinted_pages -= bits_count(t->hinted, region_lo(&r), region_hi(&r));

    move_rows(t, r.block, r.block + r.blocks);
    clear_rows(t, t->blocks - r.blocks, r.blocks);
    t->region_count--;
    memmove(&t->regions[at], &t->regions[at + 1], (t->region_count - at) * sizeof(r));
    t->blocks -= r.blocks;
    t->pages -= r.end - r.first;
    for (uint32_t i = at; i < t->region_count; i++)
        place_region(&t->regions[i], t->regions[i].block - r.blocks);
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

const region *bl_tracker_region_after(const balloon_tracker *t, balloon_pfn_t pfn)
{
    uint32_t lo = 0, hi = t->region_count;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (t->regions[mid].end <= pfn)
            lo = mid + 1;
        else
            hi = mid;
    }
    return t->regions + lo;
}

const region *bl_tracker_region_of_block(const balloon_tracker *t, uint64_t block)
{
    uint32_t lo = 0, hi = t->region_count - 1;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo + 1) / 2;

        if (t->regions[mid].block <= block)
            lo = mid;
        else
            hi = mid - 1;
    }
    return t->regions + lo;
}

uint64_t balloon_tracker_pages(const balloon_tracker *t)
{
    return t->pages;
}

uint64_t balloon_tracker_held(const balloon_tracker *t)
{
    return t->held_pages;
}

uint64_t balloon_tracker_pending(const balloon_tracker *t)
{
    return t->pending_pages;
}

uint64_t balloon_tracker_returned(const balloon_tracker *t)
{
    if (!t->gather)
        return t->returned_pages;
    return t->held_pages > t->pending_pages ? t->held_pages - t->pending_pages : 0;
}

uint64_t balloon_tracker_ready(const balloon_tracker *t)
{
    return t->ready_pages;
}

uint64_t balloon_tracker_hinted(const balloon_tracker *t)
{
    return t->hinted_pages;
}
