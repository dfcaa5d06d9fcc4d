/* The size of the balloon: is it what was asked for? */
#include "device_p.h"

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
