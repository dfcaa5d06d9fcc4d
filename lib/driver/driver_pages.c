/* Pages into the balloon and out of it: one operation at a time, from what is wanted over the
 * kernel's allocator to the host and its answer. */
#include "driver_p.h"

#define BACKOFF_MAX 6u

uint64_t bl_driver_held(const balloon_driver *d)
{
    return d->tracker ? balloon_tracker_held(d->tracker) - d->on_way : d->listed;
}

uint64_t bl_driver_goal(const balloon_driver *d)
{
    uint64_t most = d->total > d->floor ? d->total - d->floor : 0;
    uint64_t goal = d->target < most ? d->target : most, part = d->page_pages - 1;

    if (d->state == BALLOON_DRIVER_SUSPENDING && d->traits.may_deflate)
        goal = 0;
    /* Up, as Linux does (07622bd41563): the host has what it asked for. */
    if (goal + part <= most)
        goal += part;
    return goal & ~part;
}

void bl_driver_set_target(balloon_driver *d, uint64_t pages)
{
    if (pages == d->target)
        return;
    d->target = pages;
    d->oom_backoff = 0;
    if (pages > d->total || d->total - pages < d->floor)
        d->count.target_cut++;
}

/* So many of the pages that are wanted back for lack of memory have come. */
static void pay_oom(balloon_driver *d, uint64_t pages)
{
    d->oom_left -= d->oom_left < pages ? d->oom_left : pages;
}

/* The next time it takes twice as long. */
static void back_off(balloon_driver *d, enum driver_op op, balloon_time_t now)
{
    d->pause[op] = driver_time_after(now, d->retry_delay << d->backoff[op]);
    if (d->backoff[op] < BACKOFF_MAX)
        d->backoff[op]++;
}

/* --- giving ----------------------------------------------------------------------------------- */

static bool aligned(const balloon_driver *d, uint64_t n)
{
    return !(n & (d->page_pages - 1));
}

bool bl_driver_usable(const balloon_driver *d, balloon_range run)
{
    if (!run.count || !aligned(d, run.first) || !aligned(d, run.count) ||
        run.count > UINT64_MAX - run.first ||
        (d->traits.pfn_end && run.first + run.count > d->traits.pfn_end))
        return false;
    return !d->tracker || balloon_tracker_count(d->tracker, BALLOON_SET_FREE, run) == run.count;
}

void bl_driver_track(balloon_driver *d, balloon_range run)
{
    if (!d->tracker)
        return;
    balloon_tracker_inflate_range(d->tracker, run, NULL);
    /* Nothing is discarded at this end. */
    balloon_tracker_settle(d->tracker);
}

static void untrack(balloon_driver *d, balloon_range run)
{
    if (d->tracker)
        balloon_tracker_deflate_range(d->tracker, run, NULL);
}

/* Of an INFLATE: pages that may be the driver's; they are tracked one by one, so that what is named
 * twice is found. Of a DEFLATE: what the kernel's list has. */
static bool take_runs(balloon_driver *d, const balloon_range *runs, size_t count, uint64_t *pages)
{
    size_t i = 0;

    if (count > d->chunk_runs)
        return false;
    for (*pages = 0; i < count; i++) {
        if (runs[i].count > d->asked - *pages || !bl_driver_usable(d, runs[i]))
            break;
        if (d->op == OP_INFLATE)
            bl_driver_track(d, runs[i]);
        *pages += runs[i].count;
        d->runs[i] = runs[i];
    }
    if (i == count)
        return true;
    while (d->op == OP_INFLATE && i-- > 0)
        untrack(d, runs[i]);
    return false;
}

balloon_status bl_driver_give_op(balloon_driver *d, const balloon_range *runs, size_t count,
                                 balloon_time_t now)
{
    balloon_status status = BALLOON_OK;
    uint64_t pages = 0;

    if (!take_runs(d, runs, count, &pages)) {
        d->count.alloc_unusable++;
        status = BALLOON_ERR_INVALID;
        pages = 0;
    }
    d->run_count = pages ? (uint32_t)count : 0;
    if (d->op == OP_INFLATE) {
        uint32_t step = (d->chunk_pages / 8) & ~(d->page_pages - 1);

        d->on_way = pages;
        if (pages == d->asked) {
            d->window += step ? step : d->page_pages;
            if (d->window > d->chunk_pages)
                d->window = d->chunk_pages;
            d->backoff[OP_INFLATE] = 0;
        } else {
            d->count.allocs_short++;
            d->window = (d->window / 2) & ~(uint64_t)(d->page_pages - 1);
            if (!d->window)
                d->window = d->page_pages;
            if (pages)
                d->backoff[OP_INFLATE] = 0;
            back_off(d, OP_INFLATE, now);
        }
    } else if (!pages) {
        /* A list that has nothing to name although it should will not have it at once. */
        back_off(d, OP_DEFLATE, now);
    }
    d->phase = PHASE_SEND;
    if (!pages)
        d->op = OP_NONE;
    return status;
}

/* --- messages --------------------------------------------------------------------------------- */

static bool is_large(balloon_range run)
{
    return run.first % LARGE_PAGES == 0 && run.count >= LARGE_PAGES;
}

/* Cut the first runs off that make a message: whole runs, of which the last may be split. */
static void slice(balloon_driver *d)
{
    const struct driver_traits *t = &d->traits;
    uint32_t most_runs = t->message_runs ? t->message_runs : UINT32_MAX;
    uint64_t left = t->message_pages ? t->message_pages : UINT64_MAX;
    uint32_t unit = !t->no_large && is_large(d->runs[0]) ? LARGE_PAGES : d->page_pages;

    if (left > d->chunk_pages)
        left = d->chunk_pages;
    if (t->in_units) {
        if (left > (uint64_t)most_runs * unit)
            left = (uint64_t)most_runs * unit;
        /* Even a chunk of less than a large page goes out in what it was given as. */
        if (left < unit)
            left = unit;
    }
    for (d->slice = 0; d->slice < d->run_count && d->slice < most_runs && left; d->slice++) {
        balloon_range *run = &d->runs[d->slice];
        uint64_t take = run->count < left ? run->count : left;

        if (t->in_units && unit == LARGE_PAGES) {
            if (!is_large(*run) || left < LARGE_PAGES)
                break;
            take &= ~(uint64_t)(LARGE_PAGES - 1);
        } else if (t->in_units && !t->no_large && d->slice && is_large(*run)) {
            break;
        }
        if (take < run->count) {
            for (uint32_t i = d->run_count++; i > d->slice; i--)
                d->runs[i] = d->runs[i - 1];
            run[1].first += take;
            run[1].count -= take;
            run->count = take;
            left = 0;
        } else {
            left -= take;
        }
    }
    d->at = 0;
    d->at_page = 0;
}

enum driver_op bl_driver_outgoing(const balloon_driver *d, const balloon_range **runs,
                                  uint32_t *count, uint32_t *unit)
{
    if (d->op == OP_NONE || d->phase != PHASE_SENT)
        return OP_NONE;
    *runs = d->runs;
    *count = d->slice;
    *unit = d->traits.in_units && !d->traits.no_large && is_large(d->runs[0]) ? LARGE_PAGES
                                                                              : d->page_pages;
    return d->op;
}

/* --- answers ---------------------------------------------------------------------------------- */

/* The next part of the message that has one answer; 0 pages at its end. */
static balloon_range next_part(balloon_driver *d, uint64_t pages)
{
    balloon_range part = {0, 0};

    if (d->at == d->slice)
        return part;
    part.first = d->runs[d->at].first + d->at_page;
    part.count = d->runs[d->at].count - d->at_page;
    if (part.count > pages)
        part.count = pages;
    d->at_page += part.count;
    if (d->at_page == d->runs[d->at].count) {
        d->at++;
        d->at_page = 0;
    }
    return part;
}

static void answer(balloon_driver *d, uint64_t pages, bool accept)
{
    bool inflate = d->op == OP_INFLATE;

    while (pages) {
        balloon_range part = next_part(d, pages);

        if (!part.count)
            return;
        pages -= part.count;
        if (inflate)
            d->on_way -= part.count;
        if (inflate && accept) {
            d->count.inflated += part.count;
            d->listed += d->tracker ? 0 : part.count;
        } else if (inflate) {
            d->count.refused += part.count;
            untrack(d, part);
            bl_driver_give_back(d, part);
        } else if (accept) {
            d->count.deflated += part.count;
            d->listed -= d->tracker ? 0 : part.count;
            if (!d->migrating)
                pay_oom(d, part.count);
            untrack(d, part);
            bl_driver_give_back(d, part);
        } else {
            d->count.kept += part.count;
            d->pick_from = part.first + part.count;
        }
    }
}

void bl_driver_accept(balloon_driver *d, uint64_t pages)
{
    answer(d, pages, true);
}

void bl_driver_refuse(balloon_driver *d, uint64_t pages)
{
    answer(d, pages, false);
}

/* A page of the guest is zero if all its parts are. */
static bool all_set(const uint8_t *bits, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++)
        if (!(bits[i / 8] >> i % 8 & 1))
            return false;
    return true;
}

void bl_driver_zeroed(balloon_driver *d, const uint8_t *bits)
{
    uint64_t at = 0, unit = d->page_pages;

    if (bl_driver_back_due(d))
        return;
    for (uint32_t i = 0; i < d->slice; i++)
        for (uint64_t page = 0; page < d->runs[i].count; page += unit, at += unit) {
            balloon_range *last = &d->back[d->zeroed_count];
            balloon_pfn_t first = d->runs[i].first + page;

            if (!all_set(bits, at, unit))
                continue;
            d->count.zeroed += unit;
            if (d->zeroed_count && last[-1].first + last[-1].count == first)
                last[-1].count += unit;
            else
                d->back[d->zeroed_count++] = (balloon_range){first, unit};
        }
}

/* One half of a replacement is done; go on with the other unless the host did not take the first.
 * The substitute is on its way, and tracked, until its own half. */
static void next_half(balloon_driver *d, bool all)
{
    balloon_range to = {d->to, d->page_pages}, from = {d->from, d->page_pages};
    bool first = !d->migrate_second;

    d->migrating = first && all;
    d->migrate_second = true;
    if (d->migrating) {
        d->op = d->traits.deflate_first ? OP_INFLATE : OP_DEFLATE;
        d->runs[0] = d->traits.deflate_first ? to : from;
        d->run_count = 1;
        d->phase = PHASE_SEND;
    } else if (first && d->traits.deflate_first) {
        d->on_way -= to.count;
        untrack(d, to);
        bl_driver_give_back(d, to);
    }
    if (!first && all)
        d->count.migrated += d->page_pages;
}

void bl_driver_answered(balloon_driver *d, bool later, balloon_time_t now)
{
    enum driver_op op = d->op;
    bool all = d->at == d->slice;
    uint32_t kept = 0;

    answer(d, UINT64_MAX, false);
    for (uint32_t i = d->slice; i < d->run_count; i++)
        d->runs[kept++] = d->runs[i];
    d->run_count = kept;
    if (!later && all && op == OP_DEFLATE)
        d->backoff[OP_DEFLATE] = 0;
    d->phase = PHASE_SEND;
    if (later) {
        balloon_pfn_t from = d->pick_from;

        /* The rest would fare no better, but nobody has refused it yet. */
        back_off(d, op, now);
        d->slice = d->run_count;
        d->at = 0;
        d->at_page = 0;
        answer(d, UINT64_MAX, false);
        d->pick_from = from;
        d->run_count = 0;
    }
    if (!d->run_count)
        d->op = OP_NONE;
    if (d->migrating)
        next_half(d, all);
}

void bl_driver_accept_all(balloon_driver *d, balloon_time_t now)
{
    bl_driver_accept(d, UINT64_MAX);
    bl_driver_answered(d, false, now);
}

/* --- what to do next -------------------------------------------------------------------------- */

static uint32_t block_for(const balloon_driver *d, uint64_t pages)
{
    uint32_t block = d->block_pages;

    while (block > pages)
        block /= 2;
    return block > d->page_pages ? block : d->page_pages;
}

/* Held pages of a part of RAM join the operation, up to so many; returns how many did not. */
static uint64_t pick_in(balloon_driver *d, balloon_pfn_t first, balloon_pfn_t end, uint64_t pages)
{
    balloon_range rest = {first, end - first};
    balloon_run run;

    while (pages && d->run_count < d->chunk_runs &&
           balloon_tracker_next(d->tracker, BALLOON_SET_HELD, rest, &run)) {
        if (run.range.count > pages)
            run.range.count = pages;
        d->runs[d->run_count++] = run.range;
        pages -= run.range.count;
        rest.first = run.range.first + run.range.count;
        rest.count = end - rest.first;
    }
    return pages;
}

/* Pages that leave the balloon, lowest first: the balloon stays in one piece as far as it can, and
 * so do the pages that come back. Those that the host has refused must not be in the way of others,
 * so their turn comes again after all above them. */
static void pick(balloon_driver *d)
{
    balloon_pfn_t from = d->pick_from;
    uint64_t left;

    d->run_count = 0;
    left = pick_in(d, from, UINT64_MAX, d->asked);
    if (!left || d->run_count == d->chunk_runs)
        return;
    d->pick_from = 0;
    (void)pick_in(d, 0, from, left);
}

/* How many pages should leave the balloon, or come into it, now. */
static uint64_t to_deflate(const balloon_driver *d)
{
    uint64_t held = bl_driver_held(d), goal = bl_driver_goal(d);
    uint64_t above = held > goal ? held - goal : 0;

    if (!d->traits.may_deflate || d->state == BALLOON_DRIVER_RESTING)
        return 0;
    if (above < d->oom_left)
        above = d->oom_left < held ? d->oom_left : held;
    return above;
}

static uint64_t to_inflate(const balloon_driver *d)
{
    uint64_t held = bl_driver_held(d), goal = bl_driver_goal(d);

    return d->state == BALLOON_DRIVER_ATTACHED && held < goal ? goal - held : 0;
}

static bool may_start(const balloon_driver *d)
{
    return d->state != BALLOON_DRIVER_DETACHED && d->op == OP_NONE && !bl_driver_back_due(d) &&
           !bl_driver_releasing(d);
}

static bool begin(balloon_driver *d, balloon_time_t now)
{
    uint64_t out = to_deflate(d), in = out ? 0 : to_inflate(d);

    if (!may_start(d))
        return false;
    if (out && now >= d->pause[OP_DEFLATE]) {
        d->op = OP_DEFLATE;
        d->asked = out < d->chunk_pages ? out : d->chunk_pages;
        d->phase = PHASE_ASK;
        if (d->tracker) {
            pick(d);
            d->phase = PHASE_SEND;
        }
        return true;
    }
    if (in && now >= d->pause[OP_INFLATE]) {
        d->op = OP_INFLATE;
        d->asked = in < d->window ? in : d->window;
        /* Whole blocks, so that a kernel that has only these does not look short of memory. */
        d->asked &= ~(uint64_t)(block_for(d, d->asked) - 1);
        d->phase = PHASE_ASK;
        return true;
    }
    return false;
}

static void ask(balloon_driver *d, balloon_driver_action *action)
{
    bool inflate = d->op == OP_INFLATE;

    action->type = inflate ? BALLOON_DRIVER_ALLOC : BALLOON_DRIVER_TAKE;
    action->channel = inflate ? BALLOON_CHANNEL_INFLATE : BALLOON_CHANNEL_DEFLATE;
    action->pages = d->asked;
    action->max_runs = d->asked < d->chunk_runs ? (uint32_t)d->asked : d->chunk_runs;
    action->block = inflate ? block_for(d, d->asked) : 0;
    d->count.allocs += inflate;
    d->phase = PHASE_ASKED;
}

bool bl_driver_op_poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    /* What was asked for and is not wanted any more is not asked for. */
    if (d->op == OP_INFLATE && d->phase == PHASE_ASK && (!to_inflate(d) || to_deflate(d)))
        d->op = OP_NONE;
    if (d->op == OP_NONE && !begin(d, now))
        return false;
    if (d->phase == PHASE_ASK) {
        ask(d, action);
        return true;
    }
    if (d->phase != PHASE_SEND || bl_driver_back_due(d))
        return false;
    slice(d);
    action->type = BALLOON_DRIVER_SEND;
    action->channel = d->op == OP_INFLATE ? BALLOON_CHANNEL_INFLATE : BALLOON_CHANNEL_DEFLATE;
    action->bytes = d->traits.message_bytes;
    d->phase = PHASE_SENT;
    d->count.messages++;
    return true;
}

balloon_time_t bl_driver_op_deadline(const balloon_driver *d)
{
    if (d->op != OP_NONE)
        return d->phase == PHASE_ASK || d->phase == PHASE_SEND ? 0 : BALLOON_TIME_NEVER;
    if (!may_start(d))
        return BALLOON_TIME_NEVER;
    if (to_deflate(d))
        return d->pause[OP_DEFLATE];
    return to_inflate(d) ? d->pause[OP_INFLATE] : BALLOON_TIME_NEVER;
}

bool bl_driver_idle(const balloon_driver *d, balloon_time_t now)
{
    return d->op == OP_NONE && !bl_driver_back_due(d) && !bl_driver_releasing(d) &&
           bl_driver_op_deadline(d) > now;
}
