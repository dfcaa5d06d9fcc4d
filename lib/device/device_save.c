/* Save a device. The form is described by device_save_p.h; device_load.c reads it. */
#include <string.h>

#include "../core/tracker_saved_p.h"
#include "device_save_p.h"

/* Writes as long as there is room, and counts on without. */
struct writer {
    uint8_t *to;
    size_t room, used;
};

static void put(struct writer *w, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++, w->used++)
        if (w->used < w->room)
            w->to[w->used] = (uint8_t)(value >> 8 * i);
}

static void put_bytes(struct writer *w, const uint8_t *bytes, size_t count)
{
    if (w->used <= w->room && count <= w->room - w->used)
        memcpy(w->to + w->used, bytes, count);
    w->used += count;
}

/* Deadlines are saved as time left, since the loading side has another clock. */
static void put_deadline(struct writer *w, balloon_time_t at, balloon_time_t now)
{
    uint64_t left = at > now ? at - now : 0;

    put(w, at == BALLOON_TIME_NEVER ? BALLOON_TIME_NEVER : left, 8);
}

static void put_device(struct writer *w, const balloon_device *d, balloon_time_t now)
{
    balloon_time_t moved = bl_device_saved_move(d);

    put(w, d->offered, 4);
    put(w, d->chosen, 4);
    put(w, d->driver, 1);
    put(w, d->tell_config, 1);
    put(w, d->pressure, 1);
    put(w, d->tell_pressure, 1);
    put(w, d->flush, 1);
    put(w, d->target, 4);
    put(w, d->actual, 4);
    put(w, bl_device_saved_peak(d), 8);
    put(w, now > moved ? now - moved : 0, 8);
}

static void put_binding(struct writer *w, const balloon_device *d, balloon_time_t now)
{
    static const uint8_t none[SAVED_BINDING_BYTES];
    uint8_t number = d->binding ? d->binding->number : 0, saved[SAVED_BINDING_BYTES] = {0};
    const uint8_t *first = number ? none : saved;

    if (d->binding)
        d->binding->save(d, now, saved);
    else
        memcpy(saved, d->room, SAVED_FIRST_BYTES);
    put_bytes(w, first, SAVED_SPEECH_BYTES);
    put(w, d->poison.written, 1);
    put(w, d->poison.value, 4);
    put_bytes(w, first + SAVED_SPEECH_BYTES, SAVED_FIRST_BYTES - SAVED_SPEECH_BYTES);
    put(w, number, 1);
    put_bytes(w, number ? saved : none, SAVED_BINDING_BYTES);
}

static void put_hint(struct writer *w, const struct hint_state *h)
{
    put(w, h->state, 1);
    put(w, h->id, 4);
    put(w, h->next_id, 4);
}

static void put_stats(struct writer *w, const struct stats_state *s, balloon_time_t now)
{
    put(w, s->held, 1);
    put(w, s->late, 1);
    put(w, s->have_sample, 1);
    put(w, s->tell_sample, 1);
    put(w, s->request, 1);
    put(w, s->queue, 1);
    put(w, s->cookie, 8);
    put_deadline(w, s->deadline, now);
    put(w, s->period, 8);
    put_deadline(w, s->next, now);
    put(w, now > s->sample.time ? now - s->sample.time : 0, 8);
    put(w, s->sample.present, 4);
    put(w, s->sample.ignored, 4);
    for (unsigned i = 0; i < BALLOON_STAT_COUNT; i++)
        put(w, s->sample.value[i], 8);
}

static void put_buffers(struct writer *w, const balloon_device *d)
{
    put(w, d->buffer_count, 4);
    for (uint32_t i = 0; i < d->buffer_count; i++) {
        const struct waiting_buffer *b = &d->buffers[(d->buffer_first + i) % d->max_buffers];

        put(w, b->cookie, 8);
        put(w, b->queue, 1);
        put(w, b->settle, 1);
    }
}

static bool all_bytes(const uint8_t *bytes, uint8_t value)
{
    for (size_t i = 0; i < SAVED_BLOCK_BYTES; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static enum saved_bits kind_of(const uint8_t *bits)
{
    if (all_bytes(bits, 0))
        return SAVED_NONE;
    return all_bytes(bits, 0xff) ? SAVED_ALL : SAVED_SOME;
}

static void put_block(struct writer *w, const balloon_device *d, balloon_range block)
{
    const balloon_tracker *t = d->tracker;
    uint8_t held[SAVED_BLOCK_BYTES] = {0}, pending[SAVED_BLOCK_BYTES] = {0};

    (void)!balloon_tracker_export(t, BALLOON_SET_HELD, block, held, sizeof(held));
    (void)!balloon_tracker_export(t, BALLOON_SET_PENDING, block, pending, sizeof(pending));
    /* Reported pages are not saved: their buffer may be acknowledged without a discard. */
    for (size_t i = 0; i < SAVED_BLOCK_BYTES; i++)
        pending[i] &= held[i];

    enum saved_bits held_kind = kind_of(held), pending_kind = kind_of(pending);

    bool kept =
        !d->gather && held_kind != SAVED_NONE && !bl_tracker_all_returned(d->tracker, block);

    put(w, (uint64_t)held_kind | (uint64_t)pending_kind << 2 | (kept ? SAVED_KEPT : 0), 1);
    if (held_kind == SAVED_SOME)
        put_bytes(w, held, sizeof(held));
    if (pending_kind == SAVED_SOME)
        put_bytes(w, pending, sizeof(pending));
}

static void put_pages(struct writer *w, const balloon_device *d)
{
    const balloon_tracker *t = d->tracker;
    balloon_region region;
    balloon_pfn_t from = 0;
    size_t count_at = w->used;
    uint32_t count = 0;

    put(w, 0, 4);
    for (; bl_device_next_region(t, from, &region); from = region.first + region.count, count++) {
        put(w, region.first, 8);
        put(w, region.count, 8);
        for (uint64_t at = 0; at < region.count; at += SAVED_BLOCK_PAGES) {
            uint64_t left = region.count - at;
            balloon_range block = {region.first + at,
                                   left < SAVED_BLOCK_PAGES ? left : SAVED_BLOCK_PAGES};

            put_block(w, d, block);
        }
    }
    struct writer back = {w->to, w->room, count_at};

    put(&back, count, 4);
}

static size_t save(const balloon_device *d, balloon_time_t now, uint8_t *to, size_t room)
{
    struct writer w = {to, room, 0};
    balloon_device noted = *d;

    /* Buffers may have come since the last poll. */
    bl_device_size_note(&noted, now);
    put(&w, SAVED_MAGIC, 4);
    put(&w, SAVED_VERSION, 4);
    put_device(&w, &noted, now);
    put_binding(&w, d, now);
    put_hint(&w, &d->hint);
    put_stats(&w, &d->stats, now);
    put_buffers(&w, d);
    put_pages(&w, d);
    return w.used;
}

size_t balloon_device_save_bytes(const balloon_device *d)
{
    return save(d, 0, NULL, 0);
}

balloon_status balloon_device_save(const balloon_device *d, balloon_time_t now, void *buffer,
                                   size_t bytes, size_t *used)
{
    *used = save(d, now, buffer, bytes);
    return *used <= bytes ? BALLOON_OK : BALLOON_ERR_NOSPACE;
}

bool bl_device_next_region(const balloon_tracker *t, balloon_pfn_t from, balloon_region *region)
{
    balloon_range rest = {from, UINT64_MAX - from};
    balloon_run held, free_run;
    bool any_held = balloon_tracker_next(t, BALLOON_SET_HELD, rest, &held);
    bool any_free = balloon_tracker_next(t, BALLOON_SET_FREE, rest, &free_run);

    if (!any_held && !any_free)
        return false;
    if (!any_held || (any_free && free_run.range.first < held.range.first))
        held = free_run;
    return balloon_tracker_region(t, held.region, region) == BALLOON_OK;
}
