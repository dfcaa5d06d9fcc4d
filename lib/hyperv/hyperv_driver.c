/* The Hyper-V binding of the driver: the guest's half of the talk, as Linux leads it. */
#include <string.h>

#include <balloon/range.h>

#include <balloon/hyperv.h>

#include "../driver/driver_p.h"

#define STEP_TIME     UINT64_C(5000000000) /* for each step of the handshake */
#define REPORT_DELAY  UINT64_C(45000000000)
#define REPORT_PERIOD UINT64_C(1000000000)
#define ALIGNMENT     7
#define RANGES        64
#define MOST_RANGES   BALLOON_HYPERV_RANGES_MAX

_Static_assert(MOST_RANGES <= RELEASE_RUNS, "all ranges of a message find room");

/* Memory that the host wants to add. */
enum hyperv_plug {
    PLUG_NONE = 0,
    PLUG_DUE = 1,     /* PLUG is to be told */
    PLUG_ASKED = 2,   /* the kernel has it */
    PLUG_ANSWERED = 3 /* the answer is to be sent */
};

struct hyperv_driver_state {
    bool hot_add;
    uint8_t alignment;
    balloon_time_t report_delay;
    balloon_hyperv_phase phase;
    uint32_t version; /* offered or agreed on */
    uint32_t next_id;
    bool greet;      /* the greeting of this phase is to be sent */
    bool told;       /* SEND was told for CONTROL */
    bool quiet;      /* the host does not read reports */
    bool measure;    /* statistics are to say how much can be given ... */
    uint32_t wanted; /* ... of so many pages */
    bool returned;   /* the last pages were named: confirm when all are free */
    bool report;     /* statistics are to be reported; */
    bool report_due; /* the report is to be sent, ... */
    bool report_told;
    uint64_t available, committed; /* ... and this is in it */
    balloon_time_t report_at;
    balloon_time_t give_up_at; /* during the handshake */
    uint64_t max_pages;
    enum hyperv_plug plug;
    balloon_range plug_runs[2]; /* what to use, and where */
    uint32_t plugged;
    bool plug_failed;
};

_Static_assert(sizeof(struct hyperv_driver_state) <= DRIVER_ROOM_BYTES, "hyperv has room");

static struct hyperv_driver_state *hyperv_state(balloon_driver *d)
{
    return (struct hyperv_driver_state *)(void *)d->room;
}

static const struct hyperv_driver_state *hyperv_const(const balloon_driver *d)
{
    return (const struct hyperv_driver_state *)(const void *)d->room;
}

/* --- pages for the host ----------------------------------------------------------------------- */

/* Hosts may return any single page, which a kernel with larger ones cannot take. */
static bool can_balloon(const balloon_driver *d)
{
    return d->page_pages == 1;
}

/* The request is answered with what is on its way. A pause was made since it came. */
static bool no_more(const balloon_driver *d)
{
    return d->state != BALLOON_DRIVER_ATTACHED || d->pause[OP_INFLATE] ||
           balloon_tracker_held(d->tracker) >= bl_driver_goal(d);
}

/* Outside of a request the host wants what it has. */
static void end_request(balloon_driver *d)
{
    hyperv_state(d)->phase = BALLOON_HYPERV_IDLE;
    bl_driver_set_target(d, bl_driver_held(d));
}

static void begin_request(balloon_driver *d, uint64_t pages)
{
    hyperv_state(d)->measure = false;
    d->pause[OP_INFLATE] = 0;
    bl_driver_set_target(d, bl_driver_held(d) + (can_balloon(d) ? pages : 0));
}

/* --- what is to be sent ----------------------------------------------------------------------- */

/* The next message that is not about pages on their way; ERROR when there is none. */
static balloon_hyperv_type next_control(const balloon_driver *d)
{
    const struct hyperv_driver_state *h = hyperv_const(d);

    if (h->greet)
        return h->phase == BALLOON_HYPERV_VERSION ? BALLOON_HYPERV_VERSION_REQUEST
                                                  : BALLOON_HYPERV_CAPABILITIES_REPORT;
    if (h->plug == PLUG_ANSWERED)
        return BALLOON_HYPERV_HOT_ADD_RESPONSE;
    if (h->returned && !bl_driver_releasing(d))
        return BALLOON_HYPERV_UNBALLOON_RESPONSE;
    if (h->phase == BALLOON_HYPERV_BALLOONING && !h->measure && d->op == OP_NONE && no_more(d))
        return BALLOON_HYPERV_BALLOON_RESPONSE;
    return BALLOON_HYPERV_ERROR;
}

static bool in_handshake(const struct hyperv_driver_state *h)
{
    return h->phase == BALLOON_HYPERV_VERSION || h->phase == BALLOON_HYPERV_CAPABILITIES;
}

static bool ready(const struct hyperv_driver_state *h)
{
    return h->phase == BALLOON_HYPERV_IDLE || h->phase == BALLOON_HYPERV_BALLOONING;
}

static bool reports(const balloon_driver *d)
{
    return ready(hyperv_const(d)) && d->can_stats && !hyperv_const(d)->quiet &&
           d->state == BALLOON_DRIVER_ATTACHED && !hyperv_const(d)->report &&
           !hyperv_const(d)->report_due;
}

static bool send(balloon_driver *d, balloon_driver_channel channel, balloon_driver_action *action)
{
    action->type = BALLOON_DRIVER_SEND;
    action->channel = channel;
    action->bytes = BALLOON_HYPERV_MESSAGE_BYTES;
    d->count.messages++;
    return true;
}

static bool plug(struct hyperv_driver_state *h, balloon_driver_action *action)
{
    h->plug = PLUG_ASKED;
    action->type = BALLOON_DRIVER_PLUG;
    action->runs = h->plug_runs;
    action->run_count = 2;
    return true;
}

static bool hyperv_poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    bool due;

    if (in_handshake(h) && now >= h->give_up_at) {
        h->phase = BALLOON_HYPERV_FAILED;
        h->greet = false;
    }
    if (h->phase == BALLOON_HYPERV_IDLE)
        end_request(d);
    /* However long the last word waits to be written, nothing more is allocated meanwhile. */
    if (next_control(d) == BALLOON_HYPERV_BALLOON_RESPONSE)
        bl_driver_set_target(d, bl_driver_held(d));
    if (reports(d) && now >= h->report_at) {
        h->report = true;
        h->report_at = driver_time_after(now, REPORT_PERIOD);
        bl_driver_want_stats(d);
    }
    if (h->plug == PLUG_DUE)
        return plug(h, action);
    due = next_control(d) != BALLOON_HYPERV_ERROR;
    if (due && !h->told) {
        h->told = true;
        return send(d, BALLOON_CHANNEL_CONTROL, action);
    }
    h->told = due;
    if (!h->report_due || h->report_told)
        return false;
    h->report_told = true;
    return send(d, BALLOON_CHANNEL_STATS, action);
}

static balloon_time_t hyperv_deadline(const balloon_driver *d)
{
    const struct hyperv_driver_state *h = hyperv_const(d);

    if (h->plug == PLUG_DUE || (next_control(d) && !h->told) || (h->report_due && !h->report_told))
        return 0;
    if (in_handshake(h))
        return h->give_up_at;
    return reports(d) ? h->report_at : BALLOON_TIME_NEVER;
}

static void hyperv_reset(balloon_driver *d)
{
    memset(hyperv_state(d), 0, sizeof(*hyperv_state(d)));
}

static uint64_t pages_of(const balloon_sample *sample, balloon_stat stat)
{
    return sample->value[stat] >> BALLOON_PAGE_SHIFT;
}

/* Hosts go by what is committed, and the balloon must be part of it, or a guest would seem to need
 * less with each page it gives. */
static void hyperv_stats(balloon_driver *d, const balloon_sample *sample, balloon_time_t now)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    uint64_t held = balloon_tracker_held(d->tracker);
    bool known = balloon_sample_get(sample, BALLOON_STAT_AVAILABLE, NULL);
    uint64_t available = pages_of(sample, BALLOON_STAT_AVAILABLE);
    uint64_t spare = available > d->floor ? available - d->floor : 0;

    (void)now;
    if (balloon_sample_get(sample, BALLOON_STAT_COMMITTED, NULL))
        h->committed = pages_of(sample, BALLOON_STAT_COMMITTED) + held;
    else
        h->committed = d->total > available ? d->total - available : 0;
    h->committed += d->floor;
    h->available = available;
    h->report_due = h->report_due || (h->report && known);
    h->report = false;
    if (!h->measure)
        return;
    if (known && h->wanted > spare) {
        h->wanted = (uint32_t)spare;
        d->count.target_cut++;
    }
    begin_request(d, h->wanted);
}

static bool hyperv_idle(const balloon_driver *d)
{
    return hyperv_const(d)->phase != BALLOON_HYPERV_BALLOONING && !hyperv_const(d)->returned &&
           !hyperv_const(d)->plug && !hyperv_const(d)->report_due;
}

static const struct driver_binding binding = {
    .poll = hyperv_poll,
    .deadline = hyperv_deadline,
    .reset = hyperv_reset,
    .stats = hyperv_stats,
    .idle = hyperv_idle,
};

/* --- life ------------------------------------------------------------------------------------- */

balloon_status balloon_hyperv_driver_open(balloon_driver *d,
                                          const balloon_hyperv_driver_options *options,
                                          balloon_time_t now)
{
    static const balloon_hyperv_driver_options defaults = {.size = sizeof(defaults)};
    const balloon_hyperv_driver_options *o = options ? options : &defaults;
    const struct driver_traits traits = {.chunk_pages = driver_chunk(d, LARGE_PAGES),
                                         .message_runs = MOST_RANGES,
                                         .message_bytes = BALLOON_HYPERV_MESSAGE_BYTES,
                                         .pfn_end = BALLOON_HYPERV_PFN_LIMIT};
    struct hyperv_driver_state *h = hyperv_state(d);

    if (!bl_sized(o, sizeof(*o)) || o->alignment > BALLOON_HYPERV_ALIGNMENT_MAX)
        return BALLOON_ERR_INVALID;
    if (!d->tracker)
        return BALLOON_ERR_UNSUPPORTED;
    if (d->binding)
        return BALLOON_ERR_STATE;
    if (bl_driver_back_due(d))
        return BALLOON_ERR_BUSY;
    hyperv_reset(d);
    h->hot_add = o->hot_add;
    h->alignment = o->alignment ? o->alignment : ALIGNMENT;
    h->report_delay = o->report_delay ? o->report_delay : REPORT_DELAY;
    h->phase = BALLOON_HYPERV_VERSION;
    h->version = balloon_hyperv_version_below(UINT32_MAX);
    h->next_id = 1;
    h->greet = true;
    h->give_up_at = driver_time_after(now, STEP_TIME);
    bl_driver_attach(d, &binding, &traits);
    return BALLOON_OK;
}

void balloon_hyperv_driver_session_get(const balloon_driver *d,
                                       balloon_hyperv_driver_session *session)
{
    const struct hyperv_driver_state *h = hyperv_const(d);

    memset(session, 0, sizeof(*session));
    session->phase = h->phase;
    if (h->phase == BALLOON_HYPERV_IDLE && (h->returned || bl_driver_releasing(d)))
        session->phase = BALLOON_HYPERV_UNBALLOONING;
    else if (h->phase == BALLOON_HYPERV_IDLE && h->plug)
        session->phase = BALLOON_HYPERV_HOT_ADDING;
    session->version = h->phase == BALLOON_HYPERV_CAPABILITIES || ready(h) ? h->version : 0;
    session->max_pages = h->max_pages;
}

/* --- packets of the host ---------------------------------------------------------------------- */

/* An answer to the greeting of a phase. */
static bool greeted(balloon_driver *d, balloon_hyperv_phase phase)
{
    if (hyperv_state(d)->phase == phase && !hyperv_state(d)->greet)
        return true;
    d->count.answers_unasked++;
    return false;
}

static bool take_version(balloon_driver *d, bool accepted, balloon_time_t now)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    uint32_t below = balloon_hyperv_version_below(h->version);

    if (!greeted(d, BALLOON_HYPERV_VERSION))
        return false;
    h->greet = true;
    if (accepted) {
        h->phase = BALLOON_HYPERV_CAPABILITIES;
        h->give_up_at = driver_time_after(now, STEP_TIME);
    } else if (below) {
        h->version = below;
    } else {
        h->phase = BALLOON_HYPERV_FAILED;
        h->greet = false;
    }
    return true;
}

static bool take_capabilities(balloon_driver *d, const balloon_hyperv_answer *answer,
                              balloon_time_t now)
{
    struct hyperv_driver_state *h = hyperv_state(d);

    if (!greeted(d, BALLOON_HYPERV_CAPABILITIES))
        return false;
    h->phase = answer->accepted ? BALLOON_HYPERV_IDLE : BALLOON_HYPERV_FAILED;
    h->quiet = answer->suppress_reports;
    h->report_at = driver_time_after(now, h->report_delay);
    return true;
}

/* A new request replaces one that is under way, as in Linux. */
static bool take_request(balloon_driver *d, uint32_t pages)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    bool idle = h->phase == BALLOON_HYPERV_IDLE;

    if (!ready(h))
        return false;
    h->phase = BALLOON_HYPERV_BALLOONING;
    if (d->can_stats && d->state == BALLOON_DRIVER_ATTACHED && can_balloon(d)) {
        h->measure = true;
        h->wanted = pages;
        bl_driver_want_stats(d);
    } else {
        begin_request(d, pages);
    }
    return idle;
}

/* A host that returns pages does not want more of them. */
static bool take_returned(balloon_driver *d, const balloon_hyperv_ranges *list)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    balloon_range ranges[RANGES];

    if (!ready(h) || list->count > MOST_RANGES)
        return false;
    for (size_t at = 0, n; (n = balloon_hyperv_read_ranges(list, at, ranges, RANGES)) > 0; at += n)
        for (size_t i = 0; i < n; i++)
            bl_driver_release(d, ranges[i]);
    h->returned = !list->more;
    h->measure = false;
    bl_driver_set_target(d, 0);
    return true;
}

/* Memory that is there already is not new. */
static bool may_plug(const balloon_driver *d, const balloon_hyperv_hot_add *add)
{
    return balloon_hyperv_hot_add_valid(add) &&
           !balloon_tracker_count(d->tracker, BALLOON_SET_HELD, add->range) &&
           !balloon_tracker_count(d->tracker, BALLOON_SET_FREE, add->range);
}

static bool take_hot_add(balloon_driver *d, const balloon_hyperv_hot_add *add)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    balloon_hyperv_capabilities can = {.alignment = h->alignment};
    bool valid;

    if (!ready(h) || h->plug)
        return false;
    valid = may_plug(d, add);
    h->plug = valid && h->hot_add ? PLUG_DUE : PLUG_ANSWERED;
    h->plugged = 0;
    h->plug_failed = false;
    h->plug_runs[0] = add->range;
    h->plug_runs[1] = add->region;
    if (!add->has_region || !add->region.count)
        h->plug_runs[1] = balloon_range_outward(add->range, balloon_hyperv_alignment_pages(&can));
    return valid;
}

balloon_status balloon_hyperv_driver_plugged(balloon_driver *d, uint64_t pages, bool later)
{
    struct hyperv_driver_state *h = hyperv_state(d);

    if (h->plug != PLUG_ASKED)
        return BALLOON_ERR_STATE;
    if (pages > h->plug_runs[0].count)
        return BALLOON_ERR_INVALID;
    h->plug = PLUG_ANSWERED;
    h->plugged = (uint32_t)pages;
    h->plug_failed = !pages && later;
    return BALLOON_OK;
}

static bool take_message(balloon_driver *d, const balloon_hyperv_message *m, balloon_time_t now)
{
    struct hyperv_driver_state *h = hyperv_state(d);

    switch ((balloon_hyperv_type)m->type) {
    case BALLOON_HYPERV_VERSION_RESPONSE:
        return take_version(d, m->body.answer.accepted, now);
    case BALLOON_HYPERV_CAPABILITIES_RESPONSE:
        return take_capabilities(d, &m->body.answer, now);
    case BALLOON_HYPERV_BALLOON_REQUEST:
        return take_request(d, m->body.pages);
    case BALLOON_HYPERV_UNBALLOON_REQUEST:
        return take_returned(d, &m->body.ranges);
    case BALLOON_HYPERV_HOT_ADD_REQUEST:
        return take_hot_add(d, &m->body.hot_add);
    case BALLOON_HYPERV_INFO:
        if (!ready(h) || !balloon_hyperv_may_send(m->type, false, h->version))
            return false;
        if (m->body.info.type == BALLOON_HYPERV_INFO_MAX_PAGES)
            h->max_pages = m->body.info.max_pages;
        return true;
    default: /* Nobody sends it, guests do, or the driver has said that it cannot. */
        return false;
    }
}

/* What is returned must be free before more of it comes, and before it can be said what to add. */
static bool must_wait(const balloon_driver *d, uint16_t type)
{
    if (type == BALLOON_HYPERV_BALLOON_REQUEST)
        return bl_driver_releasing(d);
    return type == BALLOON_HYPERV_UNBALLOON_REQUEST &&
           (hyperv_const(d)->returned || bl_driver_releasing(d));
}

balloon_status balloon_hyperv_driver_receive(balloon_driver *d, const void *bytes, size_t size,
                                             balloon_time_t now)
{
    balloon_hyperv_message m;

    if (d->binding != &binding)
        return BALLOON_ERR_STATE;
    if (balloon_hyperv_decode(bytes, size, &m) == BALLOON_OK) {
        if (must_wait(d, m.type))
            return BALLOON_ERR_BUSY;
        if (take_message(d, &m, now))
            return BALLOON_OK;
    }
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}

/* --- messages to the host --------------------------------------------------------------------- */

static balloon_status encode(balloon_driver *d, balloon_hyperv_message *m, void *buffer,
                             size_t bytes, size_t *used)
{
    m->id = hyperv_state(d)->next_id;
    *used = balloon_hyperv_encode(m, buffer, bytes);
    if (*used > bytes)
        return BALLOON_ERR_NOSPACE;
    hyperv_state(d)->next_id++;
    return BALLOON_OK;
}

static void fill_control(const balloon_driver *d, balloon_hyperv_message *m)
{
    const struct hyperv_driver_state *h = hyperv_const(d);

    switch (m->type) {
    case BALLOON_HYPERV_VERSION_REQUEST:
        m->body.version.version = h->version;
        m->body.version.last = !balloon_hyperv_version_below(h->version);
        break;
    case BALLOON_HYPERV_CAPABILITIES_REPORT:
        m->body.capabilities.balloon = can_balloon(d);
        m->body.capabilities.hot_add = true;
        m->body.capabilities.alignment = h->alignment;
        m->body.capabilities.max_page = UINT64_MAX;
        break;
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        m->body.hot_added.pages = h->plugged;
        m->body.hot_added.result = !h->plug_failed;
        break;
    default: /* The last word on a request has no ranges, the answer to returned pages no body. */
        break;
    }
}

static balloon_status write_control(balloon_driver *d, void *buffer, size_t bytes, size_t *used)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    balloon_hyperv_message m;

    memset(&m, 0, sizeof(m));
    m.type = (uint16_t)next_control(d);
    if (m.type == BALLOON_HYPERV_ERROR)
        return BALLOON_ERR_STATE;
    fill_control(d, &m);
    if (encode(d, &m, buffer, bytes, used) != BALLOON_OK)
        return BALLOON_ERR_NOSPACE;
    h->told = false;
    switch (m.type) {
    case BALLOON_HYPERV_BALLOON_RESPONSE:
        end_request(d);
        break;
    case BALLOON_HYPERV_UNBALLOON_RESPONSE:
        h->returned = false;
        break;
    case BALLOON_HYPERV_HOT_ADD_RESPONSE:
        h->plug = PLUG_NONE;
        break;
    default:
        h->greet = false;
        break;
    }
    return BALLOON_OK;
}

static balloon_status write_report(balloon_driver *d, void *buffer, size_t bytes, size_t *used)
{
    struct hyperv_driver_state *h = hyperv_state(d);
    balloon_hyperv_message m;

    if (!h->report_due)
        return BALLOON_ERR_STATE;
    memset(&m, 0, sizeof(m));
    m.type = BALLOON_HYPERV_STATUS_REPORT;
    m.body.status.available = h->available;
    m.body.status.committed = h->committed;
    if (encode(d, &m, buffer, bytes, used) != BALLOON_OK)
        return BALLOON_ERR_NOSPACE;
    h->report_due = h->report_told = false;
    return BALLOON_OK;
}

/* What was written is the host's: it gives no answer. */
static balloon_status write_pages(balloon_driver *d, uint8_t *buffer, size_t bytes,
                                  balloon_time_t now, size_t *used)
{
    uint8_t *packed = buffer + BALLOON_HYPERV_RANGES_OFFSET;
    balloon_hyperv_message m;
    const balloon_range *runs;
    uint32_t count, unit;
    bool last;

    if (bl_driver_outgoing(d, &runs, &count, &unit) != OP_INFLATE)
        return BALLOON_ERR_STATE;
    *used = BALLOON_HYPERV_RANGES_OFFSET + (size_t)count * BALLOON_HYPERV_RANGE_BYTES;
    if (bytes < *used)
        return BALLOON_ERR_NOSPACE;
    last = d->run_count == d->slice && no_more(d);
    memset(&m, 0, sizeof(m));
    m.type = BALLOON_HYPERV_BALLOON_RESPONSE;
    m.body.ranges.packed = packed;
    m.body.ranges.more = !last;
    for (uint32_t i = 0; i < count; i++) {
        balloon_range run = runs[i];

        (void)!balloon_hyperv_pack(&run, packed, &m.body.ranges.count, count);
    }
    (void)encode(d, &m, buffer, bytes, used);
    bl_driver_accept_all(d, now);
    if (last)
        end_request(d);
    return BALLOON_OK;
}

balloon_status balloon_hyperv_driver_write(balloon_driver *d, balloon_driver_channel channel,
                                           void *buffer, size_t bytes, balloon_time_t now,
                                           size_t *used)
{
    if (d->binding != &binding)
        return BALLOON_ERR_STATE;
    switch (channel) {
    case BALLOON_CHANNEL_CONTROL:
        return write_control(d, buffer, bytes, used);
    case BALLOON_CHANNEL_STATS:
        return write_report(d, buffer, bytes, used);
    case BALLOON_CHANNEL_INFLATE:
        return write_pages(d, buffer, bytes, now, used);
    default:
        return BALLOON_ERR_STATE;
    }
}
