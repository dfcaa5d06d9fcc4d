/* The virtio binding: buffers of the five queues in. */
#include <stdalign.h>
#include <string.h>

#include <balloon/range.h>

#include "../core/tracker_saved_p.h"
#include "../core/wide.h"
#include "virtio_codec_p.h"
#include "virtio_device_p.h"

#define CHUNK 256u

_Static_assert(CHUNK == CLAIMED_PAGES, "what is claimed comes as the first chunk");

/* A guest that empties its balloon sends buffers no smaller than this, but for the last one: Linux
 * and FreeBSD have 256 page numbers in one, Windows 512 or 1024. */
#define FULL_BYTES 1024u

static uint64_t readable_bytes(const balloon_virtio_buffer *buffer)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < buffer->readable_count; i++)
        sum = bl_sat_add(sum, buffer->readable[i].bytes);
    return sum;
}

static balloon_endian buffer_endian(const balloon_device *d)
{
    const struct virtio_state *v = virtio_const(d);

    return v->base.version_1 ? BALLOON_LITTLE_ENDIAN : v->legacy_endian;
}

/* How much of a buffer is read: at most what the config says; the rest is counted. */
static inline size_t bytes_to_read(balloon_device *d, const balloon_virtio_buffer *buffer,
                                   bool *whole)
{
    uint64_t bytes = readable_bytes(buffer), limit = d->max_buffer_bytes;

    *whole = bytes <= limit;
    if (*whole)
        return (size_t)bytes;
    d->count.truncated_bytes += bytes - limit;
    return (size_t)limit;
}

static void open_buffer(const balloon_device *d, const balloon_virtio_buffer *buffer,
                        balloon_virtio_reader *reader)
{
    balloon_virtio_reader_init(reader, buffer->readable, buffer->readable_count,
                               d->max_buffer_bytes, buffer_endian(d));
}

/* Bytes that are left make no whole element. */
static inline bool close_buffer(balloon_device *d, uint64_t left)
{
    if (!left)
        return true;
    d->count.tail_bytes += left;
    return false;
}

static inline void take_batch(balloon_device *d, const uint32_t *pfns, size_t n, bool inflate,
                              balloon_tally *tally)
{
    if (inflate)
        device_inflate(d, pfns, n, tally);
    else
        device_deflate(d, pfns, n, tally);
}

/* claim: of how many of the first pages the guest may be told what they read as; NULL: of none. */
static bool take_pfns(balloon_device *d, const balloon_virtio_buffer *buffer, bool inflate,
                      uint32_t *claim, balloon_tally *tally)
{
    uint32_t pfns[CHUNK];
    bool whole, plain = buffer->readable_count == 1 && !claim && !is_foreign(buffer_endian(d));
    size_t bytes = bytes_to_read(d, buffer, &whole), n;
    uint64_t outside = tally->outside;
    balloon_virtio_reader reader;

    if (plain) { /* mostly it is */
        const void *from = buffer->readable->base;

        if (!inflate)
            bl_tracker_deflate_from(d->tracker, from, bytes / 4, tally);
        else if (d->high_ram)
            tally->outside += bytes / 4;
        else
            bl_tracker_inflate_from(d->tracker, from, bytes / 4, tally);
        return close_buffer(d, bytes % 4) && whole && tally->outside == outside;
    }
    open_buffer(d, buffer, &reader);
    while ((n = balloon_virtio_read_pfns(&reader, pfns, CHUNK)) > 0) {
        if (claim) {
            memcpy(d->claimed->pfns, pfns, n * sizeof(*pfns));
            *claim = (uint32_t)n;
            claim = NULL;
        }
        take_batch(d, pfns, n, inflate, tally);
    }
    return close_buffer(d, bytes % 4) && whole && tally->outside == outside;
}

/* 64-bit page numbers go in as runs, since only 32-bit ones have a fast path. */
static bool take_pfns64(balloon_device *d, const balloon_virtio_buffer *buffer, bool inflate,
                        balloon_time_t now)
{
    balloon_pfn_t pfns[CHUNK];
    balloon_virtio_reader reader;
    bool whole, sane = true;
    size_t bytes = bytes_to_read(d, buffer, &whole), n;

    open_buffer(d, buffer, &reader);
    while ((n = balloon_virtio_read_pfns64(&reader, pfns, CHUNK)) > 0) {
        for (size_t i = 0; i < n;) {
            balloon_range run = {pfns[i++], 1};

            while (i < n && pfns[i] > run.first && pfns[i] == run.first + run.count)
                run.count++, i++;
            sane &=
                inflate ? bl_device_inflate_range(d, run, now) : bl_device_deflate_range(d, run);
        }
    }
    return close_buffer(d, bytes % 8) && whole && sane;
}

static uint64_t writable_bytes(const balloon_virtio_buffer *buffer)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < buffer->writable_count; i++)
        sum = bl_sat_add(sum, buffer->writable[i].bytes);
    return sum;
}

/* Pages that come with room for a bit each. Only one buffer at a time has its bits here; another
 * that comes before that one is answered has none. Returns the bytes of bits to claim. */
static uint32_t receive_claimed(balloon_device *d, const balloon_virtio_buffer *buffer,
                                uint32_t *pages, balloon_tally *tally, bool *sane)
{
    bool free = bl_device_may_discard_reports(d) && !d->claimed->waits;
    uint64_t room = writable_bytes(buffer);
    uint32_t bytes;

    *pages = 0;
    *sane = take_pfns(d, buffer, true, free ? pages : NULL, tally);
    bytes = (*pages + 7) / 8;
    return bytes < room ? bytes : (uint32_t)room;
}

/* Are these statistics to be read? The first buffer comes unasked. A legacy driver may send it
 * uninitialised (SPEC), so there only what answers a returned buffer counts. */
static bool stats_expected(const balloon_device *d)
{
    if (!virtio_const(d)->base.version_1)
        return d->stats.request == STATS_ASKED;
    return d->stats.request != STATS_IDLE || !d->stats.have_sample;
}

static bool receive_stats(balloon_device *d, uint32_t queue, const balloon_virtio_buffer *buffer,
                          balloon_time_t now)
{
    bool sane = !buffer->writable_count && !d->stats.held, whole, filler;

    bl_device_stats_hold(d, queue, buffer->cookie);
    if (!stats_expected(d)) {
        d->count.stats_unasked++;
        return sane;
    }
    balloon_virtio_reader reader;
    balloon_sample sample;

    (void)bytes_to_read(d, buffer, &whole);
    open_buffer(d, buffer, &reader);
    /* The first one may be filler that is no record (nanos: 8 bytes). */
    filler = !balloon_virtio_read_stats(&reader, &sample) && d->stats.request == STATS_IDLE;
    sane &= (close_buffer(d, balloon_virtio_reader_left(&reader)) || filler) && whole;
    bl_device_stats_answer(d, &sample, now);
    return sane;
}

/* The pages that writable descriptors name, up to a bound. Returns whether all were sane. */
static bool each_span(balloon_device *d, const balloon_virtio_buffer *buffer, bool report)
{
    uint64_t budget = SPAN_PAGES_MAX;
    bool sane = true, withhold = !bl_device_may_discard_reports(d);

    for (size_t i = 0; i < buffer->writable_count; i++) {
        const balloon_virtio_span *span = &buffer->writable[i];
        balloon_range range = balloon_range_from_bytes(span->address, span->bytes);

        sane &= span->bytes <= UINT64_MAX - span->address;
        if (range.count > budget) {
            d->count.truncated_bytes += (range.count - budget) << BALLOON_PAGE_SHIFT;
            range.count = budget;
            sane = false;
        }
        budget -= range.count;
        sane &= report ? bl_device_report(d, range, withhold) : bl_device_hint_range(d, range);
    }
    return sane;
}

static bool receive_hint(balloon_device *d, const balloon_virtio_buffer *buffer)
{
    balloon_virtio_reader reader;
    uint32_t id = 0;
    bool sane = true;

    /* A command is what the driver lets us read, a hint what it lets us write; the length says
     * nothing. */
    if (readable_bytes(buffer)) {
        balloon_virtio_reader_init(&reader, buffer->readable, buffer->readable_count, UINT64_MAX,
                                   buffer_endian(d));
        sane = balloon_virtio_read_hint(&reader, &id) == BALLOON_OK;
        if (sane)
            bl_device_hint_command(d, id);
    }
    return each_span(d, buffer, false) && sane;
}

/* All of what was reported can be claimed, or nothing: the sum tells no more to a guest whose
 * buffer has several pieces. */
static bool receive_report(balloon_device *d, const balloon_virtio_buffer *buffer, uint32_t *claim)
{
    uint64_t reported = d->count.reported, bytes = writable_bytes(buffer);
    bool sane = each_span(d, buffer, true);

    reported = d->count.reported - reported;
    if (device_features(d) & BALLOON_F_DEVICE_INIT_REPORTED && bytes <= UINT32_MAX &&
        bytes == reported << BALLOON_PAGE_SHIFT)
        *claim = (uint32_t)bytes;
    return sane && !readable_bytes(buffer);
}

static balloon_status told(balloon_device *d, bool sane)
{
    if (sane)
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}

/* What is inflated under MUST_TELL_HOST may be discarded later as well, what is without only now;
 * and also where the driver wants to know what its pages read as. */
static void receive_inflate(balloon_device *d, uint32_t queue, const balloon_virtio_buffer *buffers,
                            size_t count, balloon_status *statuses, balloon_time_t now)
{
    bool claims = device_features(d) & BALLOON_F_DEVICE_INIT_ON_INFLATE;
    bool wide = virtio_state(d)->windows_pfns, sane;
    balloon_tally tally = {0};

    for (size_t i = 0; i < count; i++) {
        uint32_t pages = 0, claim = 0;

        if (wide)
            sane = take_pfns64(d, &buffers[i], true, now);
        else if (claims)
            claim = receive_claimed(d, &buffers[i], &pages, &tally, &sane);
        else
            sane = take_pfns(d, &buffers[i], true, NULL, &tally);
        bl_device_push(d, queue, buffers[i].cookie, !d->gather || claim);
        if (claim)
            bl_device_claim_pages(d, pages, claim);
        statuses[i] = told(d, sane && (claims || !buffers[i].writable_count));
    }
    if (!wide)
        bl_device_inflated(d, &tally, now);
}

static void receive_deflate(balloon_device *d, uint32_t queue, const balloon_virtio_buffer *buffers,
                            size_t count, balloon_status *statuses, balloon_time_t now)
{
    bool wide = virtio_state(d)->windows_pfns, sane;
    uint64_t held = balloon_tracker_held(d->tracker);
    balloon_tally tally = {0};

    for (size_t i = 0; i < count; i++) {
        if (wide)
            sane = take_pfns64(d, &buffers[i], false, now);
        else
            sane = take_pfns(d, &buffers[i], false, NULL, &tally);
        bl_device_push(d, queue, buffers[i].cookie, false);
        statuses[i] = told(d, sane && !buffers[i].writable_count);
    }
    if (tally.changed || tally.unchanged || tally.outside)
        bl_device_deflated(d, &tally, held);
    d->emptying =
        readable_bytes(&buffers[count - 1]) >= FULL_BYTES || !balloon_tracker_held(d->tracker);
}

static balloon_status receive_other(balloon_device *d, uint32_t queue, balloon_virtio_queue kind,
                                    const balloon_virtio_buffer *buffer, balloon_time_t now)
{
    uint32_t claim = 0;
    bool sane = false;

    switch (kind) {
    case BALLOON_QUEUE_STATS: /* stay here */
        return told(d, receive_stats(d, queue, buffer, now));
    case BALLOON_QUEUE_HINT:
        sane = receive_hint(d, buffer);
        break;
    case BALLOON_QUEUE_REPORT:
        sane = receive_report(d, buffer, &claim);
        break;
    default: /* a queue of a feature that the driver did not take: not read, and given back */
        break;
    }
    /* What was reported may only be discarded now. */
    bl_device_push(d, queue, buffer->cookie, kind == BALLOON_QUEUE_REPORT);
    if (claim)
        bl_device_claim(d, claim);
    return told(d, sane);
}

static balloon_status may_receive(balloon_device *d, uint32_t queue, balloon_virtio_queue *kind)
{
    if (!d->driver || !virtio_bind(d))
        return BALLOON_ERR_STATE;
    *kind = balloon_virtio_queue_of(d, queue);
    if (*kind == BALLOON_QUEUE_NONE && queue >= balloon_virtio_queue_count(d))
        return BALLOON_ERR_INVALID;
    return bl_device_has_room(d) ? BALLOON_OK : BALLOON_ERR_BUSY;
}

size_t balloon_virtio_receive_many(balloon_device *d, uint32_t queue,
                                   const balloon_virtio_buffer *buffers, size_t count,
                                   balloon_status *statuses, balloon_time_t now)
{
    balloon_virtio_queue kind = BALLOON_QUEUE_NONE;
    balloon_status status = BALLOON_OK;
    size_t taken = 0;

    while (taken < count && (status = may_receive(d, queue, &kind)) == BALLOON_OK) {
        size_t n = d->max_buffers - d->buffer_count;

        n = n < count - taken ? n : count - taken;
        if (kind == BALLOON_QUEUE_INFLATE) {
            receive_inflate(d, queue, buffers + taken, n, statuses + taken, now);
        } else if (kind == BALLOON_QUEUE_DEFLATE) {
            receive_deflate(d, queue, buffers + taken, n, statuses + taken, now);
        } else {
            statuses[taken] = receive_other(d, queue, kind, buffers + taken, now);
            n = 1;
        }
        d->count.buffers += n;
        taken += n;
    }
    for (size_t i = taken; i < count; i++)
        statuses[i] = status;
    return taken;
}

balloon_status balloon_virtio_receive(balloon_device *d, uint32_t queue,
                                      const balloon_virtio_buffer *buffer, balloon_time_t now)
{
    balloon_status status;

    balloon_virtio_receive_many(d, queue, buffer, 1, &status, now);
    return status;
}
