/* The virtio binding: buffers of the five queues in. */
#include <balloon/range.h>

#include "virtio_device_p.h"

#define CHUNK 256u

/* A guest that empties its balloon sends buffers no smaller than this, but for the last one: Linux
 * and FreeBSD have 256 page numbers in one, Windows 512 or 1024. */
#define FULL_BYTES 1024u

static uint64_t readable_bytes(const balloon_virtio_buffer *buffer)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < buffer->readable_count; i++) {
        uint64_t bytes = buffer->readable[i].bytes;

        sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
    }
    return sum;
}

static balloon_endian buffer_endian(const balloon_device *d)
{
    const struct virtio_state *v = virtio_const(d);

    return v->base.version_1 ? BALLOON_LITTLE_ENDIAN : v->legacy_endian;
}

/* Start reading a buffer, at most as much as the config says. Returns whether that is all. */
static bool open_buffer(balloon_device *d, const balloon_virtio_buffer *buffer,
                        balloon_virtio_reader *reader)
{
    uint64_t bytes = readable_bytes(buffer), limit = d->max_buffer_bytes;

    balloon_virtio_reader_init(reader, buffer->readable, buffer->readable_count, limit,
                               buffer_endian(d));
    if (bytes <= limit)
        return true;
    d->count.truncated_bytes += bytes - limit;
    return false;
}

/* Bytes that are left make no whole element. */
static bool close_buffer(balloon_device *d, const balloon_virtio_reader *reader)
{
    uint64_t left = balloon_virtio_reader_left(reader);

    d->count.tail_bytes += left;
    return !left;
}

static bool take_pfns(balloon_device *d, balloon_virtio_reader *reader, bool inflate,
                      balloon_time_t now)
{
    uint32_t pfns[CHUNK];
    bool sane = true;

    for (size_t n; (n = balloon_virtio_read_pfns(reader, pfns, CHUNK)) > 0;)
        sane &= inflate ? bl_device_inflate(d, pfns, n, now) : bl_device_deflate(d, pfns, n);
    return sane;
}

/* 64-bit page numbers go in as runs, since only 32-bit ones have a fast path. */
static bool take_pfns64(balloon_device *d, balloon_virtio_reader *reader, bool inflate,
                        balloon_time_t now)
{
    balloon_pfn_t pfns[CHUNK];
    bool sane = true;

    for (size_t n; (n = balloon_virtio_read_pfns64(reader, pfns, CHUNK)) > 0;) {
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
                         balloon_time_t now)
{
    balloon_virtio_reader reader;
    bool sane = open_buffer(d, buffer, &reader);

    sane &= (virtio_state(d)->windows_pfns ? take_pfns64 : take_pfns)(d, &reader, inflate, now);
    if (!inflate)
        d->emptying = readable_bytes(buffer) >= FULL_BYTES || !balloon_tracker_held(d->tracker);
    return close_buffer(d, &reader) && sane && !buffer->writable_count;
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
    bool sane = !buffer->writable_count && !d->stats.held, filler;

    bl_device_stats_hold(d, queue, buffer->cookie);
    if (!stats_expected(d)) {
        d->count.stats_unasked++;
        return sane;
    }
    balloon_virtio_reader reader;
    balloon_sample sample;

    sane &= open_buffer(d, buffer, &reader);
    /* The first one may be filler that is no record (nanos: 8 bytes). */
    filler = !balloon_virtio_read_stats(&reader, &sample) && d->stats.request == STATS_IDLE;
    sane &= close_buffer(d, &reader) || filler;
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

static bool receive_report(balloon_device *d, const balloon_virtio_buffer *buffer)
{
    return each_span(d, buffer, true) && !readable_bytes(buffer);
}

balloon_status balloon_virtio_receive(balloon_device *d, uint32_t queue,
                                      const balloon_virtio_buffer *buffer, balloon_time_t now)
{
    balloon_virtio_queue kind = balloon_virtio_queue_of(d, queue);
    bool sane = true;

    if (!d->driver || !bl_virtio_bind(d))
        return BALLOON_ERR_STATE;
    if (kind == BALLOON_QUEUE_NONE && queue >= balloon_virtio_queue_count(d))
        return BALLOON_ERR_INVALID;
    if (!bl_device_has_room(d))
        return BALLOON_ERR_BUSY;
    d->count.buffers++;
    switch (kind) {
    case BALLOON_QUEUE_INFLATE:
    case BALLOON_QUEUE_DEFLATE:
        sane = receive_pfns(d, buffer, kind == BALLOON_QUEUE_INFLATE, now);
        break;
    case BALLOON_QUEUE_STATS:
        sane = receive_stats(d, queue, buffer, now);
        break;
    case BALLOON_QUEUE_HINT:
        sane = receive_hint(d, buffer);
        break;
    case BALLOON_QUEUE_REPORT:
        sane = receive_report(d, buffer);
        break;
    default: /* a queue of a feature that the driver did not take: not read, and given back */
        sane = false;
        break;
    }
    /* What was inflated under MUST_TELL_HOST may be discarded later as well; what was reported,
     * or inflated without, only now. Statistics stay here. */
    if (kind != BALLOON_QUEUE_STATS)
        bl_device_push(d, queue, buffer->cookie,
                       kind == BALLOON_QUEUE_REPORT ||
                           (kind == BALLOON_QUEUE_INFLATE && !d->gather));
    if (sane)
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}
