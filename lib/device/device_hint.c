/* Free page hinting: rounds with an id each. A hint counts only between the guest's start and
 * stop of the current round; later ones may name pages that are in use again. */
#include "device_p.h"

#define FIRST_ID UINT32_C(0x80000000)

static void show_id(balloon_device *d, uint32_t id, balloon_hinting state)
{
    d->hint.id = id;
    d->hint.state = state;
    d->tell_config = true;
}

balloon_status balloon_device_start_hinting(balloon_device *d)
{
    uint32_t id = d->hint.next_id;

    if (!(device_features(d) & BALLOON_F_HINTING))
        return BALLOON_ERR_STATE;
    /* Ids come back after 2^31 rounds, long after the guest has answered the old one. */
    d->hint.next_id = id == UINT32_MAX ? FIRST_ID : id + 1;
    balloon_tracker_forget_hints(d->tracker);
    show_id(d, id, BALLOON_HINTING_REQUESTED);
    return BALLOON_OK;
}

balloon_status balloon_device_stop_hinting(balloon_device *d)
{
    if (d->hint.state != BALLOON_HINTING_REQUESTED && d->hint.state != BALLOON_HINTING_RUNNING)
        return BALLOON_ERR_STATE;
    show_id(d, HINT_STOP, BALLOON_HINTING_STOPPED);
    return BALLOON_OK;
}

balloon_status balloon_device_finish_hinting(balloon_device *d)
{
    if (d->hint.state == BALLOON_HINTING_OFF)
        return BALLOON_ERR_STATE;
    balloon_tracker_forget_hints(d->tracker);
    show_id(d, HINT_DONE, BALLOON_HINTING_OFF);
    return BALLOON_OK;
}

void bl_device_hint_abandon(balloon_device *d)
{
    if (d->hint.state != BALLOON_HINTING_OFF)
        show_id(d, HINT_DONE, BALLOON_HINTING_OFF);
    d->hint.tell = false;
}

void bl_device_hint_command(balloon_device *d, uint32_t id)
{
    if (id == d->hint.id && d->hint.state == BALLOON_HINTING_REQUESTED) {
        d->hint.state = BALLOON_HINTING_RUNNING;
    } else if (id == HINT_STOP && d->hint.state == BALLOON_HINTING_RUNNING) {
        /* A stop that comes before the round has begun belongs to an older one. */
        d->hint.state = BALLOON_HINTING_STOPPED;
        d->hint.tell = true;
    }
}

bool bl_device_hint_range(balloon_device *d, balloon_range range)
{
    balloon_tally tally = {0};

    if (d->hint.state != BALLOON_HINTING_RUNNING) {
        d->count.hints_stale += range.count;
        return true;
    }
    balloon_tracker_hint(d->tracker, range, &tally);
    d->count.hints += tally.changed;
    return !tally.outside;
}
