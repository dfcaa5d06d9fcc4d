/* The virtio binding of the driver: features, configuration space, messages, used buffers. */
#include <stddef.h>
#include <string.h>

#include <balloon/virtio.h>

#include "../driver/driver_p.h"

/* What every device takes as one buffer; and a bit for each page of it. */
#define CHUNK        256u
#define BITMAP_BYTES (CHUNK / 8)
#define STATS_BYTES  (BALLOON_VIRTIO_STAT_TAGS * BALLOON_VIRTIO_STAT_BYTES)
_Static_assert(CHUNK <= MESSAGE_ENTRIES, "there is room for a run for each bit");

enum { OFFSET_ACTUAL = 4, OFFSET_HINT = 8, OFFSET_POISON = 12 };

/* What Linux sends up to 6.11, and every device takes. */
#define STAT_TAGS 10u

struct virtio_driver_state {
    balloon_virtio_numbering numbering;
    balloon_endian legacy_endian;
    uint32_t offered;
    uint32_t stat_tags; /* statistics are sent below this tag */
    bool version_1;
    bool poison_due;   /* the pattern is to be written */
    bool stats_send;   /* a statistics buffer is due */
    bool stats_out;    /* the host has it */
    bool hint_sent;    /* a command is on its way */
    bool hint_stop;    /* what it was, or will be: stop */
    bool hint_command; /* a command is due */
    bool hint_more;    /* hints are due */
    uint32_t actual;   /* as last written */
    uint32_t hint_id;  /* the round under way; stop or done without */
    balloon_time_t report_at;
    balloon_sample sample;
};

_Static_assert(sizeof(struct virtio_driver_state) <= DRIVER_ROOM_BYTES, "virtio has room");

static struct virtio_driver_state *virtio_state(balloon_driver *d)
{
    return (struct virtio_driver_state *)(void *)d->room;
}

static const struct virtio_driver_state *virtio_const(const balloon_driver *d)
{
    return (const struct virtio_driver_state *)(const void *)d->room;
}

static bool uses(const balloon_driver *d, uint32_t feature)
{
    return (d->negotiated & feature) != 0;
}

/* --- free pages ------------------------------------------------------------------------------- */

static void loan_refused(balloon_driver *d, bool hint, balloon_time_t now)
{
    struct virtio_driver_state *v = virtio_state(d);

    if (hint) {
        /* All that is free was hinted. */
        v->hint_command = v->hint_stop = v->hint_more;
        v->hint_more = false;
    } else {
        v->report_at = driver_time_after(now, d->report_delay);
    }
}

static void lend(struct driver_loan *loan)
{
    loan->active = true;
    loan->phase = PHASE_ASK;
}

static bool may_report(const balloon_driver *d)
{
    return uses(d, BALLOON_F_REPORTING) && d->state == BALLOON_DRIVER_ATTACHED &&
           !d->report.active && !d->report.back;
}

static void hint_id(balloon_driver *d, uint32_t id)
{
    struct virtio_driver_state *v = virtio_state(d);

    if (!uses(d, BALLOON_F_HINTING) || id == v->hint_id)
        return;
    v->hint_id = id;
    v->hint_command = id > BALLOON_VIRTIO_HINT_DONE;
    v->hint_stop = v->hint_more = false;
    if (id == BALLOON_VIRTIO_HINT_DONE) {
        d->hint_back += d->hinted;
        d->hinted = 0;
    }
}

/* --- polls ------------------------------------------------------------------------------------ */

static bool config_write(balloon_driver_action *action, uint32_t offset, uint32_t value)
{
    action->type = BALLOON_DRIVER_CONFIG;
    action->offset = offset;
    action->value = value;
    return true;
}

static bool send(balloon_driver *d, balloon_driver_channel channel, uint32_t bytes,
                 balloon_driver_action *action)
{
    action->type = BALLOON_DRIVER_SEND;
    action->channel = channel;
    action->bytes = bytes;
    d->count.messages++;
    return true;
}

static bool actual_due(const balloon_driver *d)
{
    return (uint32_t)bl_driver_held(d) != virtio_const(d)->actual;
}

static bool hint_due(const balloon_driver *d)
{
    const struct virtio_driver_state *v = virtio_const(d);

    return d->state == BALLOON_DRIVER_ATTACHED && !d->hint.active && !v->hint_sent &&
           (v->hint_command || v->hint_more);
}

static bool virtio_poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    struct virtio_driver_state *v = virtio_state(d);

    if (v->poison_due) {
        v->poison_due = false;
        return config_write(action, OFFSET_POISON, d->poison);
    }
    if (d->state == BALLOON_DRIVER_DETACHED)
        return false;
    if (actual_due(d)) {
        v->actual = (uint32_t)bl_driver_held(d);
        return config_write(action, OFFSET_ACTUAL, v->actual);
    }
    if (v->stats_send) {
        v->stats_send = false;
        v->stats_out = true;
        return send(d, BALLOON_CHANNEL_STATS, STATS_BYTES, action);
    }
    if (hint_due(d) && v->hint_command) {
        v->hint_command = false;
        v->hint_sent = true;
        return send(d, BALLOON_CHANNEL_HINT, 4, action);
    }
    if (hint_due(d))
        lend(&d->hint);
    if (may_report(d) && now >= v->report_at)
        lend(&d->report);
    return bl_driver_loan_poll(&d->hint, BALLOON_CHANNEL_HINT, d->block_pages, action) ||
           bl_driver_loan_poll(&d->report, BALLOON_CHANNEL_REPORT, d->report_block, action);
}

static bool loan_due(const struct driver_loan *loan)
{
    return loan->active && (loan->phase == PHASE_ASK || loan->phase == PHASE_SEND);
}

static balloon_time_t virtio_deadline(const balloon_driver *d)
{
    const struct virtio_driver_state *v = virtio_const(d);

    if (v->poison_due)
        return 0;
    if (d->state == BALLOON_DRIVER_DETACHED)
        return BALLOON_TIME_NEVER;
    if (actual_due(d) || v->stats_send || hint_due(d) || loan_due(&d->hint) || loan_due(&d->report))
        return 0;
    return may_report(d) ? v->report_at : BALLOON_TIME_NEVER;
}

static void virtio_reset(balloon_driver *d)
{
    memset(virtio_state(d), 0, sizeof(*virtio_state(d)));
}

static void virtio_stats(balloon_driver *d, const balloon_sample *sample, balloon_time_t now)
{
    (void)now;
    virtio_state(d)->sample = *sample;
    virtio_state(d)->sample.present &= ((uint32_t)1 << virtio_state(d)->stat_tags) - 1;
    virtio_state(d)->stats_send = d->state == BALLOON_DRIVER_ATTACHED;
}

static bool virtio_idle(const balloon_driver *d)
{
    return !virtio_const(d)->hint_sent && !virtio_const(d)->stats_send && !actual_due(d);
}

static const struct driver_binding binding = {
    .poll = virtio_poll,
    .deadline = virtio_deadline,
    .reset = virtio_reset,
    .stats = virtio_stats,
    .idle = virtio_idle,
    .loan_refused = loan_refused,
};

/* --- inputs ----------------------------------------------------------------------------------- */

balloon_status balloon_virtio_driver_negotiate(balloon_driver *d, uint64_t offered,
                                               const balloon_virtio_driver_options *options,
                                               uint64_t *chosen)
{
    static const balloon_virtio_driver_options defaults = {.size = sizeof(defaults)};
    const balloon_virtio_driver_options *o = options ? options : &defaults;
    struct virtio_driver_state *v = virtio_state(d);
    uint32_t take = BALLOON_F_MUST_TELL, tags = 0;
    uint64_t experimental = 0;

    /* Callers of earlier versions do not know the last fields. */
    if (o->size >= offsetof(balloon_virtio_driver_options, experimental))
        tags = o->stat_tags;
    if (o->size >= sizeof(*o))
        experimental = o->experimental;
    if ((!bl_sized(o, sizeof(*o)) &&
         o->size != offsetof(balloon_virtio_driver_options, stat_tags) &&
         o->size != offsetof(balloon_virtio_driver_options, experimental)) ||
        tags > BALLOON_VIRTIO_STAT_TAGS || experimental & ~(uint64_t)BALLOON_F_EXPERIMENTAL ||
        (unsigned)o->numbering > BALLOON_QUEUES_FIXED ||
        (unsigned)o->legacy_endian > BALLOON_BIG_ENDIAN)
        return BALLOON_ERR_INVALID;
    if (d->state != BALLOON_DRIVER_DETACHED)
        return BALLOON_ERR_STATE;
    if (bl_driver_back_due(d))
        return BALLOON_ERR_BUSY;
    take |= d->can_stats ? BALLOON_F_STATS : 0;
    take |= d->deflate_on_oom ? BALLOON_F_DEFLATE_ON_OOM : 0;
    take |= d->can_hint ? BALLOON_F_HINTING : 0;
    take |= d->poisoned ? BALLOON_F_POISON : 0;
    /* Where free pages hold a pattern, zeros would be found out, unless the host knows it. */
    if (d->can_report && (!d->poisoned || !d->poison || (offered & BALLOON_F_POISON)))
        take |= BALLOON_F_REPORTING;
    /* What the host fills pages with then would be the pattern, if anything. */
    if (!d->poisoned || !d->poison)
        take |= (uint32_t)experimental;
    if (!(take & offered & BALLOON_F_REPORTING))
        take &= ~BALLOON_F_DEVICE_INIT_REPORTED;

    virtio_reset(d);
    d->binding = &binding;
    v->numbering = o->numbering;
    v->legacy_endian = o->legacy_endian;
    v->stat_tags = tags ? tags : STAT_TAGS;
    v->offered = (uint32_t)offered & (BALLOON_F_ALL | (uint32_t)experimental);
    d->negotiated = v->offered & take;
    v->version_1 = (offered & BALLOON_VIRTIO_F_VERSION_1) != 0;
    v->poison_due = uses(d, BALLOON_F_POISON);
    *chosen = d->negotiated | (offered & BALLOON_VIRTIO_F_VERSION_1);
    return BALLOON_OK;
}

balloon_status balloon_virtio_driver_start(balloon_driver *d, balloon_time_t now)
{
    uint32_t chunk = driver_chunk(d, CHUNK);
    struct driver_traits traits = {.chunk_pages = chunk,
                                   .message_bytes = chunk * 4,
                                   .pfn_end = (balloon_pfn_t)1 << 32,
                                   .may_deflate = true,
                                   .may_oom = uses(d, BALLOON_F_DEFLATE_ON_OOM)};

    if (uses(d, BALLOON_F_DEVICE_INIT_ON_INFLATE)) {
        traits.message_pages = CHUNK;
        traits.message_bytes += BITMAP_BYTES;
    }
    if (d->binding != &binding || d->state != BALLOON_DRIVER_DETACHED)
        return BALLOON_ERR_STATE;
    bl_driver_attach(d, &binding, &traits);
    virtio_state(d)->report_at = driver_time_after(now, d->report_delay);
    if (uses(d, BALLOON_F_STATS))
        bl_driver_want_stats(d);
    return BALLOON_OK;
}

static uint32_t get32(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

void balloon_virtio_driver_config(balloon_driver *d, const void *config, size_t bytes,
                                  balloon_time_t now)
{
    const uint8_t *space = config;

    (void)now;
    if (d->state == BALLOON_DRIVER_DETACHED || bytes < 4)
        return;
    bl_driver_set_target(d, get32(space));
    if (bytes >= OFFSET_HINT + 4)
        hint_id(d, get32(space + OFFSET_HINT));
}

static balloon_endian endian_of(const balloon_driver *d)
{
    return virtio_const(d)->version_1 ? BALLOON_LITTLE_ENDIAN : virtio_const(d)->legacy_endian;
}

static uint64_t run_pages(const balloon_range *runs, uint32_t count)
{
    uint64_t pages = 0;

    while (count-- > 0)
        pages += runs[count].count;
    return pages;
}

static balloon_status write_pfns(const balloon_driver *d, balloon_driver_channel channel,
                                 uint8_t *to, size_t room, balloon_virtio_message *message)
{
    const balloon_range *runs;
    uint32_t count, unit;
    uint64_t pages;

    if (bl_driver_outgoing(d, &runs, &count, &unit) !=
        (channel == BALLOON_CHANNEL_INFLATE ? OP_INFLATE : OP_DEFLATE))
        return BALLOON_ERR_STATE;
    pages = run_pages(runs, count);
    message->bytes = (size_t)pages * 4;
    if (channel == BALLOON_CHANNEL_INFLATE && uses(d, BALLOON_F_DEVICE_INIT_ON_INFLATE))
        message->bitmap_bytes = (size_t)(pages + 7) / 8;
    if (room < message->bytes + message->bitmap_bytes)
        return BALLOON_ERR_NOSPACE;
    memset(to + message->bytes, 0, message->bitmap_bytes);
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t page = 0; page < runs[i].count; page++, to += 4) {
            uint32_t pfn = (uint32_t)(runs[i].first + page);

            (void)balloon_virtio_write_pfns(&pfn, 1, endian_of(d), to, 4);
        }
    return BALLOON_OK;
}

static balloon_status write_loan(const struct driver_loan *loan, balloon_virtio_message *message)
{
    if (!loan->active || loan->phase != PHASE_SENT)
        return BALLOON_ERR_STATE;
    message->spans = loan->runs;
    message->span_count = loan->count;
    return BALLOON_OK;
}

static balloon_status write_command(const balloon_driver *d, void *buffer, size_t room,
                                    size_t *bytes)
{
    uint32_t id = virtio_const(d)->hint_stop ? BALLOON_VIRTIO_HINT_STOP : virtio_const(d)->hint_id;

    *bytes = balloon_virtio_write_hint(id, endian_of(d), buffer, room);
    return *bytes > room ? BALLOON_ERR_NOSPACE : BALLOON_OK;
}

balloon_status balloon_virtio_driver_write(balloon_driver *d, balloon_driver_channel channel,
                                           void *buffer, size_t bytes,
                                           balloon_virtio_message *message)
{
    memset(message, 0, sizeof(*message));
    if (d->state == BALLOON_DRIVER_DETACHED || (unsigned)channel >= BALLOON_QUEUE_KINDS)
        return BALLOON_ERR_STATE;
    message->queue =
        (uint32_t)balloon_virtio_queue_index(virtio_state(d)->numbering, virtio_state(d)->offered,
                                             d->negotiated, (balloon_virtio_queue)channel);
    switch (channel) {
    case BALLOON_CHANNEL_STATS:
        if (!virtio_state(d)->stats_out)
            return BALLOON_ERR_STATE;
        message->bytes =
            balloon_virtio_write_stats(&virtio_state(d)->sample, endian_of(d), buffer, bytes);
        return message->bytes > bytes ? BALLOON_ERR_NOSPACE : BALLOON_OK;
    case BALLOON_CHANNEL_HINT:
        if (virtio_state(d)->hint_sent)
            return write_command(d, buffer, bytes, &message->bytes);
        return write_loan(&d->hint, message);
    case BALLOON_CHANNEL_REPORT:
        return write_loan(&d->report, message);
    default:
        return write_pfns(d, channel, buffer, bytes, message);
    }
}

static bool loan_acked(struct driver_loan *loan, uint64_t *count)
{
    if (!loan->active || loan->phase != PHASE_SENT)
        return false;
    loan->active = false;
    *count += run_pages(loan->runs, loan->count);
    return true;
}

static bool hint_acked(balloon_driver *d)
{
    struct virtio_driver_state *v = virtio_state(d);

    if (!v->hint_sent)
        return loan_acked(&d->hint, &d->count.hinted);
    v->hint_sent = false;
    v->hint_more = !v->hint_stop && !v->hint_command && v->hint_id > BALLOON_VIRTIO_HINT_DONE;
    return true;
}

/* The device may fill the whole of a report, or parts of it, of which its length does not say where
 * they are. */
static void report_used(balloon_driver *d, uint32_t bytes)
{
    uint64_t pages = run_pages(d->report.runs, d->report.count);
    uint64_t all = pages << BALLOON_PAGE_SHIFT;

    if (!uses(d, BALLOON_F_DEVICE_INIT_REPORTED))
        return;
    d->report.zeroed = bytes == all;
    d->count.zeroed += bytes == all ? pages : 0;
    d->count.protocol_errors += bytes > all;
}

/* A bit for each page of the message, as far as the device says that it has written. */
static void inflate_used(balloon_driver *d, uint32_t bytes, const uint8_t *bitmap)
{
    const balloon_range *runs;
    uint32_t count, unit;
    uint8_t bits[BITMAP_BYTES] = {0};
    uint64_t pages;

    if (!uses(d, BALLOON_F_DEVICE_INIT_ON_INFLATE) || !bitmap ||
        bl_driver_outgoing(d, &runs, &count, &unit) != OP_INFLATE)
        return;
    pages = run_pages(runs, count);
    if (bytes > (pages + 7) / 8) {
        d->count.protocol_errors++;
        return;
    }
    memcpy(bits, bitmap, bytes);
    for (uint64_t i = pages; i < (uint64_t)bytes * 8; i++)
        d->count.zeroed_foreign += bits[i / 8] >> i % 8 & 1;
    bl_driver_zeroed(d, bits);
}

static bool op_acked(balloon_driver *d, enum driver_op op, balloon_time_t now)
{
    if (d->op != op || d->phase != PHASE_SENT)
        return false;
    bl_driver_accept_all(d, now);
    return true;
}

balloon_status balloon_virtio_driver_acked(balloon_driver *d, uint32_t queue, balloon_time_t now)
{
    return balloon_virtio_driver_used(d, queue, 0, NULL, now);
}

balloon_status balloon_virtio_driver_used(balloon_driver *d, uint32_t queue, uint32_t bytes,
                                          const uint8_t *bitmap, balloon_time_t now)
{
    struct virtio_driver_state *v = virtio_state(d);
    bool expected = false;

    if (d->state == BALLOON_DRIVER_DETACHED)
        return BALLOON_ERR_STATE;
    switch (balloon_virtio_queue_kind(v->numbering, v->offered, d->negotiated, queue)) {
    case BALLOON_QUEUE_INFLATE:
        inflate_used(d, bytes, bitmap);
        expected = op_acked(d, OP_INFLATE, now);
        break;
    case BALLOON_QUEUE_DEFLATE:
        expected = op_acked(d, OP_DEFLATE, now);
        break;
    case BALLOON_QUEUE_STATS:
        expected = v->stats_out;
        v->stats_out = false;
        if (expected)
            bl_driver_want_stats(d);
        break;
    case BALLOON_QUEUE_HINT:
        expected = hint_acked(d);
        break;
    case BALLOON_QUEUE_REPORT:
        expected = loan_acked(&d->report, &d->count.reported);
        d->report.back = d->report.back || expected;
        if (expected)
            report_used(d, bytes);
        v->report_at = expected ? now : v->report_at;
        break;
    default:
        break;
    }
    if (expected)
        return BALLOON_OK;
    d->count.answers_unasked++;
    return BALLOON_ERR_PROTOCOL;
}
