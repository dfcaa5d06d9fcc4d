/* The size of the balloon: is it what was asked for, and what if it is not? */
#include "device_p.h"

/* A driver that moved, or was told, just now does not sleep. */
#define AWAKE UINT64_C(1000000000)

/* One that does is woken after so long, then after twice as long each time, up to so long. */
#define NUDGE_FIRST UINT64_C(10000000000)
#define NUDGE_MOST  UINT64_C(600000000000)

static uint64_t unit(const balloon_device *d)
{
    return d->binding ? d->binding->unit : VIRTIO_UNIT;
}

uint64_t bl_device_slack(const balloon_device *d)
{
    uint64_t slack = d->binding && d->binding->slack ? d->binding->slack : SIZE_SLACK;

    return slack > unit(d) ? slack : unit(d);
}

/* A balloon comes in whole pages of the guest, 4, 16 or 64 KiB, which the transport does not tell.
 * Linux rounds a target that is not made of them up, others down. Nobody rounds 0. */
static bool meets_target(const balloon_device *d, uint64_t size)
{
    uint64_t slack = d->binding && d->binding->slack ? d->binding->slack : SIZE_SLACK;
    uint64_t target = d->target, page = size % 16 == 0 ? 16 : size % 4 == 0 ? 4 : 1;

    if (size == target)
        return true;
    if (!size || !target)
        return false;
    if (size > target)
        return size - target < slack || (size - target < unit(d) && size % unit(d) == 0);
    return target - size < page;
}

bool bl_device_claims_target(const balloon_device *d)
{
    return meets_target(d, d->actual);
}

bool bl_device_holds_target(const balloon_device *d)
{
    return meets_target(d, balloon_tracker_held(d->tracker));
}

bool bl_device_arrived(const balloon_device *d)
{
    return d->driver && bl_device_claims_target(d) && (d->high_ram || bl_device_holds_target(d));
}

/* A guest claims its size when it has named the pages, some only at the end of the way, some never.
 * One that has stopped, or claims to be there, has no more to say. */
bool bl_device_claim_differs(const balloon_device *d, balloon_time_t now)
{
    uint64_t held = balloon_tracker_held(d->tracker);
    uint64_t apart = d->actual > held ? d->actual - held : held - d->actual;

    if (apart < SIZE_SLACK || !d->actual || d->high_ram)
        return false;
    return now >= time_after(d->progress, SLOW) || (d->target && bl_device_claims_target(d));
}

/* --- drivers that sleep -------------------------------------------------------------------------
 */

static balloon_time_t last_move(const balloon_device *d)
{
    return d->progress > d->nudged ? d->progress : d->nudged;
}

/* Some look at the target only when they are told to, and try once: Linux after a deflation on OOM,
 * OpenBSD's viomb and Haiku always. A driver is left alone that believes to be there, or is. */
static balloon_time_t nudge_at(const balloon_device *d)
{
    balloon_time_t last = last_move(d), delay = NUDGE_FIRST;

    if (!d->driver || !d->binding || !d->binding->nudge || bl_device_claims_target(d) ||
        bl_device_holds_target(d))
        return BALLOON_TIME_NEVER;
    /* What moves now and then does not start all over each time. */
    if (d->nudge_delay && last - d->nudged <= NUDGE_MOST)
        delay = d->nudge_delay;
    return time_after(last, delay);
}

static void nudge_due(balloon_device *d, balloon_time_t now)
{
    balloon_time_t at = nudge_at(d);

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

/* --- polls --------------------------------------------------------------------------------------
 */

void bl_device_size_poll(balloon_device *d, balloon_time_t now)
{
    if (d->gave_back)
        d->progress = now;
    d->gave_back = false;
    nudge_due(d, now);
}

balloon_time_t bl_device_size_deadline(const balloon_device *d)
{
    return nudge_at(d);
}
