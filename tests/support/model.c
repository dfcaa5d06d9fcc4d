#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void model_init(struct model *model, uint64_t max_pages, uint32_t max_regions, bool hints)
{
    *model = (struct model){
        .max_pages = max_pages, .max_regions = max_regions ? max_regions : 8, .hints = hints};
}

void model_free(struct model *model)
{
    for (int i = 0; i < MODEL_REGIONS; i++)
        free(model->region[i].page);
    memset(model, 0, sizeof(*model));
}

static uint64_t end_of(balloon_range range)
{
    return range.count > UINT64_MAX - range.first ? UINT64_MAX : range.first + range.count;
}

unsigned model_region_verdict(const struct model *model, const balloon_region *region)
{
    unsigned verdict = 0;
    uint64_t granule = region->granule ? region->granule : 1;
    if (!region->count || granule > BALLOON_GRANULE_MAX || (granule & (granule - 1)))
        verdict |= 1u << BALLOON_ERR_INVALID;
    const uint64_t top = (uint64_t)1 << 40;
    if (region->first > top || region->count > top - region->first)
        verdict |= 1u << BALLOON_ERR_RANGE;
    uint64_t pages = 0;
    uint32_t regions = 0;
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *other = &model->region[i];
        if (!other->used)
            continue;
        if (region->first < other->at.first + other->at.count &&
            end_of((balloon_range){region->first, region->count}) > other->at.first)
            verdict |= 1u << BALLOON_ERR_INVALID;
        pages += other->at.count;
        regions++;
    }
    if (regions >= model->max_regions || region->count > model->max_pages - pages)
        verdict |= 1u << BALLOON_ERR_NOSPACE;
    return verdict ? verdict : 1u << BALLOON_OK;
}

void model_add_region(struct model *model, const balloon_region *region, uint32_t id)
{
    struct model_region *slot = &model->region[id];
    slot->used = true;
    slot->at = *region;
    if (!slot->at.granule)
        slot->at.granule = 1;
    slot->page = calloc(region->count, sizeof(*slot->page));
    if (!slot->page)
        abort();
}

void model_remove_region(struct model *model, uint32_t id)
{
    free(model->region[id].page);
    model->region[id] = (struct model_region){0};
}

struct model_page *model_page_at(const struct model *model, balloon_pfn_t pfn,
                                 const struct model_region **region)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *r = &model->region[i];
        if (r->used && pfn >= r->at.first && pfn - r->at.first < r->at.count) {
            if (region)
                *region = r;
            return &r->page[pfn - r->at.first];
        }
    }
    return NULL;
}

/* The part of a region that a range names, as indices; false when there is none. */
static bool clip(const struct model_region *region, balloon_range range, uint64_t *from,
                 uint64_t *to)
{
    if (!region->used)
        return false;
    uint64_t end = end_of(range);
    uint64_t region_end = region->at.first + region->at.count;
    uint64_t first = range.first > region->at.first ? range.first : region->at.first;
    uint64_t last = end < region_end ? end : region_end;
    if (first >= last)
        return false;
    *from = first - region->at.first;
    *to = last - region->at.first;
    return true;
}

static uint64_t outside(const struct model *model, balloon_range range)
{
    uint64_t count = range.count;
    for (int i = 0; i < MODEL_REGIONS; i++) {
        uint64_t from, to;
        if (clip(&model->region[i], range, &from, &to))
            count -= to - from;
    }
    return count;
}

/* The granule around a page, as indices; false when the region does not have all of it. */
static bool granule_around(const struct model_region *region, uint64_t index, uint64_t *from,
                           uint64_t *to)
{
    uint64_t pfn = region->at.first + index;
    uint64_t start = pfn - pfn % region->at.granule;
    uint64_t end = start + region->at.granule;
    uint64_t region_end = region->at.first + region->at.count;
    *from = (start > region->at.first ? start : region->at.first) - region->at.first;
    *to = (end < region_end ? end : region_end) - region->at.first;
    return start >= region->at.first && end <= region_end;
}

void model_reset(struct model *model)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        if (r->used)
            memset(r->page, 0, r->at.count * sizeof(*r->page));
    }
}

/* In gathering mode a complete granule with nothing pending is given back; every other held page
 * is pending. */
static void regather(const struct model_region *region, uint64_t from, uint64_t to, bool whole)
{
    bool back = whole;
    for (uint64_t p = from; p < to; p++)
        back = back && region->page[p].held && !region->page[p].pending;
    for (uint64_t p = from; p < to && !back; p++)
        region->page[p].pending = region->page[p].held;
    for (uint64_t p = from; p < to; p++)
        region->page[p].returned = back;
}

void model_set_gather(struct model *model, bool gather)
{
    for (int i = 0; i < MODEL_REGIONS && gather != model->gather; i++) {
        struct model_region *r = &model->region[i];
        for (uint64_t p = 0, end; r->used && p < r->at.count; p = end) {
            uint64_t from;
            bool whole = granule_around(r, p, &from, &end);
            if (gather)
                regather(r, from, end, whole);
            for (uint64_t q = from; q < end && !gather; q++)
                r->page[q].pending = 0;
        }
    }
    model->gather = gather;
}

void model_inflate(struct model *model, balloon_range range, balloon_tally *tally)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        uint64_t from, to;
        if (!clip(r, range, &from, &to))
            continue;
        for (uint64_t p = from; p < to; p++) {
            if (r->page[p].held) {
                tally->unchanged++;
                continue;
            }
            tally->changed++;
            r->page[p].held = 1;
            r->page[p].pending = 1;
        }
    }
    tally->outside += outside(model, range);
}

void model_deflate(struct model *model, balloon_range range, balloon_tally *tally)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        uint64_t from, to;
        if (!clip(r, range, &from, &to))
            continue;
        for (uint64_t p = from; p < to; p++) {
            if (r->page[p].held)
                tally->changed++;
            else
                tally->unchanged++;
            tally->cancelled += r->page[p].held && r->page[p].pending;
            for (uint64_t g = p, g_end, all = granule_around(r, p, &g, &g_end); g < g_end; g++)
                if (r->page[p].held && all)
                    r->page[g].returned = 0;
            r->page[p].held = 0;
        }
        for (uint64_t p = from, end; p < to; p = end) {
            uint64_t g;
            granule_around(r, p, &g, &end);
            for (; g < end; g++)
                if (g >= from && g < to)
                    r->page[g].pending = 0;
                else if (model->gather && r->page[g].held)
                    r->page[g].pending = 1;
        }
    }
    tally->outside += outside(model, range);
}

void model_report(struct model *model, balloon_range range, balloon_tally *tally)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        uint64_t from, to;
        if (!clip(r, range, &from, &to))
            continue;
        for (uint64_t p = from; p < to; p++) {
            uint64_t g, g_end;
            bool whole = granule_around(r, p, &g, &g_end) && g >= from && g_end <= to;
            if (whole && !r->page[p].pending) {
                r->page[p].pending = 1;
                tally->changed++;
            } else {
                tally->unchanged++;
            }
        }
    }
    tally->outside += outside(model, range);
}

void model_hint(struct model *model, balloon_range range, balloon_tally *tally)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        uint64_t from, to;
        if (!clip(r, range, &from, &to))
            continue;
        for (uint64_t p = from; p < to; p++) {
            if (r->page[p].hinted || !model->hints)
                tally->unchanged++;
            else
                tally->changed++;
            r->page[p].hinted = model->hints;
        }
    }
    tally->outside += outside(model, range);
}

void model_forget_hints(struct model *model)
{
    for (int i = 0; i < MODEL_REGIONS; i++)
        for (uint64_t p = 0; model->region[i].used && p < model->region[i].at.count; p++)
            model->region[i].page[p].hinted = 0;
}

/* The used region that comes first at or after a page; NULL when there is none. */
static const struct model_region *region_from(const struct model *model, balloon_pfn_t pfn)
{
    const struct model_region *best = NULL;
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *r = &model->region[i];
        if (r->used && r->at.first >= pfn && (!best || r->at.first < best->at.first))
            best = r;
    }
    return best;
}

static bool granule_ready(const struct model_region *region, uint64_t index, uint64_t *end)
{
    uint64_t from, to;
    bool whole = granule_around(region, index, &from, &to);
    *end = to;
    for (uint64_t p = from; p < to; p++)
        whole = whole && region->page[p].pending;
    return whole;
}

/* A granule that was ready only because it was reported: what is held of it was not meant. */
static void keep_waiting(const struct model_region *region, uint64_t from, uint64_t to)
{
    bool whole = true;
    for (uint64_t p = from; p < to; p++)
        whole = whole && region->page[p].held;
    for (uint64_t p = from; p < to && !whole; p++)
        region->page[p].pending = region->page[p].held;
}

static void note_returned(const struct model_region *region, uint64_t from, uint64_t to)
{
    bool whole = true;
    for (uint64_t p = from; p < to; p++)
        whole = whole && region->page[p].held;
    for (uint64_t p = from; p < to; p++)
        region->page[p].returned = whole;
}

size_t model_take(struct model *model, balloon_run *runs, size_t max)
{
    size_t taken = 0;
    for (const struct model_region *r = region_from(model, 0); r;
         r = region_from(model, r->at.first + 1)) {
        for (uint64_t p = 0, next; p < r->at.count && taken < max; p = next) {
            if (!granule_ready(r, p, &next))
                continue;
            uint64_t end = next;
            while (end < r->at.count && granule_ready(r, end, &next))
                end = next;
            runs[taken++] = (balloon_run){
                .region = (uint32_t)(r - model->region),
                .range = {.first = r->at.first + p, .count = end - p},
            };
            for (uint64_t q = p; q < end; q++)
                r->page[q].pending = 0;
            for (uint64_t q = p, g; q < end; q = g) {
                uint64_t from;
                granule_around(r, q, &from, &g);
                if (model->gather)
                    keep_waiting(r, from, g);
                note_returned(r, from, g);
            }
            next = end;
        }
    }
    return taken;
}

uint64_t model_put_back(struct model *model, const balloon_run *run)
{
    uint64_t back = 0;
    if (run->region >= MODEL_REGIONS)
        return 0;
    struct model_region *r = &model->region[run->region];
    uint64_t from, to, end;
    if (!clip(r, run->range, &from, &to))
        return 0;
    for (uint64_t p = from; p < to; p = end) {
        uint64_t g;
        bool held = granule_around(r, p, &g, &end);
        for (uint64_t q = g; q < end; q++)
            held = held && r->page[q].held;
        for (uint64_t q = g; held && q < end; q++) {
            back += model->gather && !r->page[q].pending;
            r->page[q].pending |= model->gather;
            r->page[q].returned = 0;
        }
    }
    return back;
}

void model_settle(struct model *model)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        for (uint64_t p = 0; r->used && p < r->at.count; p++)
            r->page[p].pending = r->page[p].pending && model->gather && r->page[p].held;
    }
}

void model_import(struct model *model, balloon_range range, const uint8_t *bits,
                  balloon_tally *tally)
{
    enum { named = 2 };
    for (uint64_t i = 0; i < range.count; i++) {
        if (!(bits[i / 8] >> (i % 8) & 1))
            continue;
        struct model_page *page = model_page_at(model, range.first + i, NULL);
        if (!page)
            tally->outside++;
        else if (page->held)
            tally->unchanged++;
        else
            tally->changed++;
        if (page)
            page->held |= named;
    }
    for (int i = 0; i < MODEL_REGIONS; i++) {
        struct model_region *r = &model->region[i];
        for (uint64_t p = 0, end; r->used && p < r->at.count; p = end) {
            uint64_t from;
            bool whole = granule_around(r, p, &from, &end), touched = false;
            for (uint64_t q = from; q < end; q++) {
                touched = touched || (r->page[q].held & named);
                r->page[q].held = r->page[q].held != 0;
            }
            if (touched && model->gather)
                regather(r, from, end, whole);
        }
    }
}

struct model_counts model_count_all(const struct model *model)
{
    struct model_counts counts = {0};
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *r = &model->region[i];
        if (!r->used)
            continue;
        counts.pages += r->at.count;
        for (uint64_t p = 0; p < r->at.count; p++) {
            counts.held += r->page[p].held;
            counts.pending += r->page[p].pending;
            counts.returned += r->page[p].returned;
            counts.hinted += r->page[p].hinted;
        }
        for (uint64_t p = 0, end; p < r->at.count; p = end)
            if (granule_ready(r, p, &end))
                counts.ready += end - p;
    }
    return counts;
}

bool model_in_set(const struct model *model, const struct model_page *page, balloon_set set)
{
    switch (set) {
    case BALLOON_SET_HELD:
        return page->held;
    case BALLOON_SET_FREE:
        return !page->held;
    case BALLOON_SET_PENDING:
        return page->pending;
    case BALLOON_SET_HINTED:
        return page->hinted;
    case BALLOON_SET_SKIP:
        return (model->gather && page->held) || page->hinted;
    }
    return false;
}

uint64_t model_count(const struct model *model, balloon_set set, balloon_range range)
{
    uint64_t count = 0;
    for (int i = 0; i < MODEL_REGIONS; i++) {
        uint64_t from, to;
        if (!clip(&model->region[i], range, &from, &to))
            continue;
        for (uint64_t p = from; p < to; p++)
            count += model_in_set(model, &model->region[i].page[p], set);
    }
    return count;
}

bool model_next(const struct model *model, balloon_set set, balloon_range range, balloon_run *run)
{
    for (const struct model_region *r = region_from(model, 0); r;
         r = region_from(model, r->at.first + 1)) {
        uint64_t from, to;
        if (!clip(r, range, &from, &to))
            continue;
        while (from < to && !model_in_set(model, &r->page[from], set))
            from++;
        if (from == to)
            continue;
        uint64_t end = from;
        while (end < to && model_in_set(model, &r->page[end], set))
            end++;
        *run = (balloon_run){
            .region = (uint32_t)(r - model->region),
            .range = {.first = r->at.first + from, .count = end - from},
        };
        return true;
    }
    return false;
}

void model_merge(const struct model *model, balloon_set set, balloon_range range, uint8_t *bits)
{
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *r = &model->region[i];
        uint64_t from, to;
        if (!clip(r, range, &from, &to))
            continue;
        for (uint64_t p = from; p < to; p++) {
            uint64_t bit = r->at.first + p - range.first;
            if (model_in_set(model, &r->page[p], set))
                bits[bit / 8] |= (uint8_t)(1u << (bit % 8));
        }
    }
}

const char *model_compare_counts(const struct model *model, const balloon_tracker *tracker)
{
    static char text[160];
    struct model_counts want = model_count_all(model);
    const struct {
        const char *name;
        uint64_t want, got;
    } pair[] = {
        {"pages", want.pages, balloon_tracker_pages(tracker)},
        {"held", want.held, balloon_tracker_held(tracker)},
        {"pending", want.pending, balloon_tracker_pending(tracker)},
        {"ready", want.ready, balloon_tracker_ready(tracker)},
        {"hinted", want.hinted, balloon_tracker_hinted(tracker)},
    };
    for (size_t i = 0; i < sizeof(pair) / sizeof(*pair); i++) {
        if (pair[i].want == pair[i].got)
            continue;
        snprintf(text, sizeof(text), "%s is %llu, the model has %llu", pair[i].name,
                 (unsigned long long)pair[i].got, (unsigned long long)pair[i].want);
        return text;
    }
    /* The tracker has less to tell by, and must err on the safe side. */
    uint64_t returned = balloon_tracker_returned(tracker);
    uint64_t least = want.held > want.pending ? want.held - want.pending : 0;
    if (returned > want.returned || (model->gather && returned != least)) {
        snprintf(text, sizeof(text), "returned is %llu, the model has %llu",
                 (unsigned long long)returned, (unsigned long long)want.returned);
        return text;
    }
    return NULL;
}

const char *model_compare_sets(const struct model *model, const balloon_tracker *tracker)
{
    static char text[160];
    static const char *const name[] = {"held", "free", "pending", "hinted", "skip"};
    const char *differs = model_compare_counts(model, tracker);
    if (differs)
        return differs;
    for (int i = 0; i < MODEL_REGIONS; i++) {
        const struct model_region *r = &model->region[i];
        if (!r->used)
            continue;
        balloon_range range = {r->at.first, r->at.count};
        size_t bytes = (size_t)(r->at.count + 7) / 8;
        uint8_t *want = malloc(bytes), *got = malloc(bytes);
        if (!want || !got)
            abort();
        for (int set = BALLOON_SET_HELD; set <= BALLOON_SET_SKIP && !differs; set++) {
            memset(want, 0, bytes);
            memset(got, 0xa5, bytes);
            model_merge(model, (balloon_set)set, range, want);
            balloon_status status =
                balloon_tracker_export(tracker, (balloon_set)set, range, got, bytes);
            if (status == BALLOON_OK && !memcmp(want, got, bytes))
                continue;
            uint64_t p = 0;
            while (p < r->at.count && !((want[p / 8] ^ got[p / 8]) >> (p % 8) & 1))
                p++;
            snprintf(text, sizeof(text), "set %s of region %d differs at page %#llx (status %d)",
                     name[set], i, (unsigned long long)(r->at.first + p), (int)status);
            differs = text;
        }
        free(want);
        free(got);
        if (differs)
            return differs;
    }
    return NULL;
}
