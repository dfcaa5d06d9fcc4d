/* The driver's own rules, for tests and fuzzers. */
#include "driver_p.h"

static bool broken(const char **why, const char *rule)
{
    if (why)
        *why = rule;
    return false;
}

static uint64_t sum(const balloon_range *runs, uint32_t count)
{
    uint64_t pages = 0;

    while (count-- > 0)
        pages += runs[count].count;
    return pages;
}

bool balloon_driver_check(const balloon_driver *d, const char **why)
{
    bool given = d->op != OP_NONE && d->phase >= PHASE_SEND;
    balloon_range all = {0, UINT64_MAX};
    uint64_t part = d->page_pages - 1;

    if (d->tracker && !balloon_tracker_check(d->tracker, why))
        return false;
    if (d->tracker && balloon_tracker_pages(d->tracker) != d->total)
        return broken(why, "the tracker has other pages than the guest");
    if (d->tracker && d->on_way > balloon_tracker_held(d->tracker))
        return broken(why, "more pages are on their way than are tracked");
    if (d->tracker && balloon_tracker_ready(d->tracker))
        return broken(why, "something is to be discarded at the guest's end");
    if (given && !d->run_count)
        return broken(why, "an operation without pages");
    if (d->op == OP_INFLATE && given && !d->migrating && d->on_way != sum(d->runs, d->run_count))
        return broken(why, "pages on their way are not those of the operation");
    if (d->op != OP_INFLATE && !d->migrating && d->on_way)
        return broken(why, "pages are on their way without an operation");
    for (uint32_t i = 0; given && d->tracker && i < d->run_count; i++)
        if (balloon_tracker_count(d->tracker, BALLOON_SET_HELD, d->runs[i]) != d->runs[i].count)
            return broken(why, "a page of the operation is not tracked");
    if (d->run_count > d->chunk_runs + 1 || d->back_count > d->back_room ||
        d->release_count > RELEASE_RUNS || d->release_at > d->release_count)
        return broken(why, "a list is longer than its room");
    if (d->zeroed_count > d->back_room || (d->zeroed_count && d->back_count))
        return broken(why, "zeroed pages are where others are to be freed");
    if (d->state != BALLOON_DRIVER_DETACHED &&
        (!d->window || d->window > d->chunk_pages || (d->window & part)))
        return broken(why, "the window is out of bounds");
    if (d->tracker && (balloon_tracker_count(d->tracker, BALLOON_SET_HELD, all) & part))
        return broken(why, "the balloon has a part of a page");
    if (!d->binding && (d->op != OP_NONE || d->state != BALLOON_DRIVER_DETACHED))
        return broken(why, "at work without a host");
    return true;
}
