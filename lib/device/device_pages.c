/* What the bindings bring in: pages for the balloon and out of it, and the buffers that named them.
 */
#include "../core/tracker_saved_p.h"
#include "device_p.h"

void bl_device_push(balloon_device *d, uint32_t queue, uint64_t cookie, bool settle)
{
    uint32_t at = d->buffer_first + d->buffer_count;
    struct waiting_buffer *b;

    if (at >= d->max_buffers)
        at -= d->max_buffers;
    b = &d->buffers[at];
    b->cookie = cookie;
    b->used = 0;
    b->queue = (uint8_t)queue;
    b->settle = settle;
    b->bits = false;
    d->buffer_count++;
}

/* --- pages in and out ------------------------------------------------------------------------- */

void bl_device_inflated(balloon_device *d, const balloon_tally *tally, balloon_time_t now)
{
    uint64_t held = balloon_tracker_held(d->tracker);

    /* One by one: what was written just now in pieces cannot be read as a vector without a wait. */
    if (tally->changed) {
        d->count.inflated += tally->changed;
        d->progress = now;
    }
    if (tally->unchanged)
        d->count.inflate_duplicate += tally->unchanged;
    if (tally->outside) {
        d->count.inflate_outside += tally->outside;
        d->outside = true;
    }
    if (held > d->peak)
        d->peak = held;
    if (held >= d->target)
        d->pressure = d->tell_pressure = false;
}

size_t bl_device_inflate_in_order(balloon_device *d, const uint32_t *pfns, size_t count,
                                  balloon_time_t now)
{
    balloon_tally tally = {0};
    size_t went = bl_tracker_inflate_in_order(d->tracker, pfns, count, &tally);

    if (went)
        bl_device_inflated(d, &tally, now);
    return went;
}

bool bl_device_inflate_range(balloon_device *d, balloon_range range, balloon_time_t now)
{
    balloon_tally tally = {0};

    if (d->high_ram)
        tally.outside = range.count;
    else
        balloon_tracker_inflate_range(d->tracker, range, &tally);
    bl_device_inflated(d, &tally, now);
    return !tally.outside;
}

balloon_status balloon_device_declare_held(balloon_device *d, balloon_range range,
                                           balloon_time_t now)
{
    uint64_t held;

    if (!d->driver && !device_starts_out(d))
        return BALLOON_ERR_STATE;
    if (d->high_ram)
        return BALLOON_ERR_UNSUPPORTED;
    if (!range.count || balloon_tracker_count(d->tracker, BALLOON_SET_FREE, range) != range.count)
        return BALLOON_ERR_INVALID;
    if (d->buffer_count)
        return BALLOON_ERR_BUSY;
    (void)bl_device_inflate_range(d, range, now);
    /* Where the guest may take pages back and tell afterwards, it may have done so. */
    if (!d->gather)
        balloon_tracker_settle(d->tracker);
    held = balloon_tracker_held(d->tracker);
    if (d->binding && d->binding->wide)
        bl_device_set_actual(d, held < UINT32_MAX ? held : UINT32_MAX);
    if (d->binding && d->binding->declared)
        d->binding->declared(d, range.count);
    return BALLOON_OK;
}

/* What it means is seen at the next poll. */
void bl_device_deflated(balloon_device *d, const balloon_tally *tally, uint64_t held)
{
    uint64_t now_held = balloon_tracker_held(d->tracker);

    /* Whoever takes a page back that is on its way in may write to it at once. */
    bl_device_drop_claims(d);
    d->count.deflated += tally->changed;
    if (tally->unchanged)
        d->count.deflate_unheld += tally->unchanged;
    if (tally->outside)
        d->count.deflate_outside += tally->outside;
    if (tally->cancelled)
        d->count.cancelled += tally->cancelled;
    d->gave_back = d->gave_back || (tally->changed && held > d->target);
    held = held < d->target ? held : d->target;
    if (now_held < held) {
        d->count.deflated_below += held - now_held;
        d->took = true;
    }
    if (!now_held)
        d->withheld = false;
}

size_t bl_device_deflate_in_order(balloon_device *d, const uint32_t *pfns, size_t count)
{
    balloon_tally tally = {0};
    uint64_t held = balloon_tracker_held(d->tracker);
    size_t went = bl_tracker_deflate_in_order(d->tracker, pfns, count, &tally);

    if (went)
        bl_device_deflated(d, &tally, held);
    return went;
}

bool bl_device_deflate_range(balloon_device *d, balloon_range range)
{
    balloon_tally tally = {0};
    uint64_t held = balloon_tracker_held(d->tracker);

    balloon_tracker_deflate_range(d->tracker, range, &tally);
    bl_device_deflated(d, &tally, held);
    return !tally.outside;
}

bool bl_device_report(balloon_device *d, balloon_range range, bool withhold)
{
    balloon_tally tally = {0};

    if (withhold || d->inhibited) {
        d->count.report_withheld += range.count;
        return true;
    }
    balloon_tracker_report(d->tracker, range, &tally);
    d->count.reported += tally.changed;
    d->count.report_partial += tally.unchanged;
    d->count.report_outside += tally.outside;
    d->outside = d->outside || tally.outside;
    return !tally.outside;
}

void bl_device_set_actual(balloon_device *d, uint64_t pages)
{
    d->actual = pages;
    /* One that takes everything back says so at the end. */
    if (balloon_tracker_held(d->tracker))
        d->emptying = false;
}
