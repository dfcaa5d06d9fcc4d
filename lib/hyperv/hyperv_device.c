/* The Hyper-V binding of the device: the host's half of the talk. */
#include <stddef.h>
#include <string.h>

#include "../core/tracker_saved_p.h"
#include "hyperv_codec_p.h"
#include "hyperv_device_p.h"

#define START_DELAY    UINT64_C(50000000000)
#define RETRY_DELAY    UINT64_C(10000000000)
#define ANSWER_TIMEOUT UINT64_C(60000000000)

/* Linux reports a full second after the last report at the earliest (post_status()). */
#define STATS_TIMEOUT UINT64_C(3000000000)

/* The longest message without a list; each message needs room for this. */
#define FIXED_BYTES 24
#define RANGES      256u

/* Pages of short ranges go in so many at a time: what a range costs by itself is too much for a
 * few.
 */
#define GATHERED    256u
#define SHORT_PAGES 8u

/* --- what is to be sent ----------------------------------------------------------------------- */

static bool gives_balloon(const balloon_device *d)
{
    return hyperv_const(d)->talk.capabilities.balloon;
}

/* The next message and when it is due; ERROR when there is none. One transaction is under way at a
 * time, so whatever the guest answers belongs to it. */
static balloon_hyperv_type next_message(const balloon_device *d, balloon_time_t *at)
{
    const struct hyperv_device_talk *t = &hyperv_const(d)->talk;
    uint64_t held = balloon_tracker_held(d->tracker);

    *at = 0;
    if (t->answer || t->phase != BALLOON_HYPERV_IDLE)
        return t->answer;
    *at = t->start_at;
    if (t->hot_add == BALLOON_HYPERV_HOT_ADD_WAITING)
        return BALLOON_HYPERV_HOT_ADD_REQUEST;
    if ((t->silent || (t->exhausted && held < d->target)) && t->exhausted_target == d->target &&
        t->retry_at > *at)
        *at = t->retry_at;
    if (held > d->target)
        return BALLOON_HYPERV_UNBALLOON_REQUEST;
    if (held == d->target || !gives_balloon(d))
        return BALLOON_HYPERV_ERROR;
    return BALLOON_HYPERV_BALLOON_REQUEST;
}

/* Linux that is set up to hibernate reads requests about pages and does nothing. Whoever is only
 * slow may still answer. */
static void expire(balloon_device *d, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    uint8_t *owed = t->phase == BALLOON_HYPERV_BALLOONING ? &t->unanswered : &t->unconfirmed;

    if (!hyperv_waits(t) || now < t->answer_at)
        return;
    *owed = (uint8_t)(*owed + (*owed < OWED_MOST));
    t->phase = BALLOON_HYPERV_IDLE;
    t->silent = true;
    t->exhausted_target = d->target;
    t->retry_at = time_after(now, hyperv_state(d)->retry_delay);
}

static void wait_for_answer(balloon_device *d, balloon_time_t now)
{
    hyperv_state(d)->talk.answer_at = time_after(now, hyperv_state(d)->answer_timeout);
}

static bool hyperv_poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    balloon_time_t at;
    bool due, tell;

    expire(d, now);
    due = next_message(d, &at) && now >= at;
    tell = due && !t->told;

    d->tell_config = false; /* The target goes out as a request. */
    /* Until it is asked, the guest cannot be slow. */
    if (t->phase == BALLOON_HYPERV_IDLE && now < t->start_at)
        d->progress = t->start_at;
    t->told = due;
    if (tell)
        action->type = BALLOON_ACTION_SEND;
    return tell;
}

static balloon_time_t hyperv_deadline(const balloon_device *d)
{
    const struct hyperv_device_talk *t = &hyperv_const(d)->talk;
    balloon_time_t at;

    if (hyperv_waits(t))
        return t->answer_at;
    return next_message(d, &at) && !t->told ? at : BALLOON_TIME_NEVER;
}

/* --- life ------------------------------------------------------------------------------------- */

static void hyperv_reset(balloon_device *d)
{
    memset(&hyperv_state(d)->talk, 0, sizeof(hyperv_state(d)->talk));
}

static uint32_t hyperv_reasons(const balloon_device *d)
{
    return hyperv_const(d)->talk.silent ? 1u << BALLOON_REASON_NO_ANSWER : 0;
}

static const struct device_binding hyperv_binding = {
    .number = 1,
    .wide = true,
    .stats_timeout = STATS_TIMEOUT,
    .poll = hyperv_poll,
    .deadline = hyperv_deadline,
    .reset = hyperv_reset,
    .reasons = hyperv_reasons,
    .save = bl_hyperv_save,
    .load = bl_hyperv_load,
};

balloon_status balloon_hyperv_configure(balloon_device *d, const balloon_hyperv_options *options)
{
    balloon_time_t timeout = 0;

    /* Callers of earlier versions do not know the last field. */
    if (!bl_sized(options, sizeof(*options)) &&
        options->size != offsetof(balloon_hyperv_options, answer_timeout))
        return BALLOON_ERR_INVALID;
    if (options->size >= sizeof(*options))
        timeout = options->answer_timeout;
    if (d->driver || (d->binding == &hyperv_binding && hyperv_state(d)->talk.phase))
        return BALLOON_ERR_STATE;
    bl_device_bind(d, &hyperv_binding);
    hyperv_state(d)->start_delay = options->start_delay ? options->start_delay : START_DELAY;
    hyperv_state(d)->retry_delay = options->retry_delay ? options->retry_delay : RETRY_DELAY;
    hyperv_state(d)->answer_timeout = timeout ? timeout : ANSWER_TIMEOUT;
    d->offered = (d->offered & BALLOON_F_STATS) | BALLOON_F_MUST_TELL;
    return BALLOON_OK;
}

balloon_status balloon_hyperv_open(balloon_device *d)
{
    if (d->binding != &hyperv_binding || hyperv_state(d)->talk.phase)
        return BALLOON_ERR_STATE;
    hyperv_state(d)->talk.phase = BALLOON_HYPERV_VERSION;
    return BALLOON_OK;
}

void balloon_hyperv_close(balloon_device *d)
{
    balloon_device_reset(d);
}

balloon_status balloon_hyperv_hot_add_request(balloon_device *d,
                                              const balloon_hyperv_hot_add *request)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    uint64_t unaligned = request->range.first | request->range.count;

    if (d->binding != &hyperv_binding || t->phase < BALLOON_HYPERV_IDLE)
        return BALLOON_ERR_STATE;
    if (!t->capabilities.hot_add)
        return BALLOON_ERR_UNSUPPORTED;
    if (request->has_region)
        unaligned |= request->region.first | request->region.count;
    if (!balloon_hyperv_hot_add_valid(request) ||
        unaligned & (balloon_hyperv_alignment_pages(&t->capabilities) - 1))
        return BALLOON_ERR_INVALID;
    if (t->hot_add == BALLOON_HYPERV_HOT_ADD_WAITING || t->hot_add == BALLOON_HYPERV_HOT_ADD_ASKED)
        return BALLOON_ERR_BUSY;
    t->hot_add = BALLOON_HYPERV_HOT_ADD_WAITING;
    t->request = *request;
    t->outcome = BALLOON_HYPERV_ADDED;
    t->added = 0;
    return BALLOON_OK;
}

void balloon_hyperv_session_get(const balloon_device *d, balloon_hyperv_session *session)
{
    const struct hyperv_device_talk *t = &hyperv_const(d)->talk;

    memset(session, 0, sizeof(*session));
    if (d->binding != &hyperv_binding)
        return;
    session->phase = t->phase;
    session->version = t->version;
    session->capabilities = t->capabilities;
    session->hot_add = t->hot_add;
    session->outcome = t->outcome;
    session->added = t->added;
    session->exhausted = t->exhausted;
    session->silent = t->silent;
}

/* --- packets of the guest --------------------------------------------------------------------- */

static uint64_t to_bytes(uint64_t pages)
{
    return pages > UINT64_MAX >> BALLOON_PAGE_SHIFT ? UINT64_MAX : pages << BALLOON_PAGE_SHIFT;
}

static bool take_version(struct hyperv_device_talk *t, const balloon_hyperv_message *m)
{
    if (t->phase != BALLOON_HYPERV_VERSION || t->answer)
        return false;
    t->answer = BALLOON_HYPERV_VERSION_RESPONSE;
    t->answer_id = m->id;
    t->accepted = balloon_hyperv_version_known(m->body.version.version);
    t->version = t->accepted ? m->body.version.version : 0;
    return true;
}

static bool take_capabilities(struct hyperv_device_talk *t, const balloon_hyperv_message *m)
{
    if (t->phase != BALLOON_HYPERV_CAPABILITIES || t->answer)
        return false;
    t->answer = BALLOON_HYPERV_CAPABILITIES_RESPONSE;
    t->answer_id = m->id;
    t->accepted = true;
    t->capabilities = m->body.capabilities;
    /* Guests have nothing to say there, and so nothing of it is saved. */
    t->capabilities.min_pages = t->capabilities.max_page = 0;
    return true;
}

static bool take_status(balloon_device *d, const balloon_hyperv_status *status, balloon_time_t now)
{
    balloon_sample sample;

    if (!d->driver)
        return false;
    /* Linux reports even where it was told not to. */
    if (!(d->chosen & BALLOON_F_STATS)) {
        d->count.stats_unasked++;
        return true;
    }
    memset(&sample, 0, sizeof(sample));
    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, to_bytes(status->available));
    balloon_sample_set(&sample, BALLOON_STAT_COMMITTED, to_bytes(status->committed));
    if (status->zero_free)
        balloon_sample_set(&sample, BALLOON_STAT_FREE, to_bytes(status->zero_free));
    bl_device_stats_offer(d, &sample, now);
    return true;
}

static void show_size(balloon_device *d)
{
    uint64_t held = balloon_tracker_held(d->tracker);

    bl_device_set_actual(d, held < UINT32_MAX ? held : UINT32_MAX);
}

/* Pages of short ranges, by their numbers. There is always room for one more range. */
struct gathered {
    uint32_t count;
    uint32_t pfns[GATHERED + SHORT_PAGES];
};

/* Add a range, if it is short. */
static inline bool gather(struct gathered *g, balloon_range range)
{
    uint32_t *to = g->pfns + g->count;

    if (range.count - 1 >= SHORT_PAGES || range.first > PFN32_END - range.count)
        return false;
    to[0] = (uint32_t)range.first;
    for (uint32_t i = 1; i < range.count; i++)
        to[i] = (uint32_t)range.first + i;
    g->count += (uint32_t)range.count;
    return true;
}

static bool inflate_pages(balloon_device *d, const uint32_t *pfns, size_t count, balloon_time_t now)
{
    balloon_tally tally = {0};

    device_inflate(d, pfns, count, &tally);
    bl_device_inflated(d, &tally, now);
    return !tally.outside;
}

static bool inflate_gathered(balloon_device *d, struct gathered *g, balloon_time_t now)
{
    uint32_t count = g->count;

    g->count = 0;
    return !count || inflate_pages(d, g->pfns, count, now);
}

/* The order in which pages go in makes no difference. */
static inline bool inflate_range(balloon_device *d, struct gathered *g, balloon_range range,
                                 balloon_time_t now)
{
    if (!gather(g, range))
        return bl_device_inflate_range(d, range, now);
    return g->count < GATHERED || inflate_gathered(d, g, now);
}

/* Are they ranges of one page each, with numbers of 32 bits? So are all of Linux that finds no
 * large blocks. */
static bool all_single(const uint64_t *words, size_t count, uint32_t *pfns)
{
    const uint64_t single = bl_hyperv_pack((balloon_range){0, 1}) >> 32;
    struct narrowed bits = bl_tracker_narrow(words, count, 0, 0, pfns);

    return bits.any >> 32 == single && bits.all >> 32 == single;
}

/* Pages beyond what was asked are taken, too: the guest will not touch them until they are named
 * to it, and this is how it gets them back. */
static bool take_ranges(balloon_device *d, const balloon_hyperv_ranges *list, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    const unsigned char *from = list->packed;
    uint64_t words[RANGES], budget = SPAN_PAGES_MAX, named;
    struct gathered gathered;
    uint32_t pfns[RANGES];
    bool sane = true;

    gathered.count = 0;
    for (size_t left = list->count, n; left; left -= n, from += n * sizeof(*words)) {
        n = left < RANGES ? left : RANGES;
        bl_copy_words_in(words, from, n);
        if (n <= budget && all_single(words, n, pfns)) {
            budget -= n;
            sane &= inflate_pages(d, pfns, n, now);
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            balloon_range range = bl_hyperv_unpack(words[i]);

            if (range.count > budget) {
                d->count.truncated_bytes += (range.count - budget) << BALLOON_PAGE_SHIFT;
                range.count = budget;
            }
            budget -= range.count;
            sane &= inflate_range(d, &gathered, range, now);
        }
    }
    sane &= inflate_gathered(d, &gathered, now);
    named = SPAN_PAGES_MAX - budget;
    sane &= named <= t->left || t->unanswered;
    t->left -= named < t->left ? (uint32_t)named : t->left;
    return sane;
}

static bool take_pages(balloon_device *d, const balloon_hyperv_ranges *list, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    uint64_t held = balloon_tracker_held(d->tracker);
    bool late = t->phase != BALLOON_HYPERV_BALLOONING, sane;

    if (late && !t->unanswered)
        return false;
    sane = take_ranges(d, list, now);
    t->silent = false;
    if (late) {
        t->unanswered = (uint8_t)(t->unanswered - !list->more);
        show_size(d);
        return sane;
    }
    wait_for_answer(d, now);
    t->gained = balloon_tracker_held(d->tracker) > held || (list->count && t->gained);
    show_size(d);
    if (list->more)
        return sane;
    t->phase = BALLOON_HYPERV_IDLE;
    /* Nothing at the end means that there is no more. A guest that names the same pages again and
     * again would otherwise be asked as often. */
    t->exhausted = !t->gained;
    t->exhausted_target = d->target;
    t->retry_at = time_after(now, hyperv_state(d)->retry_delay);
    return sane;
}

static bool take_hot_added(struct hyperv_device_talk *t, const balloon_hyperv_hot_added *response)
{
    if (t->phase != BALLOON_HYPERV_HOT_ADDING)
        return false;
    t->phase = BALLOON_HYPERV_IDLE;
    t->hot_add = BALLOON_HYPERV_HOT_ADD_ANSWERED;
    t->outcome =
        balloon_hyperv_hot_add_result(response, (uint32_t)t->request.range.count, &t->added);
    return response->pages <= t->request.range.count;
}

static bool take_message(balloon_device *d, const balloon_hyperv_message *m, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    bool expected;

    switch ((balloon_hyperv_type)m->type) {
    case BALLOON_HYPERV_VERSION_REQUEST:
        return take_version(t, m);
    case BALLOON_HYPERV_CAPABILITIES_REPORT:
        return take_capabilities(t, m);
    case BALLOON_HYPERV_STATUS_REPORT:
        return take_status(d, &m->body.status, now);
    case BALLOON_HYPERV_BALLOON_RESPONSE:
        return take_pages(d, &m->body.ranges, now);
    case BALLOON_HYPERV_UNBALLOON_RESPONSE:
        expected = t->phase == BALLOON_HYPERV_UNBALLOONING;
        if (expected)
            t->phase = BALLOON_HYPERV_IDLE;
        else if (!t->unconfirmed)
            return false;
        else
            t->unconfirmed--;
        t->silent = false;
        return true;
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        return take_hot_added(t, &m->body.hot_added);
    default: /* Nobody sends it, the host does, or it answers what is never asked. */
        return false;
    }
}

balloon_status balloon_hyperv_receive(balloon_device *d, const void *bytes, size_t size,
                                      balloon_time_t now)
{
    balloon_hyperv_message m;

    if (!hyperv_state(d)->talk.phase)
        return BALLOON_ERR_STATE;
    d->count.buffers++;
    if (balloon_hyperv_decode(bytes, size, &m) == BALLOON_OK && take_message(d, &m, now))
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}

/* --- messages to the guest -------------------------------------------------------------------- */

static void deflate_gathered(balloon_device *d, struct gathered *g)
{
    uint64_t held = balloon_tracker_held(d->tracker);
    balloon_tally tally = {0};

    if (!g->count)
        return;
    device_deflate(d, g->pfns, g->count, &tally);
    bl_device_deflated(d, &tally, held);
    g->count = 0;
}

/* Pages of one kind go back to the guest, as many as are too many and find room in the list.
 * Returns whether there is room for more. */
static bool give_back(balloon_device *d, balloon_set set, uint64_t *surplus, uint8_t *packed,
                      uint32_t *count, uint32_t max)
{
    struct gathered gathered;
    balloon_run run;
    balloon_pfn_t at = 0;
    bool room = true;

    gathered.count = 0;
    /* What was given is behind, so it does not matter when it leaves. */
    while (room && *surplus &&
           balloon_tracker_next(d->tracker, set, (balloon_range){at, UINT64_MAX - at}, &run)) {
        balloon_range given = run.range, rest;

        given.count = given.count < *surplus ? given.count : *surplus;
        rest = given;
        room = balloon_hyperv_pack(&rest, packed, count, max) == BALLOON_OK;
        given.count -= rest.count;
        if (!gather(&gathered, given))
            (void)bl_device_deflate_range(d, given);
        else if (gathered.count >= GATHERED)
            deflate_gathered(d, &gathered);
        *surplus -= given.count;
        at = given.first + given.count;
    }
    deflate_gathered(d, &gathered);
    return room;
}

/* Each message is a transaction of its own, so nothing has to be remembered but that it is under
 * way. Pages that the host never got come first: to return them costs nothing. */
static void write_unballoon(balloon_device *d, balloon_hyperv_ranges *list, uint8_t *buffer,
                            size_t bytes)
{
    uint64_t surplus = balloon_tracker_held(d->tracker) - d->target;
    uint8_t *packed = buffer + BALLOON_HYPERV_RANGES_OFFSET;
    uint32_t max = (uint32_t)((bytes - BALLOON_HYPERV_RANGES_OFFSET) / BALLOON_HYPERV_RANGE_BYTES);

    if (surplus > BALLOON_HYPERV_CHUNK_PAGES)
        surplus = BALLOON_HYPERV_CHUNK_PAGES;
    if (give_back(d, BALLOON_SET_PENDING, &surplus, packed, &list->count, max))
        (void)give_back(d, BALLOON_SET_HELD, &surplus, packed, &list->count, max);
    list->packed = packed;
    show_size(d);
}

static uint32_t pages_to_ask(const balloon_device *d)
{
    uint64_t pages = d->target - balloon_tracker_held(d->tracker);

    return pages < BALLOON_HYPERV_REQUEST_PAGES_MAX ? (uint32_t)pages
                                                    : BALLOON_HYPERV_REQUEST_PAGES_MAX;
}

/* Fill in a message, and go on as if it was sent. */
static void write_message(balloon_device *d, balloon_hyperv_message *m, uint8_t *buffer,
                          size_t bytes, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;

    switch (m->type) {
    case BALLOON_HYPERV_VERSION_RESPONSE:
        m->id = t->answer_id;
        m->body.answer.accepted = t->accepted;
        if (t->accepted)
            t->phase = BALLOON_HYPERV_CAPABILITIES;
        break;
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        m->id = t->answer_id;
        m->body.answer.accepted = true;
        m->body.answer.suppress_reports = !(d->offered & BALLOON_F_STATS);
        t->phase = BALLOON_HYPERV_IDLE;
        t->start_at = time_after(now, hyperv_state(d)->start_delay);
        d->chosen = d->offered;
        bl_device_attach(d, now);
        break;
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        m->id = t->next_id++;
        m->body.hot_add = t->request;
        t->hot_add = BALLOON_HYPERV_HOT_ADD_ASKED;
        t->phase = BALLOON_HYPERV_HOT_ADDING;
        break;
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        m->id = t->next_id++;
        write_unballoon(d, &m->body.ranges, buffer, bytes);
        t->phase = BALLOON_HYPERV_UNBALLOONING;
        wait_for_answer(d, now);
        break;
    default: /* BALLOON_REQUEST */
        m->id = t->next_id++;
        t->left = m->body.pages = pages_to_ask(d);
        t->gained = t->exhausted = false;
        t->phase = BALLOON_HYPERV_BALLOONING;
        wait_for_answer(d, now);
        break;
    }
    t->answer = BALLOON_HYPERV_ERROR;
}

balloon_status balloon_hyperv_write(balloon_device *d, void *buffer, size_t bytes,
                                    balloon_time_t now, size_t *used)
{
    balloon_hyperv_message m;
    balloon_time_t at;
    balloon_hyperv_type type = next_message(d, &at);

    if (!type || now < at) {
        hyperv_state(d)->talk.told = false;
        return BALLOON_ERR_STATE;
    }
    if (bytes < FIXED_BYTES)
        return BALLOON_ERR_NOSPACE;
    if (bytes > BALLOON_HYPERV_MESSAGE_BYTES)
        bytes = BALLOON_HYPERV_MESSAGE_BYTES;
    hyperv_state(d)->talk.told = false;
    memset(&m, 0, sizeof(m));
    m.type = (uint16_t)type;
    write_message(d, &m, buffer, bytes, now);
    *used = balloon_hyperv_encode(&m, buffer, bytes);
    return BALLOON_OK;
}
