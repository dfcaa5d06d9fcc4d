/* Load a saved device. The bytes are read twice: once to validate all of them, once to apply. */
#include <string.h>

#include "../core/tracker_saved_p.h"
#include "device_save_p.h"

/* Reads zeros past the end, and remembers that something was wrong. */
struct reader {
    const uint8_t *from;
    size_t bytes, used;
    bool bad;
};

static uint64_t get(struct reader *r, unsigned bytes)
{
    uint64_t value = 0;

    if (bytes > r->bytes - r->used) {
        r->bad = true;
        return 0;
    }
    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | r->from[r->used + i];
    r->used += bytes;
    return value;
}

static uint64_t get_upto(struct reader *r, unsigned bytes, uint64_t most)
{
    uint64_t value = get(r, bytes);

    if (value > most)
        r->bad = true;
    return value;
}

static bool get_bool(struct reader *r)
{
    return get_upto(r, 1, 1) != 0;
}

static balloon_time_t get_deadline(struct reader *r, balloon_time_t now)
{
    uint64_t left = get(r, 8);

    return time_after(now, left);
}

static balloon_time_t get_past(struct reader *r, balloon_time_t now)
{
    uint64_t passed = get(r, 8);

    return passed < now ? now - passed : 0;
}

static void get_device(struct reader *r, balloon_device *d, balloon_time_t now)
{
    if (get(r, 4) != d->offered)
        r->bad = true;
    d->chosen = (uint32_t)get(r, 4);
    d->driver = get_bool(r);
    d->tell_config = get_bool(r);
    d->pressure = get_bool(r);
    d->tell_pressure = get_bool(r);
    d->flush = get_bool(r);
    d->target = get(r, 4);
    d->actual = get(r, 4);
    d->peak = get(r, 8);
    d->progress = get_past(r, now);
    d->gather = d->driver ? (d->chosen & BALLOON_F_MUST_TELL) != 0 : device_starts_out(d);
    if ((d->chosen & ~d->offered) || (d->flush && !d->gather))
        r->bad = true;
}

/* Returns whether any of the bytes is not zero. */
static bool get_bytes(struct reader *r, uint8_t *to, unsigned bytes)
{
    uint8_t any = 0;

    for (unsigned i = 0; i < bytes; i++) {
        to[i] = (uint8_t)get(r, 1);
        any |= to[i];
    }
    return any;
}

/* virtio without options: one of the ways to count queues, and version 1 or not. */
static bool load_unbound(balloon_device *d, const uint8_t *first)
{
    struct unbound_state state;

    memcpy(&state, first, sizeof(state));
    memcpy(d->room, first, sizeof(state));
    return state.numbering <= NUMBERING_MOST && state.version_1 <= 1;
}

static void get_binding(struct reader *r, balloon_device *d, balloon_time_t now)
{
    const struct device_binding *b = d->binding;
    uint8_t first[SAVED_BINDING_BYTES] = {0}, own[SAVED_BINDING_BYTES];
    unsigned number = b ? b->number : 0;
    bool any_first, any_own, sound;

    any_first = get_bytes(r, first, SAVED_SPEECH_BYTES);
    d->poison.written = get_bool(r);
    d->poison.value = (uint32_t)get(r, 4);
    any_first |= get_bytes(r, first + SAVED_SPEECH_BYTES, SAVED_FIRST_BYTES - SAVED_SPEECH_BYTES);
    if (get(r, 1) != number)
        r->bad = true;
    any_own = get_bytes(r, own, SAVED_BINDING_BYTES);
    sound = b ? b->load(d, now, number ? own : first) : load_unbound(d, first);
    /* Nothing stands where other transports have theirs. */
    if (!sound || (number ? any_first || d->poison.written || d->poison.value : any_own))
        r->bad = true;
}

static void get_hint(struct reader *r, struct hint_state *h)
{
    h->state = (balloon_hinting)get_upto(r, 1, BALLOON_HINTING_STOPPED);
    h->id = (uint32_t)get(r, 4);
    h->next_id = (uint32_t)get(r, 4);
    if (h->next_id < UINT32_C(0x80000000))
        r->bad = true;
    /* A round has its id until the host stops it; the guest's own stop does not change that. */
    if (h->state == BALLOON_HINTING_OFF ? h->id > HINT_DONE : h->id == HINT_DONE)
        r->bad = true;
    if (h->state != BALLOON_HINTING_STOPPED && h->state != BALLOON_HINTING_OFF && !h->id)
        r->bad = true;
}

static void get_stats(struct reader *r, struct stats_state *s, balloon_time_t now)
{
    const uint32_t known = ((UINT32_C(1) << BALLOON_STAT_COUNT) - 1) | BALLOON_SAMPLE_READS;

    memset(s, 0, sizeof(*s));
    s->held = get_bool(r);
    s->late = get_bool(r);
    s->have_sample = get_bool(r);
    s->tell_sample = get_bool(r);
    s->request = (enum stats_request)get_upto(r, 1, STATS_ASKED);
    s->queue = (uint32_t)get_upto(r, 1, QUEUES_END - 1);
    s->cookie = get(r, 8);
    s->deadline = get_deadline(r, now);
    s->period = get(r, 8);
    s->next = get_deadline(r, now);
    s->sample.time = get_past(r, now);
    s->sample.present = (uint32_t)get(r, 4);
    s->sample.ignored = (uint32_t)get(r, 4);
    for (unsigned i = 0; i < BALLOON_STAT_COUNT; i++)
        s->sample.value[i] = get(r, 8);
    if ((s->sample.present & ~known) || (s->tell_sample && !s->have_sample))
        r->bad = true;
    if (!s->period && s->next != BALLOON_TIME_NEVER)
        r->bad = true;
    if (s->request == STATS_IDLE && s->deadline != BALLOON_TIME_NEVER)
        r->bad = true;
}

static void get_buffers(struct reader *r, balloon_device *d, bool apply)
{
    uint32_t count = (uint32_t)get_upto(r, 4, d->max_buffers);

    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint64_t cookie = get(r, 8);
        uint32_t queue = (uint32_t)get_upto(r, 1, QUEUES_END - 1);
        bool settle = get_bool(r);

        if (apply)
            bl_device_push(d, queue, cookie, settle);
    }
    if (count && !d->driver)
        r->bad = true;
}

static void get_bits(struct reader *r, unsigned kind, uint64_t pages, uint8_t *bits)
{
    uint8_t outside = 0;

    memset(bits, kind == SAVED_ALL ? 0xff : 0, SAVED_BLOCK_BYTES);
    if (kind > SAVED_SOME || (kind == SAVED_ALL && pages < SAVED_BLOCK_PAGES))
        r->bad = true;
    if (kind != SAVED_SOME)
        return;
    for (size_t i = 0; i < SAVED_BLOCK_BYTES; i++)
        bits[i] = (uint8_t)get(r, 1);
    for (uint64_t i = pages; i < SAVED_BLOCK_PAGES; i++)
        outside |= (uint8_t)(bits[i / 8] >> (i % 8) & 1);
    if (outside)
        r->bad = true;
}

static void apply_block(balloon_tracker *t, balloon_range block, uint8_t *held,
                        const uint8_t *pending)
{
    for (uint64_t i = 0; i < block.count; i++) {
        balloon_range run = {block.first + i, 0};

        while (i < block.count && pending[i / 8] >> (i % 8) & 1)
            run.count++, i++;
        if (run.count)
            balloon_tracker_inflate_range(t, run, NULL);
    }
    (void)!balloon_tracker_import(t, block, held, SAVED_BLOCK_BYTES, NULL);
}

/* One piece after another of a region: those that follow each other without SAVED_KEPT may share
 * granules. */
static void apply_returned(balloon_tracker *t, balloon_range *run, balloon_range block, bool kept)
{
    if (!kept && run->first + run->count == block.first) {
        run->count += block.count;
        return;
    }
    bl_tracker_set_returned(t, *run);
    *run = (balloon_range){block.first, kept ? 0 : block.count};
}

static void get_pages(struct reader *r, balloon_device *d, bool apply)
{
    uint32_t count = (uint32_t)get(r, 4), seen = 0;
    balloon_region region;
    balloon_pfn_t from = 0;

    for (; !r->bad && bl_device_next_region(d->tracker, from, &region); seen++) {
        balloon_range returned = {region.first, 0};

        if (seen == count || get(r, 8) != region.first || get(r, 8) != region.count)
            r->bad = true;
        for (uint64_t at = 0; at < region.count && !r->bad; at += SAVED_BLOCK_PAGES) {
            uint8_t held[SAVED_BLOCK_BYTES], pending[SAVED_BLOCK_BYTES], stray = 0;
            uint64_t left = region.count - at;
            balloon_range block = {region.first + at,
                                   left < SAVED_BLOCK_PAGES ? left : SAVED_BLOCK_PAGES};
            unsigned kinds = (unsigned)get_upto(r, 1, SAVED_KEPT | 15), kept = kinds & SAVED_KEPT;

            get_bits(r, kinds & 3, block.count, held);
            get_bits(r, kinds >> 2 & 3, block.count, pending);
            if (kept && (d->gather || (kinds & 3) == SAVED_NONE))
                r->bad = true;
            for (size_t i = 0; i < SAVED_BLOCK_BYTES; i++)
                stray |= (uint8_t)(pending[i] & ~held[i]);
            if (stray || (!d->driver && !device_starts_out(d) && (kinds & 3) != SAVED_NONE))
                r->bad = true;
            if (!apply)
                continue;
            apply_block(d->tracker, block, held, pending);
            apply_returned(d->tracker, &returned, block, kept != 0);
        }
        if (apply)
            bl_tracker_set_returned(d->tracker, returned);
        from = region.first + region.count;
    }
    if (seen != count)
        r->bad = true;
}

static bool any_settles(const balloon_device *d)
{
    for (uint32_t i = 0; i < d->buffer_count; i++)
        if (d->buffers[i].settle)
            return true;
    return false;
}

balloon_status balloon_device_load(balloon_device *d, balloon_time_t now, const void *buffer,
                                   size_t bytes)
{
    struct reader r = {buffer, bytes, 0, false};
    balloon_device next = *d;

    if (get(&r, 4) != SAVED_MAGIC)
        return BALLOON_ERR_PROTOCOL;

    uint64_t version = get(&r, 4);
    if (version != SAVED_VERSION)
        return version > SAVED_VERSION ? BALLOON_ERR_UNSUPPORTED : BALLOON_ERR_PROTOCOL;
    get_device(&r, &next, now);
    get_binding(&r, &next, now);
    get_hint(&r, &next.hint);
    get_stats(&r, &next.stats, now);

    struct reader pages = r;

    get_buffers(&pages, &next, false);
    get_pages(&pages, &next, false);
    if (r.bad || pages.bad || pages.used != bytes ||
        (!next.driver && (next.stats.held || next.hint.state != BALLOON_HINTING_OFF)))
        return BALLOON_ERR_PROTOCOL;

    /* From here on all is known to be sound. */
    bl_device_drop_claims(d);
    next.claims = next.unproved = false;
    next.buffer_first = next.buffer_count = 0;
    next.failed = next.withheld = next.outside = false;
    next.flush_at = BALLOON_TIME_NEVER;
    next.retry_at = next.retry_delay = 0;
    *d = next;
    balloon_tracker_reset(d->tracker);
    get_buffers(&r, d, true);
    /* Granules may straddle the pieces that pages come in, so only when all are there can it be
     * said which of them are incomplete. */
    balloon_tracker_set_gather(d->tracker, false);
    get_pages(&r, d, true);
    balloon_tracker_set_gather(d->tracker, d->gather);
    if (!d->gather && !any_settles(d))
        balloon_tracker_settle(d->tracker);
    if (balloon_tracker_ready(d->tracker))
        d->flush_at = time_after(now, d->gather_delay);
    bl_device_size_load(d, now);
    bl_device_hint_abandon(d);
    return BALLOON_OK;
}
