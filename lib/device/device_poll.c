/* Discards and acknowledgements out: the part of the device that keeps the rule of when a page may
 * be discarded. */
#include "../core/bits.h"
#include "../core/tracker_saved_p.h"
#include "device_p.h"

#define RETRY_MAX UINT64_C(10000000000)

/* --- discards --------------------------------------------------------------------------------- */

void balloon_device_flush(balloon_device *d)
{
    d->flush = d->gather;
}

void balloon_device_discard_failed(balloon_device *d, const balloon_run *run, balloon_time_t now)
{
    d->count.discard_failed += run->range.count;
    d->failed = true;
    bl_device_drop_claims(d);
    if (!balloon_tracker_put_back(d->tracker, run) || d->retry_at > now)
        return;
    d->retry_delay = d->retry_delay ? 2 * d->retry_delay : d->gather_delay;
    if (d->retry_delay > RETRY_MAX)
        d->retry_delay = RETRY_MAX;
    d->retry_at = time_after(now, d->retry_delay);
}

/* Is a discard due, in gathering mode? */
static bool flush_due(balloon_device *d, balloon_time_t now)
{
    uint64_t ready = balloon_tracker_ready(d->tracker);

    if (!ready) {
        d->flush = false;
        d->flush_at = BALLOON_TIME_NEVER;
        return false;
    }
    if (d->flush_at == BALLOON_TIME_NEVER)
        d->flush_at = time_after(now, d->gather_delay);
    /* Once begun, a flush takes all that is ready: what waits on would only leave in bits. */
    if (ready >= d->gather_pages || now >= d->flush_at)
        d->flush = true;
    return d->flush;
}

static NOINLINE bool discard(balloon_device *d, balloon_action *action)
{
    uint64_t ready = balloon_tracker_ready(d->tracker);
    uint32_t n;

    if (!ready)
        return false;
    n = (uint32_t)balloon_tracker_take(d->tracker, d->runs, d->run_batch);
    /* The last batch is known to have worked by now. */
    if (!d->failed)
        d->retry_delay = 0;
    d->failed = false;
    d->count.discard_runs += n;
    d->last_runs = n;
    d->unproved = d->claims;
    d->count.discarded += ready - balloon_tracker_ready(d->tracker);
    *action = (balloon_action){.type = BALLOON_ACTION_DISCARD, .run_count = n, .runs = d->runs};
    return true;
}

/* What may not be discarded after this answer, and was not before it, is about to be forgotten. */
static NOINLINE void note_kept(balloon_device *d)
{
    uint64_t reported = bl_tracker_reported(d->tracker);
    uint64_t kept = d->gather ? 0 : balloon_tracker_pending(d->tracker) - reported;

    if (balloon_tracker_ready(d->tracker))
        bl_device_drop_claims(d);
    d->count.report_withheld += reported;
    d->count.inflate_withheld += kept;
    d->withheld = d->withheld || kept;
}

static inline void pop(balloon_device *d, uint32_t n)
{
    d->count.acks += n;
    d->buffer_count -= n;
    d->buffer_first += n;
    if (d->buffer_first >= d->max_buffers)
        d->buffer_first -= d->max_buffers;
}

static inline bool acknowledge(balloon_device *d, balloon_action *action)
{
    const struct waiting_buffer *b = &d->buffers[d->buffer_first];

    if (b->settle) {
        if (balloon_tracker_pending(d->tracker))
            note_kept(d);
        balloon_tracker_settle(d->tracker);
    }
    *action = (balloon_action){.type = BALLOON_ACTION_ACK, .queue = b->queue, .cookie = b->cookie};
    if (b->used)
        bl_device_claims_take(d, b, action);
    pop(d, 1);
    return true;
}

/* While nothing is pending, no buffer has to wait for a discard, nor is there anything to be
 * forgotten with its answer. What is claimed goes the usual way. */
size_t balloon_device_poll_acks(balloon_device *d, balloon_ack *acks, size_t max)
{
    bool settled = !balloon_tracker_pending(d->tracker);
    uint32_t at = d->buffer_first, n = 0;

    if (settled)
        balloon_tracker_settle(d->tracker);
    while (n < max && n < d->buffer_count && (settled || !d->buffers[at].settle) &&
           !d->buffers[at].used) {
        const struct waiting_buffer *b = &d->buffers[at];

        acks[n++] = (balloon_ack){.cookie = b->cookie, .queue = b->queue};
        if (++at == d->max_buffers)
            at = 0;
    }
    pop(d, n);
    return n;
}

static bool tell(bool *due, balloon_action *action, balloon_action_type type)
{
    if (!*due)
        return false;
    *due = false;
    *action = (balloon_action){.type = type};
    return true;
}

static bool binding_poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    balloon_action next = {0};

    if (!d->binding || !d->binding->poll || !d->binding->poll(d, now, &next))
        return false;
    *action = next;
    return true;
}

/* What is looked at before discards and answers, if there is any of it. */
static bool any_news(const balloon_device *d, balloon_time_t now)
{
    return d->tell_config || d->unproved || (d->binding && d->binding->poll) ||
           device_size_moves(d, now);
}

static NOINLINE bool tell_news(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    if (d->unproved)
        bl_device_claims_note(d);
    bl_device_size_poll(d, now);
    return binding_poll(d, now, action) || tell(&d->tell_config, action, BALLOON_ACTION_CONFIG_IRQ);
}

/* Each action is written as a whole, once it is known: a field that is read again as a part of
 * something wider, to be copied, has to wait for its store. */
bool balloon_device_poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    bool due = d->gather && flush_due(d, now);

    if (any_news(d, now) && tell_news(d, now, action))
        return true;
    due = due || (d->buffer_count && d->buffers[d->buffer_first].settle);
    if (due && !d->inhibited && now >= d->retry_at && discard(d, action))
        return true;
    if (d->buffer_count)
        return acknowledge(d, action);
    return bl_device_stats_poll(d, now, action) ||
           tell(&d->tell_pressure, action, BALLOON_ACTION_PRESSURE) ||
           tell(&d->hint.tell, action, BALLOON_ACTION_HINTED);
}

balloon_time_t balloon_device_deadline(const balloon_device *d)
{
    balloon_time_t at = bl_device_stats_deadline(d);
    bool acts = d->binding && d->binding->deadline;
    balloon_time_t binding = acts ? d->binding->deadline(d) : BALLOON_TIME_NEVER;
    balloon_time_t size = bl_device_size_deadline(d);

    if (d->tell_config || d->buffer_count || d->tell_pressure || d->hint.tell)
        return 0;
    if (binding < at)
        at = binding;
    if (size < at)
        at = size;
    if (d->gather && !d->inhibited && balloon_tracker_ready(d->tracker)) {
        bool now = d->flush || balloon_tracker_ready(d->tracker) >= d->gather_pages;
        balloon_time_t flush = now ? 0 : d->flush_at;

        if (flush < d->retry_at)
            flush = d->retry_at;
        if (flush < at)
            at = flush;
    }
    return at;
}
