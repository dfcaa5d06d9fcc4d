/* The size of the balloon: is it what was asked for, and what if it is not? */
#include "device_p.h"

/* All pages are on their way out as long as full buffers follow each other within LEAVE_GAP; after
 * LEAVE_MOST nobody waits for the end. */
#define LEAVE_GAP  UINT64_C(1000000000)
#define LEAVE_MOST UINT64_C(10000000000)

/* A driver that moved, or was told, just now does not sleep. */
#define AWAKE UINT64_C(1000000000)

/* One that does is woken after so long, then after twice as long each time, up to this. */
#define NUDGE_MOST UINT64_C(600000000000)

static uint64_t unit(const balloon_device *d)
{
    return d->binding ? d->binding->unit : VIRTIO_UNIT;
}

static uint64_t small_slack(const balloon_device *d)
{
    return d->binding && d->binding->slack ? d->binding->slack : SIZE_SLACK;
}

uint64_t bl_device_slack(const balloon_device *d)
{
    return small_slack(d) > unit(d) ? small_slack(d) : unit(d);
}

/* A balloon comes in whole pages of the guest, 4, 16 or 64 KiB, which the transport does not tell.
 * Linux rounds a target that is not made of them up, others down. Nobody rounds 0. */
static bool meets_target(const balloon_device *d, uint64_t size)
{
    uint64_t target = d->target, page = size % 16 == 0 ? 16 : size % 4 == 0 ? 4 : 1;

    if (size == target)
        return true;
    if (!size || !target)
        return false;
    if (size > target)
        return size - target < (size & (unit(d) - 1) ? small_slack(d) : bl_device_slack(d));
    return target - size < page;
}

static bool claims_target(const balloon_device *d)
{
    return meets_target(d, d->actual);
}

bool bl_device_holds_target(const balloon_device *d)
{
    return meets_target(d, balloon_tracker_held(d->tracker));
}

bool bl_device_arrived(const balloon_device *d)
{
    return d->driver && claims_target(d) && (d->high_ram || bl_device_holds_target(d));
}

/* A guest claims its size when it has named the pages, some only at the end of the way, some never.
 * One that has stopped, or claims to be there, has no more to say. */
bool bl_device_claim_differs(const balloon_device *d, balloon_time_t now)
{
    uint64_t held = balloon_tracker_held(d->tracker);
    uint64_t apart = d->actual > held ? d->actual - held : held - d->actual;

    if (apart < SIZE_SLACK || !d->actual || d->high_ram)
        return false;
    if (d->taken > d->progress)
        return now >= time_after(d->taken, SLOW);
    return now >= time_after(d->progress, SLOW) || (d->target && claims_target(d));
}

/* --- guests that take pages back -------------------------------------------------------------- */

static uint64_t missing(const balloon_device *d)
{
    return device_missing(d, balloon_tracker_held(d->tracker));
}

/* Do statistics newer than the last page taken back say that the guest has, or has not, memory for
 * what is missing, or a good deal? */
static bool told_of_memory(const balloon_device *d, bool has)
{
    const balloon_sample *s = &d->stats.sample;
    uint64_t held = balloon_tracker_held(d->tracker), enough = missing(d), pages;
    uint64_t part = balloon_tracker_pages(d->tracker) / 8;
    balloon_stat stat = BALLOON_STAT_AVAILABLE;

    if (!enough && held < d->target) /* it gives again: see bl_device_saved_peak() */
        enough = d->target - held;
    if (!(s->present >> stat & 1))
        stat = BALLOON_STAT_FREE;
    if (!d->stats.have_sample || !(s->present >> stat & 1) || s->time <= d->taken)
        return false;
    pages = s->value[stat] >> BALLOON_PAGE_SHIFT;
    return (pages >= (enough < part ? enough : part)) == has;
}

/* A guest in need may take as much at once as a small balloon has, and stays. */
bool bl_device_left(const balloon_device *d)
{
    return d->driver && d->emptying && !balloon_tracker_held(d->tracker) && missing(d) &&
           !told_of_memory(d, false);
}

/* When it is told that pages are missing. What a guest in need takes back it claims at once; one
 * that takes back all of its balloon claims that at the end (Linux, remove_common() against the
 * notifier of OOM), so the claim is waited for. */
static balloon_time_t pressure_at(const balloon_device *d)
{
    balloon_time_t at = d->doubted, gap = time_after(d->taken, LEAVE_GAP);

    if (!d->doubting)
        return BALLOON_TIME_NEVER;
    if (d->emptying) {
        at = time_after(at, LEAVE_MOST);
        at = gap < at ? gap : at;
    }
    return d->lenient_until > at ? d->lenient_until : at;
}

static void look_for_pressure(balloon_device *d, balloon_time_t now)
{
    if (!d->driver || d->pressure || !missing(d) || bl_device_left(d)) {
        d->doubting = false;
        return;
    }
    if (!d->doubting)
        d->doubted = now;
    d->doubting = true;
    if (now < pressure_at(d))
        return;
    d->doubting = false;
    d->pressure = d->tell_pressure = true;
}

bool bl_device_short(const balloon_device *d)
{
    return d->pressure && d->taken >= d->progress && !told_of_memory(d, true);
}

/* --- drivers that sleep ----------------------------------------------------------------------- */

static balloon_time_t last_move(const balloon_device *d)
{
    balloon_time_t last = d->progress > d->nudged ? d->progress : d->nudged;

    return d->taken > last ? d->taken : last;
}

/* Some look at the target only when they are told to, and try once: Linux after a deflation on OOM,
 * OpenBSD's viomb and Haiku always. A driver is left alone that believes to be there, or is. */
static balloon_time_t nudge_at(const balloon_device *d)
{
    balloon_time_t last = last_move(d), delay = NUDGE_FIRST;

    if (!d->driver || !d->binding || !d->binding->nudge || claims_target(d) ||
        bl_device_holds_target(d))
        return BALLOON_TIME_NEVER;
    /* It would only have to take back again what it gives. */
    if (d->pressure && told_of_memory(d, false))
        return BALLOON_TIME_NEVER;
    /* What moves now and then does not start all over each time. */
    if (d->nudge_delay && last - d->nudged <= NUDGE_MOST)
        delay = d->nudge_delay;
    return time_after(last, delay);
}

static void nudge_due(balloon_device *d, balloon_time_t now)
{
    balloon_time_t at;

    /* Nobody is woken earlier, and mostly this is all there is to see. */
    if (now < time_after(d->progress, NUDGE_FIRST))
        return;
    at = nudge_at(d);
    if (at == BALLOON_TIME_NEVER || now < at)
        return;
    d->nudge_delay = 2 * (at - last_move(d));
    if (d->nudge_delay > NUDGE_MOST)
        d->nudge_delay = NUDGE_MOST;
    d->nudged = now;
    d->binding->nudge(d);
}

void bl_device_nudge(balloon_device *d, balloon_time_t now)
{
    if (!d->driver || !d->binding || !d->binding->nudge || bl_device_arrived(d) ||
        now < time_after(last_move(d), AWAKE))
        return;
    d->nudged = now;
    d->binding->nudge(d);
}

/* --- polls ------------------------------------------------------------------------------------ */

static balloon_time_t overshoot(const balloon_device *d)
{
    return d->binding ? d->binding->overshoot : 0;
}

void bl_device_size_note(balloon_device *d, balloon_time_t now)
{
    uint64_t held = balloon_tracker_held(d->tracker);

    if (d->gave_back)
        d->progress = now;
    if (d->took)
        d->taken = now;
    d->gave_back = d->took = false;
    if (d->descending && held <= d->target) {
        balloon_time_t until = time_after(now, overshoot(d));

        d->descending = false;
        if (until > d->lenient_until)
            d->lenient_until = until;
        /* As close as this guest comes from above. */
        if (d->target - held < small_slack(d))
            d->peak = held;
    }
}

void bl_device_size_poll(balloon_device *d, balloon_time_t now)
{
    bl_device_size_note(d, now);
    look_for_pressure(d, now);
    nudge_due(d, now);
}

balloon_time_t bl_device_size_deadline(const balloon_device *d)
{
    balloon_time_t nudge = nudge_at(d), pressure = pressure_at(d);

    return pressure < nudge ? pressure : nudge;
}

/* --- the saved form --------------------------------------------------------------------------- */

/* Has a guest that was short given pages since? */
static bool gives_again(const balloon_device *d)
{
    return d->pressure && d->taken < d->progress;
}

balloon_time_t bl_device_saved_move(const balloon_device *d)
{
    return d->pressure && !gives_again(d) ? d->taken : d->progress;
}

uint64_t bl_device_saved_peak(const balloon_device *d)
{
    uint64_t held = balloon_tracker_held(d->tracker);

    if (gives_again(d))
        return held;
    return d->pressure && d->peak <= held ? held + 1 : d->peak;
}

void bl_device_size_load(balloon_device *d, balloon_time_t now)
{
    uint64_t held = balloon_tracker_held(d->tracker);
    balloon_time_t last = d->progress ? d->progress : 1;
    bool untold = !d->pressure && missing(d);

    d->gave_back = d->took = false;
    d->taken = 0;
    d->descending = held > d->target;
    /* A change of the target, and what comes of it, is progress. */
    d->lenient_until = time_after(d->progress, overshoot(d) > SLOW ? overshoot(d) : SLOW);
    d->emptying = untold && (!d->binding || d->binding->leaves);
    d->doubting = untold && d->driver && !bl_device_left(d);
    d->doubted = now;
    if (untold) {
        d->taken = now;
    } else if (d->pressure) {
        d->taken = d->peak > held ? last : last - 1;
        d->progress = d->peak > held ? last - 1 : last;
    }
    d->nudged = now;
    d->nudge_delay = 0;
}
