/* Statistics: one buffer of the guest is kept, and returned to ask for the next. */
#include "device_p.h"

static bool stats_possible(const balloon_device *d)
{
    return (device_features(d) & BALLOON_F_STATS) != 0;
}

#define DEFAULT_TIMEOUT UINT64_C(1000000000)

static balloon_time_t timeout(const balloon_device *d)
{
    if (d->stats_timeout)
        return d->stats_timeout;
    return d->binding && d->binding->stats_timeout ? d->binding->stats_timeout : DEFAULT_TIMEOUT;
}

static void begin_request(balloon_device *d, balloon_time_t now)
{
    /* After a late answer the guest still has the buffer. */
    if (d->stats.request == STATS_IDLE)
        d->stats.request = STATS_WANTED;
    d->stats.deadline = time_after(now, timeout(d));
}

balloon_status balloon_device_request_stats(balloon_device *d, balloon_time_t now)
{
    if (!stats_possible(d))
        return BALLOON_ERR_STATE;
    if (d->stats.deadline != BALLOON_TIME_NEVER)
        return BALLOON_ERR_BUSY;
    begin_request(d, now);
    return BALLOON_OK;
}

void balloon_device_set_stats_period(balloon_device *d, balloon_time_t period, balloon_time_t now)
{
    d->stats.period = period;
    d->stats.next = period ? now : BALLOON_TIME_NEVER;
}

void bl_device_stats_hold(balloon_device *d, uint32_t queue, uint64_t cookie)
{
    /* A driver has one buffer. If it sends a second, it gets the first one back. */
    if (d->stats.held)
        bl_device_push(d, d->stats.queue, d->stats.cookie, false);
    d->stats.held = true;
    d->stats.queue = queue;
    d->stats.cookie = cookie;
}

void bl_device_stats_answer(balloon_device *d, const balloon_sample *sample, balloon_time_t now)
{
    /* Filler. If it met a request that waits for it, it is returned for better. */
    if (sample->present || d->stats.request == STATS_ASKED)
        bl_device_stats_offer(d, sample, now);
}

void bl_device_stats_offer(balloon_device *d, const balloon_sample *sample, balloon_time_t now)
{
    d->stats.sample = *sample;
    d->stats.sample.time = now;
    d->stats.have_sample = d->stats.tell_sample = true;
    d->stats.late = false;
    d->stats.request = STATS_IDLE;
    d->stats.deadline = BALLOON_TIME_NEVER;
    d->count.stats_received++;
}

bool bl_device_stats_poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    struct stats_state *s = &d->stats;

    if (s->tell_sample) {
        s->tell_sample = false;
        *action = (balloon_action){.type = BALLOON_ACTION_STATS};
        return true;
    }
    if (!stats_possible(d))
        return false;
    if (s->next != BALLOON_TIME_NEVER && now >= s->next) {
        s->next = time_after(now, s->period);
        if (s->deadline == BALLOON_TIME_NEVER)
            begin_request(d, now);
    }
    if (s->request == STATS_WANTED && s->held) {
        s->held = false;
        s->request = STATS_ASKED;
        *action =
            (balloon_action){.type = BALLOON_ACTION_ACK, .queue = s->queue, .cookie = s->cookie};
        d->count.acks++;
        return true;
    }
    if (s->deadline != BALLOON_TIME_NEVER && now >= s->deadline) {
        /* The buffer may still come, and is welcome then. */
        s->deadline = BALLOON_TIME_NEVER;
        s->late = true;
        d->count.stats_late++;
        *action = (balloon_action){.type = BALLOON_ACTION_STATS_LATE};
        return true;
    }
    return false;
}

balloon_time_t bl_device_stats_deadline(const balloon_device *d)
{
    const struct stats_state *s = &d->stats;

    if (s->tell_sample)
        return 0;
    if (!stats_possible(d))
        return BALLOON_TIME_NEVER;
    if (s->request == STATS_WANTED && s->held)
        return 0;
    return s->deadline < s->next ? s->deadline : s->next;
}
