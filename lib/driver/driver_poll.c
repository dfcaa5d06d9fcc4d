/* The driver's inputs from the kernel, and what it answers. */
#include <string.h>

#include "driver_p.h"

/* Free pages for a message: all or none of them are taken. They stay free memory, so nothing but
 * their place is looked at. */
static balloon_status give_loan(balloon_driver *d, struct driver_loan *loan, bool hint,
                                const balloon_range *runs, size_t count, balloon_time_t now)
{
    uint64_t pages = 0;
    bool usable = count <= REPORT_RUNS;

    for (size_t i = 0; usable && i < count; i++) {
        usable = bl_driver_usable(d, runs[i]);
        pages += runs[i].count;
    }
    loan->active = usable && count && d->state == BALLOON_DRIVER_ATTACHED;
    if (!loan->active && d->binding && d->binding->loan_refused)
        d->binding->loan_refused(d, hint, now);
    if (!usable) {
        d->count.alloc_unusable++;
        return BALLOON_ERR_INVALID;
    }
    if (!count)
        return BALLOON_OK;
    memcpy(loan->runs, runs, count * sizeof(*runs));
    loan->count = (uint32_t)count;
    loan->phase = PHASE_SEND;
    /* Whoever is about to rest has nothing to say any more. */
    if (!loan->active) {
        loan->back = !hint;
        d->hint_back += hint ? pages : 0;
    } else if (hint) {
        d->hinted += pages;
    }
    return BALLOON_OK;
}

balloon_status balloon_driver_give(balloon_driver *d, balloon_driver_channel channel,
                                   const balloon_range *runs, size_t count, balloon_time_t now)
{
    if (channel == BALLOON_CHANNEL_HINT && d->hint.active && d->hint.phase == PHASE_ASKED)
        return give_loan(d, &d->hint, true, runs, count, now);
    if (channel == BALLOON_CHANNEL_REPORT && d->report.active && d->report.phase == PHASE_ASKED)
        return give_loan(d, &d->report, false, runs, count, now);
    if (d->op == OP_NONE || d->phase != PHASE_ASKED ||
        channel != (d->op == OP_INFLATE ? BALLOON_CHANNEL_INFLATE : BALLOON_CHANNEL_DEFLATE))
        return BALLOON_ERR_STATE;
    return bl_driver_give_op(d, runs, count, now);
}

bool bl_driver_loan_poll(struct driver_loan *loan, balloon_driver_channel channel, uint32_t block,
                         balloon_driver_action *action)
{
    if (loan->back && loan->zeroed) {
        loan->zeroed = false;
        action->type = BALLOON_DRIVER_ZEROED;
        action->runs = loan->runs;
        action->run_count = loan->count;
    } else if (loan->back) {
        loan->back = false;
        action->type = BALLOON_DRIVER_FREE;
        action->runs = loan->runs;
        action->run_count = loan->count;
    } else if (loan->active && loan->phase == PHASE_ASK) {
        loan->phase = PHASE_ASKED;
        action->type = BALLOON_DRIVER_ALLOC;
        action->pages = UINT64_MAX;
        action->block = block;
        action->max_runs = REPORT_RUNS;
    } else if (loan->active && loan->phase == PHASE_SEND) {
        loan->phase = PHASE_SENT;
        action->type = BALLOON_DRIVER_SEND;
    } else {
        return false;
    }
    action->channel = channel;
    return true;
}

void bl_driver_want_stats(balloon_driver *d)
{
    d->stats_wanted = d->state == BALLOON_DRIVER_ATTACHED;
}

balloon_status balloon_driver_give_stats(balloon_driver *d, const balloon_sample *sample,
                                         balloon_time_t now)
{
    if (!d->stats_asked)
        return BALLOON_ERR_STATE;
    d->stats_asked = false;
    if (d->binding->stats)
        d->binding->stats(d, sample, now);
    return BALLOON_OK;
}

balloon_status balloon_driver_oom(balloon_driver *d, uint64_t pages, uint64_t *coming,
                                  balloon_time_t now)
{
    uint64_t hints = d->hinted < pages ? d->hinted : pages, held = bl_driver_held(d);
    bool may = d->deflate_on_oom && d->traits.may_oom;

    if (d->state == BALLOON_DRIVER_DETACHED)
        return BALLOON_ERR_STATE;
    /* Less must not become even less, whether or not anything comes back. */
    d->pause[OP_INFLATE] = driver_time_after(now, d->oom_delay << d->oom_backoff);
    if (d->oom_backoff < 6)
        d->oom_backoff++;
    if (!may && !hints)
        return BALLOON_ERR_UNSUPPORTED;
    d->hinted -= hints;
    d->hint_back += hints;
    pages -= hints;
    /* The balloon moves in the guest's pages. */
    if (!may)
        pages = 0;
    else if (pages < held)
        pages = (pages + d->page_pages - 1) & ~(uint64_t)(d->page_pages - 1);
    else
        pages = held;
    if (d->oom_left < pages)
        d->oom_left = pages;
    d->pause[OP_DEFLATE] = 0;
    d->count.oom_pages += pages + hints;
    if (coming)
        *coming = pages + hints;
    return BALLOON_OK;
}

balloon_status balloon_driver_migrate(balloon_driver *d, balloon_pfn_t from, balloon_pfn_t to,
                                      balloon_time_t now)
{
    balloon_range old = {from, d->page_pages}, new = {to, d->page_pages};

    (void)now;
    if (d->state != BALLOON_DRIVER_ATTACHED)
        return BALLOON_ERR_STATE;
    if (!d->traits.may_deflate)
        return BALLOON_ERR_UNSUPPORTED;
    if (d->op != OP_NONE || bl_driver_back_due(d))
        return BALLOON_ERR_BUSY;
    if (!bl_driver_usable(d, new) || (from & (d->page_pages - 1)) || from == to ||
        (d->tracker ? balloon_tracker_count(d->tracker, BALLOON_SET_HELD, old) != old.count
                    : d->listed < old.count))
        return BALLOON_ERR_INVALID;
    bl_driver_track(d, new);
    d->on_way = new.count;
    d->from = from;
    d->to = to;
    d->migrating = true;
    d->migrate_second = false;
    d->op = d->traits.deflate_first ? OP_DEFLATE : OP_INFLATE;
    d->runs[0] = d->traits.deflate_first ? old : new;
    d->run_count = 1;
    d->phase = PHASE_SEND;
    return BALLOON_OK;
}

static bool hints_back(balloon_driver *d, balloon_driver_action *action)
{
    if (!d->hint_back)
        return false;
    action->type = BALLOON_DRIVER_FREE;
    action->channel = BALLOON_CHANNEL_HINT;
    action->pages = d->hint_back;
    d->hint_back = 0;
    return true;
}

/* All is done that suspend has to wait for. */
static bool at_rest(const balloon_driver *d)
{
    return d->op == OP_NONE && !bl_driver_back_due(d) && !bl_driver_releasing(d) &&
           (!d->traits.may_deflate || !bl_driver_held(d)) && !d->report.active && !d->hint.active &&
           (!d->binding->idle || d->binding->idle(d));
}

static bool next_action(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    if (bl_driver_back_poll(d, action) || hints_back(d, action) ||
        bl_driver_loan_poll(&d->report, BALLOON_CHANNEL_REPORT, d->report_block, action))
        return true;
    if (!d->binding)
        return false;
    if (d->binding->poll(d, now, action) || bl_driver_op_poll(d, now, action))
        return true;
    if (d->stats_wanted) {
        d->stats_wanted = false;
        d->stats_asked = true;
        action->type = BALLOON_DRIVER_STATS;
        return true;
    }
    if (d->state == BALLOON_DRIVER_SUSPENDING && at_rest(d)) {
        d->state = BALLOON_DRIVER_RESTING;
        action->type = BALLOON_DRIVER_SUSPENDED;
        return true;
    }
    return false;
}

bool balloon_driver_poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    balloon_driver_action next;

    memset(&next, 0, sizeof(next));
    if (!next_action(d, now, &next))
        return false;
    *action = next;
    return true;
}

balloon_time_t balloon_driver_deadline(const balloon_driver *d)
{
    balloon_time_t op, own;

    if (bl_driver_back_due(d) || d->hint_back || d->report.back ||
        (bl_driver_releasing(d) && !d->on_way))
        return 0;
    if (!d->binding)
        return BALLOON_TIME_NEVER;
    if (d->stats_wanted || (d->state == BALLOON_DRIVER_SUSPENDING && at_rest(d)))
        return 0;
    op = bl_driver_op_deadline(d);
    own = d->binding->deadline(d);
    return op < own ? op : own;
}
