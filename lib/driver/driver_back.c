/* Pages that are the kernel's again: answers of the host, what it gives back on its own, and all of
 * the balloon after a reset. */
#include "driver_p.h"

void bl_driver_give_back(balloon_driver *d, balloon_range range)
{
    balloon_range *last = &d->back[d->back_count];

    if (d->back_count && last[-1].first + last[-1].count == range.first)
        last[-1].count += range.count;
    else
        d->back[d->back_count++] = range;
}

bool bl_driver_releasing(const balloon_driver *d)
{
    return d->release_at < d->release_count;
}

bool bl_driver_dropping(const balloon_driver *d)
{
    return d->drop_all || d->runs_back;
}

bool bl_driver_back_due(const balloon_driver *d)
{
    return d->back_count || d->zeroed_count || bl_driver_dropping(d);
}

void bl_driver_release(balloon_driver *d, balloon_range range)
{
    if (!bl_driver_releasing(d))
        d->release_at = d->release_count = 0;
    d->release[d->release_count++] = range;
}

/* Free the next pages of the balloon that are in a range, as many runs as there is room for.
 * Returns whether that was all; range is what is left. */
static bool free_held(balloon_driver *d, balloon_range *range, uint64_t *found)
{
    balloon_run run;

    while (d->back_count < d->back_room) {
        if (!balloon_tracker_next(d->tracker, BALLOON_SET_HELD, *range, &run))
            return true;
        balloon_tracker_deflate_range(d->tracker, run.range, NULL);
        bl_driver_give_back(d, run.range);
        *found += run.range.count;
        range->count -= run.range.first + run.range.count - range->first;
        range->first = run.range.first + run.range.count;
    }
    return false;
}

/* Only what is ours is freed, whatever the host names. */
static void work_off(balloon_driver *d)
{
    while (bl_driver_releasing(d) && d->back_count < d->back_room) {
        balloon_range *range = &d->release[d->release_at];
        uint64_t found = 0, all = range->count;
        bool done = free_held(d, range, &found);

        d->count.deflated += found;
        d->count.foreign += (done ? all : all - range->count) - found;
        if (done)
            d->release_at++;
    }
}

static bool free_runs(balloon_driver_action *action, balloon_driver_channel channel,
                      const balloon_range *runs, uint32_t count)
{
    action->type = BALLOON_DRIVER_FREE;
    action->channel = channel;
    action->runs = runs;
    action->run_count = count;
    return true;
}

static bool zeroed_poll(balloon_driver *d, balloon_driver_action *action)
{
    action->type = BALLOON_DRIVER_ZEROED;
    action->channel = BALLOON_CHANNEL_INFLATE;
    action->runs = d->back;
    action->run_count = d->zeroed_count;
    d->zeroed_count = 0;
    return true;
}

bool bl_driver_back_poll(balloon_driver *d, balloon_driver_action *action)
{
    uint32_t count = d->back_count;

    if (d->zeroed_count)
        return zeroed_poll(d, action);
    if (!count && d->runs_back) {
        d->runs_back = false;
        count = d->run_count;
        d->run_count = 0;
        return free_runs(action, BALLOON_CHANNEL_INFLATE, d->runs, count);
    }
    if (!count && d->drop_all && d->tracker) {
        balloon_range all = {0, UINT64_MAX};
        uint64_t found = 0;

        d->drop_all = !free_held(d, &all, &found);
        d->count.deflated += found;
    } else if (!count && d->drop_all) {
        d->drop_all = false;
        d->count.deflated += d->listed;
        d->listed = 0;
        return free_runs(action, BALLOON_CHANNEL_INFLATE, NULL, 0);
    }
    /* What is on its way is not the host's to give back. */
    if (!count && d->on_way == 0)
        work_off(d);
    count = d->back_count;
    d->back_count = 0;
    return count && free_runs(action, BALLOON_CHANNEL_DEFLATE, d->back, count);
}
