#include "tracker_duel.h"

#include <balloon/range.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 700

static const char *fail(struct tracker_duel *duel, const char *format, ...)
{
    va_list args;
    int n = snprintf(duel->why, sizeof(duel->why), "step %" PRIu64 ": ", duel->steps);
    va_start(args, format);
    vsnprintf(duel->why + n, sizeof(duel->why) - (size_t)n, format, args);
    va_end(args);
    return duel->why;
}

void tracker_duel_start(struct tracker_duel *duel, struct prng *prng, uint64_t max_pages)
{
    static const uint64_t bases[] = {0, 0, 0x100000, UINT64_C(0x100000000), UINT64_C(1) << 40};
    memset(duel, 0, sizeof(*duel));
    balloon_tracker_config config = {
        .size = sizeof(config),
        .max_pages = max_pages,
        .max_regions = (uint32_t)prng_below(prng, 9),
        .hints = (uint32_t)prng_below(prng, 2),
    };
    balloon_layout layout;
    balloon_status status = balloon_tracker_layout(&config, &layout);
    if (status != BALLOON_OK)
        abort();
    size_t bytes = (layout.bytes + layout.align - 1) & ~(layout.align - 1);
    duel->memory = aligned_alloc(layout.align, bytes);
    if (!duel->memory)
        abort();
    memset(duel->memory, 0x5a, bytes);
    status = balloon_tracker_init(duel->memory, layout.bytes, &config, &duel->tracker);
    if (status != BALLOON_OK)
        abort();
    model_init(&duel->model, max_pages, config.max_regions, config.hints != 0);
    duel->window = max_pages * 2 + 64;
    duel->base = bases[prng_below(prng, 5)];
    /* Bases other than 0 are borders: of 32-bit page numbers, of what a region may name. */
    if (duel->base)
        duel->base -= duel->window - duel->window / 4;
    duel->check_every = 64;
}

void tracker_duel_end(struct tracker_duel *duel)
{
    model_free(&duel->model);
    free(duel->memory);
    duel->memory = NULL;
}

const char *tracker_duel_compare(struct tracker_duel *duel)
{
    const char *why = NULL;
    if (!balloon_tracker_check(duel->tracker, &why))
        return fail(duel, "check: %s", why);
    why = model_compare_sets(&duel->model, duel->tracker);
    return why ? fail(duel, "%s", why) : NULL;
}

static const struct model_region *some_region(const struct tracker_duel *duel, struct prng *prng)
{
    uint32_t used[MODEL_REGIONS], count = 0;
    for (uint32_t i = 0; i < MODEL_REGIONS; i++)
        if (duel->model.region[i].used)
            used[count++] = i;
    return count ? &duel->model.region[used[prng_below(prng, count)]] : NULL;
}

static balloon_pfn_t some_page(const struct tracker_duel *duel, struct prng *prng)
{
    const struct model_region *region = some_region(duel, prng);
    if (region && !prng_one_in(prng, 8))
        return region->at.first + prng_below(prng, region->at.count);
    return duel->base + prng_below(prng, duel->window);
}

static balloon_range some_range(const struct tracker_duel *duel, struct prng *prng)
{
    const struct model_region *region = some_region(duel, prng);
    balloon_range range = {.first = some_page(duel, prng)};
    switch (prng_below(prng, 8)) {
    case 0:
        range = (balloon_range){duel->base, duel->window};
        break;
    case 1:
        if (region)
            range = (balloon_range){region->at.first, region->at.count};
        break;
    case 2: /* Whole granules. */
        if (region) {
            range.first &= ~(region->at.granule - 1);
            range.count = region->at.granule * (1 + prng_below(prng, 4));
        }
        break;
    case 3:
        range.count = prng_below(prng, duel->window);
        break;
    case 4:
        range.count = prng_one_in(prng, 16) ? UINT64_MAX : prng_below(prng, 2);
        break;
    default:
        range.count = prng_below(prng, 40);
    }
    return range;
}

/* Lists of the shapes that guests send: runs up and down, scattered, with duplicates, stray. */
static size_t some_list(const struct tracker_duel *duel, struct prng *prng, uint32_t *list)
{
    size_t count = duel->long_lists || prng_one_in(prng, 32) ? LIST_MAX : 24;
    count = (size_t)prng_below(prng, count + 1);
    uint64_t shape = prng_below(prng, 11);
    uint64_t at = some_page(duel, prng), unit = 1 + prng_below(prng, 40);
    for (size_t i = 0; i < count; i++) {
        if (shape < 2)
            at = at + 1;
        else if (shape < 4)
            at = at - 1;
        else if (shape == 4)
            at = prng_one_in(prng, 6) ? some_page(duel, prng) : at + 1;
        else if (shape == 5)
            at = (at & ~UINT64_C(15)) + prng_below(prng, 16);
        else if (shape == 6)
            at = some_page(duel, prng);
        else if (shape == 7)
            at = prng_one_in(prng, 4) ? prng_next(prng) : at + prng_below(prng, 3);
        else if (shape == 8) /* one block */
            at = (at & ~UINT64_C(511)) + prng_below(prng, 512);
        else if (shape == 9) /* runs of one length, up or down */
            at = i % unit ? at + (unit & 1) * 2 - 1 : some_page(duel, prng);
        else /* sorted, with gaps of nothing to two pages */
            at = at + prng_below(prng, 4);
        list[i] = (uint32_t)at;
    }
    return count;
}

static const char *tallies(struct tracker_duel *duel, const char *what, const balloon_tally *got,
                           const balloon_tally *want)
{
    if (!memcmp(got, want, sizeof(*got)))
        return NULL;
    return fail(duel,
                "%s: changed %" PRIu64 " unchanged %" PRIu64 " outside %" PRIu64
                " cancelled %" PRIu64 ", the model has %" PRIu64 " %" PRIu64 " %" PRIu64
                " %" PRIu64,
                what, got->changed, got->unchanged, got->outside, got->cancelled, want->changed,
                want->unchanged, want->outside, want->cancelled);
}

/* Distinct pages of a list that are pending now and would leave the balloon. */
static uint64_t pending_of(const struct model *model, const uint32_t *list, size_t count)
{
    uint64_t pending = 0;
    for (size_t i = 0; i < count; i++) {
        const struct model_page *page = model_page_at(model, list[i], NULL);
        bool again = !page || !page->held || !page->pending;
        for (size_t j = 0; j < i && !again; j++)
            again = list[j] == list[i];
        pending += !again;
    }
    return pending;
}

static const char *step_list(struct tracker_duel *duel, struct prng *prng, bool inflate)
{
    uint32_t list[LIST_MAX];
    size_t count = some_list(duel, prng, list);
    balloon_tally got = {3, 2, 1, 4}, want = {3, 2, 1, 4};
    bool tally = !prng_one_in(prng, 16);
    uint64_t least = inflate ? 0 : pending_of(&duel->model, list, count);
    if (inflate)
        balloon_tracker_inflate(duel->tracker, list, count, tally ? &got : NULL);
    else
        balloon_tracker_deflate(duel->tracker, list, count, tally ? &got : NULL);
    for (size_t i = 0; i < count; i++) {
        if (inflate)
            model_inflate(&duel->model, (balloon_range){list[i], 1}, &want);
        else
            model_deflate(&duel->model, (balloon_range){list[i], 1}, &want);
    }
    /* Deflating a page of a larger granule makes the rest of it wait again, and whether that has
     * happened when the next page of the list is looked at is the tracker's own affair. */
    if (got.cancelled >= least + 4 && got.cancelled <= want.cancelled)
        want.cancelled = got.cancelled;
    return tally ? tallies(duel, inflate ? "inflate" : "deflate", &got, &want) : NULL;
}

static const char *step_range(struct tracker_duel *duel, struct prng *prng)
{
    static const char *const name[] = {"inflate_range", "deflate_range", "report", "hint"};
    balloon_range range = some_range(duel, prng);
    uint64_t op = prng_below(prng, 4);
    balloon_tally got = {0}, want = {0};
    switch (op) {
    case 0:
        balloon_tracker_inflate_range(duel->tracker, range, &got);
        model_inflate(&duel->model, range, &want);
        break;
    case 1:
        balloon_tracker_deflate_range(duel->tracker, range, &got);
        model_deflate(&duel->model, range, &want);
        break;
    case 2:
        balloon_tracker_report(duel->tracker, range, &got);
        model_report(&duel->model, range, &want);
        break;
    default:
        balloon_tracker_hint(duel->tracker, range, &got);
        model_hint(&duel->model, range, &want);
    }
    return tallies(duel, name[op], &got, &want);
}

static const char *step_take(struct tracker_duel *duel, struct prng *prng)
{
    balloon_run got[64], want[64];
    size_t max = prng_one_in(prng, 2) ? 64 : (size_t)prng_below(prng, 6);
    size_t got_count = balloon_tracker_take(duel->tracker, got, max);
    size_t want_count = model_take(&duel->model, want, max);
    if (got_count != want_count)
        return fail(duel, "take of %zu gave %zu runs, the model %zu", max, got_count, want_count);
    if (got_count && memcmp(got, want, got_count * sizeof(*got)))
        return fail(duel, "take of %zu: the runs differ from the model's", max);
    if (got_count) {
        memcpy(duel->taken, got, sizeof(got));
        duel->taken_count = got_count;
    }
    return NULL;
}

static const char *step_put_back(struct tracker_duel *duel, struct prng *prng)
{
    if (!duel->taken_count)
        return NULL;
    balloon_run run = duel->taken[prng_below(prng, duel->taken_count)];
    balloon_region region;
    if (balloon_tracker_region(duel->tracker, run.region, &region) != BALLOON_OK)
        return NULL;
    if (prng_one_in(prng, 2)) {
        uint64_t granules = run.range.count / region.granule;
        uint64_t skip = prng_below(prng, granules);
        run.range.first += skip * region.granule;
        run.range.count = (1 + prng_below(prng, granules - skip)) * region.granule;
    }
    /* The run may be an old one, of a region that has since been replaced. */
    if (balloon_range_end(run.range) > region.first + region.count ||
        run.range.first < region.first || (run.range.first & (region.granule - 1)) ||
        (run.range.count & (region.granule - 1)))
        return NULL;
    uint64_t got = balloon_tracker_put_back(duel->tracker, &run);
    uint64_t want = model_put_back(&duel->model, &run);
    return got == want ? NULL
                       : fail(duel, "put_back gave %" PRIu64 ", the model %" PRIu64, got, want);
}

static const char *step_question(struct tracker_duel *duel, struct prng *prng)
{
    balloon_set set = (balloon_set)prng_below(prng, 5);
    balloon_range range = some_range(duel, prng);
    if (prng_one_in(prng, 2)) {
        uint64_t got = balloon_tracker_count(duel->tracker, set, range);
        uint64_t want = model_count(&duel->model, set, range);
        return got == want ? NULL
                           : fail(duel,
                                  "count of set %d in %#" PRIx64 "+%" PRIu64 " gave %" PRIu64
                                  ", the model %" PRIu64,
                                  (int)set, range.first, range.count, got, want);
    }
    balloon_run got = {.region = 77}, want = {.region = 77};
    bool found = balloon_tracker_next(duel->tracker, set, range, &got);
    bool expected = model_next(&duel->model, set, range, &want);
    if (found == expected && !memcmp(&got, &want, sizeof(got)))
        return NULL;
    return fail(duel,
                "next of set %d in %#" PRIx64 "+%" PRIu64 " gave %d region %u %#" PRIx64 "+%" PRIu64
                ", the model %d region %u %#" PRIx64 "+%" PRIu64,
                (int)set, range.first, range.count, found, got.region, got.range.first,
                got.range.count, expected, want.region, want.range.first, want.range.count);
}

/* Bitmaps of the shapes that balloons have: empty but for a few pages, full but for a few, full, in
 * long runs, speckled, or as dice fall. */
static void draw_bits(struct prng *prng, uint8_t *bits, size_t bytes)
{
    static const uint64_t longest[] = {3, 17, 100, 1000, 5000};
    uint64_t shape = prng_below(prng, 9), most = longest[prng_below(prng, 5)], left = 0;
    uint64_t rare = prng_one_in(prng, 2) ? 20 : 600;
    bool set = false;

    for (size_t i = 0; i < bytes * 8; i++) {
        if (shape < 3 && left-- == 0) {
            left = prng_below(prng, most);
            set = !set;
        } else if (shape >= 3) {
            set =
                shape < 5 ? prng_one_in(prng, rare) == (shape == 3) : prng_one_in(prng, shape - 3);
        }
        bits[i / 8] = (uint8_t)((bits[i / 8] & ~(1u << i % 8)) | (unsigned)set << i % 8);
    }
}

const char *tracker_duel_import(struct tracker_duel *duel, struct prng *prng)
{
    balloon_range range = some_range(duel, prng);
    balloon_tally got = {0}, want = {0};

    if (range.count > duel->window)
        range.count = duel->window;
    size_t bytes = (size_t)(range.count + 7) / 8;
    uint8_t *bits = malloc(bytes + !bytes); /* so that a sanitizer sees a look past the last byte */

    if (!bits)
        abort();
    draw_bits(prng, bits, bytes);
    if (range.count % 8) /* Spare bits are nobody's pages. */
        bits[bytes - 1] |= (uint8_t)(0xff << range.count % 8);
    balloon_status status = balloon_tracker_import(duel->tracker, range, bits, bytes, &got);
    model_import(&duel->model, range, bits, &want);
    free(bits);
    if (status != BALLOON_OK)
        return fail(duel, "import: status %d", (int)status);
    return tallies(duel, "import", &got, &want);
}

static const char *step_bitmap(struct tracker_duel *duel, struct prng *prng)
{
    balloon_range range = some_range(duel, prng);
    balloon_set set = (balloon_set)prng_below(prng, 5);
    if (range.count > duel->window)
        range.count = duel->window;
    size_t bytes = (size_t)(range.count + 7) / 8;
    bool merge = prng_one_in(prng, 2);
    uint8_t *got = malloc(bytes + 1), *want = malloc(bytes + 1);
    const char *why = NULL;
    balloon_status status;
    if (!got || !want)
        abort();
    for (size_t i = 0; i <= bytes; i++)
        got[i] = want[i] = (uint8_t)(merge ? prng_next(prng) & prng_next(prng) : 0);
    if (merge) {
        status = balloon_tracker_merge(duel->tracker, set, range, got, bytes);
    } else {
        memset(got, 0xee, bytes);
        status = balloon_tracker_export(duel->tracker, set, range, got, bytes);
    }
    model_merge(&duel->model, set, range, want);
    if (status != BALLOON_OK || memcmp(got, want, bytes + 1))
        why = fail(duel, "%s of set %d in %#" PRIx64 "+%" PRIu64 " differs (status %d)",
                   merge ? "merge" : "export", (int)set, range.first, range.count, (int)status);
    if (!why && bytes &&
        balloon_tracker_export(duel->tracker, set, range, got, bytes - 1) != BALLOON_ERR_NOSPACE)
        why = fail(duel, "export into too small a bitmap is not refused");
    free(got);
    free(want);
    return why;
}

static const char *step_add_region(struct tracker_duel *duel, struct prng *prng)
{
    static const uint64_t granules[] = {0,  1,  1,   2,   4,   4,    8,    16,  16,
                                        32, 64, 128, 256, 512, 1024, 1024, 2048};
    balloon_region region = {
        .first = duel->base + prng_below(prng, duel->window),
        .count = prng_below(prng, duel->model.max_pages + 2),
        .granule = granules[prng_below(prng, 17)],
    };
    const struct model_region *other = some_region(duel, prng);
    if (prng_one_in(prng, 2))
        region.count = 1 + prng_below(prng, region.count / 3 + 1);
    if (other && prng_one_in(prng, 3)) /* Right behind another one. */
        region.first = other->at.first + other->at.count;
    else if (prng_one_in(prng, 3))
        region.first &= ~UINT64_C(63);
    if (prng_one_in(prng, 40))
        region.granule = prng_one_in(prng, 2) ? 3 : BALLOON_GRANULE_MAX * 2;
    unsigned verdict = model_region_verdict(&duel->model, &region);
    uint32_t id = 0;
    balloon_status status = balloon_tracker_add_region(duel->tracker, &region, &id);
    if (!(verdict >> status & 1))
        return fail(duel, "add_region %#" PRIx64 "+%" PRIu64 "/%" PRIu64 " gave %d, not one of %#x",
                    region.first, region.count, region.granule, (int)status, verdict);
    if (status != BALLOON_OK)
        return NULL;
    if (id >= duel->model.max_regions || duel->model.region[id].used)
        return fail(duel, "add_region gave the id %u", id);
    model_add_region(&duel->model, &region, id);
    balloon_region back;
    if (balloon_tracker_region(duel->tracker, id, &back) != BALLOON_OK ||
        back.first != region.first || back.count != region.count)
        return fail(duel, "region %u is not what was added", id);
    return NULL;
}

static const char *step_remove_region(struct tracker_duel *duel, struct prng *prng)
{
    uint32_t id = (uint32_t)prng_below(prng, 10);
    const struct model_region *region = some_region(duel, prng);
    if (region && !prng_one_in(prng, 8))
        id = (uint32_t)(region - duel->model.region);
    bool used = duel->model.region[id].used;
    balloon_status status = balloon_tracker_remove_region(duel->tracker, id);
    if (status != (used ? BALLOON_OK : BALLOON_ERR_INVALID))
        return fail(duel, "remove_region(%u) gave %d", id, (int)status);
    if (used)
        model_remove_region(&duel->model, id);
    return NULL;
}

/* Whether something is pending that is not held. No one changes the mode then. */
static bool reports_wait(const struct model *model)
{
    for (int i = 0; i < MODEL_REGIONS; i++)
        for (uint64_t p = 0; model->region[i].used && p < model->region[i].at.count; p++)
            if (model->region[i].page[p].pending && !model->region[i].page[p].held)
                return true;
    return false;
}

static const char *step_mode(struct tracker_duel *duel, struct prng *prng)
{
    switch (prng_below(prng, 8)) {
    case 0:
        balloon_tracker_reset(duel->tracker);
        model_reset(&duel->model);
        break;
    case 1:
        balloon_tracker_forget_hints(duel->tracker);
        model_forget_hints(&duel->model);
        break;
    case 2:
    case 3:
        duel->taken_count = 0; /* Runs taken in one mode are not given back in another. */
        bool gather = prng_one_in(prng, 2);
        if (gather && reports_wait(&duel->model)) {
            balloon_tracker_settle(duel->tracker);
            model_settle(&duel->model);
        }
        balloon_tracker_set_gather(duel->tracker, gather);
        model_set_gather(&duel->model, gather);
        break;
    default:
        balloon_tracker_settle(duel->tracker);
        model_settle(&duel->model);
    }
    return NULL;
}

const char *tracker_duel_step(struct tracker_duel *duel, struct prng *prng)
{
    const char *why = NULL;
    duel->steps++;
    uint64_t op = prng_below(prng, 100);
    if (op < 32)
        why = step_list(duel, prng, true);
    else if (op < 46)
        why = step_list(duel, prng, false);
    else if (op < 60)
        why = step_range(duel, prng);
    else if (op < 72)
        why = step_take(duel, prng);
    else if (op < 77)
        why = step_put_back(duel, prng);
    else if (op < 84)
        why = step_question(duel, prng);
    else if (op < 87)
        why = prng_one_in(prng, 3) ? tracker_duel_import(duel, prng) : step_bitmap(duel, prng);
    else if (op < 90 || duel->steps < 3)
        why = step_add_region(duel, prng);
    else if (op < 91)
        why = step_remove_region(duel, prng);
    else
        why = step_mode(duel, prng);
    if (why)
        return why;
    if (duel->steps % duel->check_every == 0)
        return tracker_duel_compare(duel);
    if (duel->model.max_pages <= 1000 || duel->steps % 16 == 0) {
        why = model_compare_counts(&duel->model, duel->tracker);
        return why ? fail(duel, "%s", why) : NULL;
    }
    return NULL;
}
