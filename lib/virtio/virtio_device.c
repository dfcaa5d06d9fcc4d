/* The virtio binding: buffers of the five queues in. */
#include <string.h>

#include <balloon/range.h>

#include "virtio_device_p.h"

#include "../core/wide.h"

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

/* Start reading a buffer, at most as much as the config says. Returns how much that is; the rest
 * is counted. */
static size_t open_buffer(balloon_device *d, const balloon_virtio_buffer *buffer,
                          balloon_virtio_reader *reader, bool *whole)
{
    uint64_t bytes = readable_bytes(buffer), limit = d->max_buffer_bytes;

    balloon_virtio_reader_init(reader, buffer->readable, buffer->readable_count, limit,
                               buffer_endian(d));
    *whole = bytes <= limit;
    if (*whole)
        return (size_t)bytes;
    d->count.truncated_bytes += bytes - limit;
    return (size_t)limit;
}

/* Bytes that are left make no whole element. */
static bool close_buffer(balloon_device *d, uint64_t left)
{
    d->count.tail_bytes += left;
    return !left;
}

/* Takes so many pages. claim: of how many of the first ones the guest may be told what they read
 * as; NULL: of none. */
static bool take_pfns(balloon_device *d, balloon_virtio_reader *reader, size_t count, bool inflate,
                      uint32_t *claim, balloon_time_t now)
{
    uint32_t pfns[CHUNK];
    bool sane = true;

    for (size_t n; count; count -= n) {
        n = balloon_virtio_read_pfns(reader, pfns, count < CHUNK ? count : CHUNK);
        if (claim) {
            memcpy(d->claimed->pfns, pfns, n * sizeof(*pfns));
            *claim = (uint32_t)n;
            claim = NULL;
        }
        sane &= inflate ? bl_device_inflate(d, pfns, n, now) : bl_device_deflate(d, pfns, n);
    }
    return sane;
}

/* 64-bit page numbers go in as runs, since only 32-bit ones have a fast path. */
static bool take_pfns64(balloon_device *d, balloon_virtio_reader *reader, size_t count,
                        bool inflate, balloon_time_t now)
{
    balloon_pfn_t pfns[CHUNK];
    bool sane = true;

    for (size_t n; count; count -= n) {
        n = balloon_virtio_read_pfns64(reader, pfns, count < CHUNK ? count : CHUNK);
        for (size_t i = 0; i < n;) {
            balloon_range run = {pfns[i++], 1};

            while (i < n && pfns[i] > run.first && pfns[i] == run.first + run.count)
                run.count++, i++;
            sane &=
                inflate ? bl_device_inflate_range(d, run, now) : bl_device_deflate_range(d, run);
        }
    }
    return sane;
}

static bool receive_pfns(balloon_device *d, const balloon_virtio_buffer *buffer, bool inflate,
                         uint32_t *claim, balloon_time_t now)
{
    bool wide = virtio_state(d)->windows_pfns, whole, sane;
    size_t element = wide ? 8 : 4, bytes;
    balloon_virtio_reader reader;

    bytes = open_buffer(d, buffer, &reader, &whole);
    sane = wide ? take_pfns64(d, &reader, bytes / element, inflate, now)
                : take_pfns(d, &reader, bytes / element, inflate, claim, now);
    if (!inflate)
        d->emptying = readable_bytes(buffer) >= FULL_BYTES || !balloon_tracker_held(d->tracker);
    return close_buffer(d, bytes % element) && sane && whole;
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
                                balloon_time_t now, uint32_t *pages, bool *sane)
{
    bool free = bl_device_may_discard_reports(d) && !d->claimed->waits;
    uint64_t room = writable_bytes(buffer);
    uint32_t bytes;

    *pages = 0;
    *sane = receive_pfns(d, buffer, true, free ? pages : NULL, now);
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

    open_buffer(d, buffer, &reader, &whole);
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
static balloon_status receive_inflate(balloon_device *d, uint32_t queue,
                                      const balloon_virtio_buffer *buffer, balloon_time_t now)
{
    uint32_t pages = 0, claim = 0;
    bool sane;

    if (device_features(d) & BALLOON_F_DEVICE_INIT_ON_INFLATE)
        claim = receive_claimed(d, buffer, now, &pages, &sane);
    else
        sane = receive_pfns(d, buffer, true, NULL, now) && !buffer->writable_count;
    bl_device_push(d, queue, buffer->cookie, !d->gather || claim);
    if (claim)
        bl_device_claim_pages(d, pages, claim);
    return told(d, sane);
}

balloon_status balloon_virtio_receive(balloon_device *d, uint32_t queue,
                                      const balloon_virtio_buffer *buffer, balloon_time_t now)
{
    balloon_virtio_queue kind;
    uint32_t claim = 0;
    bool sane = true;

    if (!d->driver || !virtio_bind(d))
        return BALLOON_ERR_STATE;
    kind = balloon_virtio_queue_of(d, queue);
    if (kind == BALLOON_QUEUE_NONE && queue >= balloon_virtio_queue_count(d))
        return BALLOON_ERR_INVALID;
    if (!bl_device_has_room(d))
        return BALLOON_ERR_BUSY;
    d->count.buffers++;
    switch (kind) {
    case BALLOON_QUEUE_INFLATE:
        return receive_inflate(d, queue, buffer, now);
    case BALLOON_QUEUE_DEFLATE:
        sane = receive_pfns(d, buffer, false, NULL, now) && !buffer->writable_count;
        break;
    case BALLOON_QUEUE_STATS:
        sane = receive_stats(d, queue, buffer, now);
        break;
    case BALLOON_QUEUE_HINT:
        sane = receive_hint(d, buffer);
        break;
    case BALLOON_QUEUE_REPORT:
        sane = receive_report(d, buffer, &claim);
        break;
    default: /* a queue of a feature that the driver did not take: not read, and given back */
        sane = false;
        break;
    }
    /* What was reported may only be discarded now. Statistics stay here. */
    if (kind != BALLOON_QUEUE_STATS)
        bl_device_push(d, queue, buffer->cookie, kind == BALLOON_QUEUE_REPORT);
    if (claim)
        bl_device_claim(d, claim);
    return told(d, sane);
}
