/* The Hyper-V binding of the device: the host's half of the talk. */
#include <string.h>

#include <balloon/hyperv.h>

#include "../device/device_p.h"

#define START_DELAY UINT64_C(50000000000)
#define RETRY_DELAY UINT64_C(10000000000)

/* The longest message without a list; each message needs room for this. */
#define FIXED_BYTES 24
#define RANGES      64

/* From the opening of a channel to its end. */
struct hyperv_device_talk {
    balloon_hyperv_phase phase;
    balloon_hyperv_type answer; /* due: VERSION_ or CAPABILITIES_RESPONSE; ERROR for none */
    bool accepted;              /* what the answer says */
    bool told;                  /* SEND was told, and nothing written since */
    uint32_t answer_id;         /* the guest's number, to be repeated */
    uint32_t next_id;           /* of our own */
    uint32_t version;
    balloon_hyperv_capabilities capabilities;
    balloon_time_t start_at; /* no request before */
    uint32_t left;           /* BALLOONING: pages asked for, and not named yet */
    bool gained;             /* BALLOONING: the last answer brought pages */
    bool exhausted;          /* the last request brought nothing, when the target was this ... */
    uint64_t exhausted_target;
    balloon_time_t retry_at; /* ... so none before, unless the target changes */
    balloon_hyperv_hot_add_phase hot_add;
    balloon_hyperv_hot_add request;
    balloon_hyperv_outcome outcome;
    uint32_t added;
};

struct hyperv_device_state {
    balloon_time_t start_delay, retry_delay;
    struct hyperv_device_talk talk;
};

_Static_assert(sizeof(struct hyperv_device_state) <= DEVICE_ROOM_BYTES, "hyperv has room");

static struct hyperv_device_state *hyperv_state(balloon_device *d)
{
    return (struct hyperv_device_state *)(void *)d->room;
}

static const struct hyperv_device_state *hyperv_const(const balloon_device *d)
{
    return (const struct hyperv_device_state *)(const void *)d->room;
}

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
    if (held > d->target)
        return BALLOON_HYPERV_UNBALLOON_REQUEST;
    if (held == d->target || !gives_balloon(d))
        return BALLOON_HYPERV_ERROR;
    if (t->exhausted && t->exhausted_target == d->target && t->retry_at > *at)
        *at = t->retry_at;
    return BALLOON_HYPERV_BALLOON_REQUEST;
}

static bool hyperv_poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    balloon_time_t at;
    bool due = next_message(d, &at) && now >= at;
    bool tell = due && !t->told;

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
    balloon_time_t at;

    return next_message(d, &at) && !hyperv_const(d)->talk.told ? at : BALLOON_TIME_NEVER;
}

/* --- save and load ---------------------------------------------------------------------------- */

/* Writes or reads numbers one after the other. */
struct cursor {
    uint8_t *bytes;
    unsigned at;
};

static void put(struct cursor *c, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        c->bytes[c->at++] = (uint8_t)(value >> 8 * i);
}

static void hyperv_save(const balloon_device *d, balloon_time_t now,
                        uint8_t saved[SAVED_BINDING_BYTES])
{
    const struct hyperv_device_talk *t = &hyperv_const(d)->talk;
    const balloon_hyperv_capabilities *can = &t->capabilities;
    struct cursor c = {saved, 0};

    put(&c, 1, t->phase);
    put(&c, 1, t->answer);
    put(&c, 1,
        (unsigned)t->accepted | (unsigned)t->gained << 1 | (unsigned)t->exhausted << 2 |
            (unsigned)can->balloon << 3 | (unsigned)can->hot_add << 4 |
            (unsigned)can->hot_remove << 5 | (unsigned)t->request.has_region << 6);
    put(&c, 1, (unsigned)can->alignment | (unsigned)t->hot_add << 4 | (unsigned)t->outcome << 6);
    put(&c, 4, t->answer_id);
    put(&c, 4, t->next_id);
    put(&c, 4, t->version);
    put(&c, 8, t->start_at > now ? t->start_at - now : 0);
    put(&c, 4, t->left);
    put(&c, 4, t->exhausted_target);
    put(&c, 8, t->retry_at > now ? t->retry_at - now : 0);
    put(&c, 8, t->request.range.first | t->request.range.count << 40);
    put(&c, 8, t->request.region.first | t->request.region.count << 40);
    put(&c, 4, t->added);
}

static uint64_t get(const uint8_t **from, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | (*from)[i];
    *from += bytes;
    return value;
}

static balloon_range get_range(const uint8_t **from)
{
    uint64_t word = get(from, 8);

    return (balloon_range){word & (BALLOON_HYPERV_PFN_LIMIT - 1), word >> 40};
}

static bool sound_handshake(const balloon_device *d, const struct hyperv_device_talk *t)
{
    bool versioned = t->phase > BALLOON_HYPERV_VERSION ||
                     (t->answer == BALLOON_HYPERV_VERSION_RESPONSE && t->accepted);

    if (t->phase > BALLOON_HYPERV_HOT_ADDING || d->driver != (t->phase >= BALLOON_HYPERV_IDLE))
        return false;
    if (t->answer &&
        !(t->answer == BALLOON_HYPERV_VERSION_RESPONSE && t->phase == BALLOON_HYPERV_VERSION) &&
        !(t->answer == BALLOON_HYPERV_CAPABILITIES_RESPONSE &&
          t->phase == BALLOON_HYPERV_CAPABILITIES))
        return false;
    if (versioned ? !balloon_hyperv_version_known(t->version) : t->version != 0)
        return false;
    return d->chosen == (d->driver ? d->offered : 0);
}

static bool sound_requests(const struct hyperv_device_talk *t)
{
    const balloon_hyperv_hot_add *r = &t->request;
    bool asked = t->hot_add == BALLOON_HYPERV_HOT_ADD_ASKED;

    if (t->left > BALLOON_HYPERV_REQUEST_PAGES_MAX)
        return false;
    if (asked != (t->phase == BALLOON_HYPERV_HOT_ADDING) ||
        (t->hot_add && (t->phase < BALLOON_HYPERV_IDLE || !balloon_hyperv_hot_add_valid(r))))
        return false;
    return t->added <= r->range.count;
}

static bool hyperv_load(balloon_device *d, balloon_time_t now,
                        const uint8_t saved[SAVED_BINDING_BYTES])
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    balloon_hyperv_capabilities *can = &t->capabilities;
    const uint8_t *from = saved;
    unsigned flags, small;

    memset(t, 0, sizeof(*t));
    t->phase = (balloon_hyperv_phase)get(&from, 1);
    t->answer = (balloon_hyperv_type)get(&from, 1);
    flags = (unsigned)get(&from, 1);
    small = (unsigned)get(&from, 1);
    t->accepted = flags & 1;
    t->gained = flags >> 1 & 1;
    t->exhausted = flags >> 2 & 1;
    can->balloon = flags >> 3 & 1;
    can->hot_add = flags >> 4 & 1;
    can->hot_remove = flags >> 5 & 1;
    t->request.has_region = flags >> 6 & 1;
    can->alignment = small & 15;
    t->hot_add = (balloon_hyperv_hot_add_phase)(small >> 4 & 3);
    t->outcome = (balloon_hyperv_outcome)(small >> 6);
    t->answer_id = (uint32_t)get(&from, 4);
    t->next_id = (uint32_t)get(&from, 4);
    t->version = (uint32_t)get(&from, 4);
    t->start_at = time_after(now, get(&from, 8));
    t->left = (uint32_t)get(&from, 4);
    t->exhausted_target = get(&from, 4);
    t->retry_at = time_after(now, get(&from, 8));
    t->request.range = get_range(&from);
    t->request.region = get_range(&from);
    t->added = (uint32_t)get(&from, 4);
    if (!t->phase)
        from = saved; /* Without a channel there is nothing to know. */
    while (from < saved + SAVED_BINDING_BYTES)
        flags |= (unsigned)*from++ << 7;
    return flags < 128 && sound_handshake(d, t) && sound_requests(t);
}

/* --- life ------------------------------------------------------------------------------------- */

static void hyperv_reset(balloon_device *d)
{
    memset(&hyperv_state(d)->talk, 0, sizeof(hyperv_state(d)->talk));
}

static const struct device_binding hyperv_binding = {
    .number = 1,
    .wide = true,
    .poll = hyperv_poll,
    .deadline = hyperv_deadline,
    .reset = hyperv_reset,
    .save = hyperv_save,
    .load = hyperv_load,
};

balloon_status balloon_hyperv_configure(balloon_device *d, const balloon_hyperv_options *options)
{
    if (options->size < sizeof(*options))
        return BALLOON_ERR_INVALID;
    if (d->driver || (d->binding == &hyperv_binding && hyperv_state(d)->talk.phase))
        return BALLOON_ERR_STATE;
    bl_device_bind(d, &hyperv_binding);
    hyperv_state(d)->start_delay = options->start_delay ? options->start_delay : START_DELAY;
    hyperv_state(d)->retry_delay = options->retry_delay ? options->retry_delay : RETRY_DELAY;
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

/* Pages beyond what was asked are taken, too: the guest will not touch them until they are named
 * to it, and this is how it gets them back. */
static bool take_ranges(balloon_device *d, const balloon_hyperv_ranges *list, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    balloon_range ranges[RANGES];
    uint64_t budget = SPAN_PAGES_MAX, named;
    bool sane = true;

    for (size_t at = 0, n; (n = balloon_hyperv_read_ranges(list, at, ranges, RANGES)) > 0;
         at += n) {
        for (size_t i = 0; i < n; i++) {
            if (ranges[i].count > budget) {
                d->count.truncated_bytes += (ranges[i].count - budget) << BALLOON_PAGE_SHIFT;
                ranges[i].count = budget;
            }
            budget -= ranges[i].count;
            sane &= bl_device_inflate_range(d, ranges[i], now);
        }
    }
    named = SPAN_PAGES_MAX - budget;
    sane &= named <= t->left;
    t->left -= named < t->left ? (uint32_t)named : t->left;
    return sane;
}

static bool take_pages(balloon_device *d, const balloon_hyperv_ranges *list, balloon_time_t now)
{
    struct hyperv_device_talk *t = &hyperv_state(d)->talk;
    uint64_t held = balloon_tracker_held(d->tracker);
    bool sane;

    if (t->phase != BALLOON_HYPERV_BALLOONING)
        return false;
    sane = take_ranges(d, list, now);
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
        return expected;
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

/* Pages of one kind go back to the guest, as many as are too many and find room in the list.
 * Returns whether there is room for more. */
static bool give_back(balloon_device *d, balloon_set set, uint64_t *surplus, uint8_t *packed,
                      uint32_t *count, uint32_t max)
{
    balloon_run run;
    balloon_pfn_t at = 0;

    while (*surplus &&
           balloon_tracker_next(d->tracker, set, (balloon_range){at, UINT64_MAX - at}, &run)) {
        balloon_range given = run.range, rest;
        bool room;

        given.count = given.count < *surplus ? given.count : *surplus;
        rest = given;
        room = balloon_hyperv_pack(&rest, packed, count, max) == BALLOON_OK;
        given.count -= rest.count;
        (void)bl_device_deflate_range(d, given);
        *surplus -= given.count;
        at = given.first + given.count;
        if (!room)
            return false;
    }
    return true;
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
        break;
    default: /* BALLOON_REQUEST */
        m->id = t->next_id++;
        t->left = m->body.pages = pages_to_ask(d);
        t->gained = t->exhausted = false;
        t->phase = BALLOON_HYPERV_BALLOONING;
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
