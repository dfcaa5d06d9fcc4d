/* The Xen binding of the driver: requests to xenstore and its answers, lists of pages and the
 * results of hypercalls. */
#include <string.h>

#include <balloon/xen.h>

#include "../driver/driver_p.h"

#define DEFAULT_EXTENTS 512u
#define LARGE_ORDER     9u
#define CHUNK           64u

/* The watch, and the target, is tried again after 1, 2, 4 .. 32 s. */
#define RETRY        UINT64_C(1000000000)
#define RETRY_DOUBLE 5u

#define TOKEN       BALLOON_XEN_DRIVER_TOKEN
#define TOKEN_BYTES (sizeof(TOKEN) - 1)

/* Requests of the driver, in the order that they are made in. */
enum xen_request {
    XEN_REQUEST_WATCH = 0,
    XEN_REQUEST_FEATURE = 1,
    XEN_REQUEST_STATIC_MAX = 2,
    XEN_REQUEST_OLD_STATIC_MAX = 3,
    XEN_REQUEST_TARGET = 4,
    XEN_REQUESTS = 5
};

struct xen_driver_state {
    /* As opened. */
    balloon_xen_layout layout;
    uint32_t first_id;
    bool pv;

    unsigned due;             /* requests to make, a bit for each */
    enum xen_request request; /* the one that is told, or sent */
    bool told, sent;
    bool watched, have_target, have_static_max;
    uint8_t serial;   /* of the last request */
    uint8_t failures; /* of the watch or of reading the target, in a row */
    uint64_t target, static_max;
    uint64_t booted; /* of the RAM when static-max was read, the pages that it counts */
    uint64_t beyond; /* pages declared out since static-max was read: it has no room for them */
    balloon_time_t retry_at; /* after a failure: neither of them before */
};

_Static_assert(sizeof(struct xen_driver_state) <= DRIVER_ROOM_BYTES, "xen has room");

static struct xen_driver_state *xen_state(balloon_driver *d)
{
    return (struct xen_driver_state *)(void *)d->room;
}

static const struct xen_driver_state *xen_const(const balloon_driver *d)
{
    return (const struct xen_driver_state *)(const void *)d->room;
}

/* --- what to ask the store -------------------------------------------------------------------- */

static const struct {
    balloon_xen_message_type type;
    balloon_xen_key key;
} requests[XEN_REQUESTS] = {
    [XEN_REQUEST_WATCH] = {BALLOON_XEN_WATCH, BALLOON_XEN_KEY_TARGET},
    [XEN_REQUEST_FEATURE] = {BALLOON_XEN_WRITE, BALLOON_XEN_KEY_FEATURE_BALLOON},
    [XEN_REQUEST_STATIC_MAX] = {BALLOON_XEN_READ, BALLOON_XEN_KEY_STATIC_MAX},
    [XEN_REQUEST_OLD_STATIC_MAX] = {BALLOON_XEN_READ, BALLOON_XEN_KEY_OLD_STATIC_MAX},
    [XEN_REQUEST_TARGET] = {BALLOON_XEN_READ, BALLOON_XEN_KEY_TARGET},
};

static void need(struct xen_driver_state *x, enum xen_request request)
{
    x->due |= 1u << request;
}

/* The next request to make, or XEN_REQUESTS; and from when on. */
static enum xen_request next_request(const struct xen_driver_state *x, balloon_time_t *at)
{
    unsigned request = 0;

    *at = 0;
    while (request < XEN_REQUESTS && !(x->due >> request & 1))
        request++;
    if (request == XEN_REQUEST_WATCH || request == XEN_REQUEST_TARGET)
        *at = x->retry_at;
    return (enum xen_request)request;
}

static bool poll(balloon_driver *d, balloon_time_t now, balloon_driver_action *action)
{
    struct xen_driver_state *x = xen_state(d);
    balloon_time_t at;
    enum xen_request request = next_request(x, &at);

    if (x->told || x->sent || request == XEN_REQUESTS || now < at)
        return false;
    x->request = request;
    x->told = true;
    x->due &= ~(1u << request);
    d->count.messages++;
    action->type = BALLOON_DRIVER_SEND;
    action->channel = BALLOON_CHANNEL_CONTROL;
    action->bytes = BALLOON_XEN_SEND_BYTES;
    return true;
}

static balloon_time_t deadline(const balloon_driver *d)
{
    balloon_time_t at;
    enum xen_request request = next_request(xen_const(d), &at);

    return xen_const(d)->told || xen_const(d)->sent || request == XEN_REQUESTS ? BALLOON_TIME_NEVER
                                                                               : at;
}

static void reset(balloon_driver *d)
{
    memset(xen_state(d), 0, sizeof(*xen_state(d)));
}

/* The balloon that makes the guest as large as the host wants it. What lies between static-max and
 * the size that the guest sees, such as video RAM, it cannot give. */
static uint64_t most(const balloon_driver *d)
{
    const struct xen_driver_state *x = xen_const(d);

    return x->pv ? d->total : x->static_max + x->beyond;
}

static void apply_target(balloon_driver *d)
{
    const struct xen_driver_state *x = xen_const(d);

    if (x->have_target)
        bl_driver_set_target(d, x->target < most(d) ? most(d) - x->target : 0);
}

/* Pages that were out from the start are part of static-max, and those that are gone of nothing. */
static void resized(balloon_driver *d)
{
    struct xen_driver_state *x = xen_state(d);
    uint64_t room = d->total > x->booted ? d->total - x->booted : 0;

    if (x->beyond > room)
        x->beyond = room;
    apply_target(d);
}

static void declared(balloon_driver *d, uint64_t pages)
{
    if (xen_const(d)->have_static_max)
        xen_state(d)->beyond += pages;
    resized(d);
}

static const struct driver_binding xen = {
    .poll = poll,
    .deadline = deadline,
    .reset = reset,
    .resized = resized,
    .declared = declared,
};

balloon_status balloon_xen_driver_write(balloon_driver *d, void *buffer, size_t bytes, size_t *used)
{
    struct xen_driver_state *x = xen_state(d);
    balloon_xen_message message;
    const char *path;

    if (d->binding != &xen || !x->told)
        return BALLOON_ERR_STATE;
    memset(&message, 0, sizeof(message));
    path = balloon_xen_key_path(requests[x->request].key);
    message.header.type = requests[x->request].type;
    message.header.id = x->first_id + (uint8_t)(x->serial + 1);
    message.path.base = path;
    while (path[message.path.bytes])
        message.path.bytes++;
    if (x->request == XEN_REQUEST_WATCH)
        message.token = (balloon_iov){TOKEN, TOKEN_BYTES};
    if (x->request == XEN_REQUEST_FEATURE)
        message.value = (balloon_iov){"1", 1};
    *used = balloon_xen_write_request(&message, buffer, bytes);
    if (*used > bytes)
        return BALLOON_ERR_NOSPACE;
    x->serial++;
    x->told = false;
    x->sent = true;
    return BALLOON_OK;
}

/* --- what the store says ---------------------------------------------------------------------- */

static void need_later(struct xen_driver_state *x, enum xen_request request, balloon_time_t now)
{
    need(x, request);
    x->retry_at = driver_time_after(now, RETRY << x->failures);
    if (x->failures < RETRY_DOUBLE)
        x->failures++;
}

static bool take_watch(balloon_driver *d, const balloon_xen_message *reply, balloon_time_t now)
{
    struct xen_driver_state *x = xen_state(d);
    bool there = reply->header.type == BALLOON_XEN_WATCH || reply->error == BALLOON_XEN_EEXIST;

    x->watched = there;
    if (there) {
        x->failures = 0;
        need(x, XEN_REQUEST_TARGET);
        return true;
    }
    need_later(x, XEN_REQUEST_WATCH, now);
    return false;
}

/* Returns whether the store has said a size, or that there is none. */
static bool take_size(const balloon_xen_message *reply, bool *have, uint64_t *pages)
{
    *have = false;
    if (reply->header.type == BALLOON_XEN_ERROR)
        return reply->error == BALLOON_XEN_ENOENT;
    *have = balloon_xen_read_size(reply->value.base, reply->value.bytes, pages) == BALLOON_OK;
    return *have;
}

static void note_booted(balloon_driver *d)
{
    struct xen_driver_state *x = xen_state(d);

    x->booted = d->total < x->static_max ? d->total : x->static_max;
}

static bool take_reply(balloon_driver *d, const balloon_xen_message *reply, balloon_time_t now)
{
    struct xen_driver_state *x = xen_state(d);
    bool sane, have;

    switch (x->request) {
    case XEN_REQUEST_WATCH:
        return take_watch(d, reply, now);
    case XEN_REQUEST_FEATURE:
        return true;
    case XEN_REQUEST_STATIC_MAX:
    case XEN_REQUEST_OLD_STATIC_MAX:
        sane = take_size(reply, &x->have_static_max, &x->static_max);
        note_booted(d);
        if (!x->have_static_max && x->request == XEN_REQUEST_STATIC_MAX)
            need(x, XEN_REQUEST_OLD_STATIC_MAX);
        return sane;
    default:
        sane = take_size(reply, &have, &x->target);
        /* No event comes for what has changed already. */
        if (sane)
            x->failures = 0;
        else
            need_later(x, XEN_REQUEST_TARGET, now);
        if (!have)
            return sane;
        if (!x->have_static_max && !x->pv) {
            x->static_max = x->target;
            note_booted(d);
            x->have_static_max = true;
        }
        x->have_target = true;
        apply_target(d);
        return true;
    }
}

/* The request has failed in a way that no store should let it. */
static void give_up(balloon_driver *d, balloon_time_t now)
{
    balloon_xen_message none;

    memset(&none, 0, sizeof(none));
    none.header.type = BALLOON_XEN_ERROR;
    none.error = BALLOON_XEN_EIO;
    (void)take_reply(d, &none, now);
}

static bool is_our_token(balloon_iov token)
{
    return token.bytes == TOKEN_BYTES && memcmp(token.base, TOKEN, TOKEN_BYTES) == 0;
}

balloon_status balloon_xen_driver_receive(balloon_driver *d, const void *bytes, size_t size,
                                          balloon_time_t now)
{
    struct xen_driver_state *x = xen_state(d);
    balloon_xen_message message;
    balloon_xen_header header;
    bool sane;

    if (d->binding != &xen)
        return BALLOON_ERR_STATE;
    sane = balloon_xen_read_reply(bytes, size, &message) == BALLOON_OK;
    if (sane && message.header.type == BALLOON_XEN_WATCH_EVENT) {
        if (!is_our_token(message.token))
            return BALLOON_ERR_UNSUPPORTED;
        /* Also while it is being read: it can have changed since. */
        need(x, XEN_REQUEST_TARGET);
        if (x->watched)
            x->retry_at = 0;
        return BALLOON_OK;
    }
    if (balloon_xen_read_header(bytes, size, &header) != BALLOON_OK ||
        header.id - x->first_id >= BALLOON_XEN_DRIVER_IDS)
        return BALLOON_ERR_UNSUPPORTED;
    if (!x->sent || header.id != x->first_id + x->serial) {
        d->count.answers_unasked++;
        return BALLOON_ERR_PROTOCOL;
    }
    x->sent = false;
    if (sane && header.type != BALLOON_XEN_ERROR && header.type != requests[x->request].type)
        sane = false;
    if (sane)
        sane = take_reply(d, &message, now);
    else
        give_up(d, now);
    if (sane)
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}

/* --- hypercalls ------------------------------------------------------------------------------- */

static uint32_t order_of(uint32_t unit)
{
    uint32_t order = 0;

    while (unit >> order > 1)
        order++;
    return order;
}

/* The message that was told: its extents, of one order. */
static enum driver_op outgoing(const balloon_driver *d, const balloon_range **runs, uint32_t *count,
                               uint32_t *order, uint64_t *extents)
{
    uint32_t unit = 1;
    enum driver_op op = OP_NONE;

    if (d->binding == &xen)
        op = bl_driver_outgoing(d, runs, count, &unit);
    *order = order_of(unit);
    *extents = 0;
    for (uint32_t i = 0; op != OP_NONE && i < *count; i++)
        *extents += (*runs)[i].count >> *order;
    return op;
}

static void write_list(const balloon_range *runs, uint32_t count, uint32_t order,
                       balloon_xen_layout layout, uint8_t *to, size_t bytes)
{
    balloon_pfn_t pfns[CHUNK];
    size_t n = 0, used = 0;

    for (uint32_t i = 0; i < count; i++) {
        for (uint64_t page = 0; page < runs[i].count; page += UINT64_C(1) << order) {
            pfns[n++] = runs[i].first + page;
            if (n == CHUNK) {
                used += balloon_xen_write_frames(pfns, n, layout, to + used, bytes - used);
                n = 0;
            }
        }
    }
    (void)balloon_xen_write_frames(pfns, n, layout, to + used, bytes - used);
}

balloon_status balloon_xen_driver_reservation(balloon_driver *d, void *list, size_t bytes,
                                              uint64_t address, uint32_t *command,
                                              balloon_xen_reservation *reservation)
{
    const balloon_range *runs;
    uint32_t count, order;
    uint64_t extents;
    enum driver_op op = outgoing(d, &runs, &count, &order, &extents);
    bool narrow = xen_state(d)->layout == BALLOON_XEN_32;

    if (op == OP_NONE)
        return BALLOON_ERR_STATE;
    if (narrow && address > UINT32_MAX)
        return BALLOON_ERR_INVALID;
    if (extents > bytes >> (narrow ? 2 : 3))
        return BALLOON_ERR_NOSPACE;
    write_list(runs, count, order, xen_state(d)->layout, list, bytes);
    *command = balloon_xen_write_command(
        op == OP_INFLATE ? BALLOON_XEN_DECREASE_RESERVATION : BALLOON_XEN_POPULATE_PHYSMAP, 0);
    memset(reservation, 0, sizeof(*reservation));
    reservation->list = address;
    reservation->extents = extents;
    reservation->order = order;
    reservation->domain = BALLOON_XEN_DOMAIN_SELF;
    return BALLOON_OK;
}

balloon_status balloon_xen_driver_result(balloon_driver *d, int64_t result, balloon_time_t now)
{
    const balloon_range *runs;
    uint32_t count, order;
    uint64_t extents, done;

    if (outgoing(d, &runs, &count, &order, &extents) == OP_NONE) {
        d->count.answers_unasked++;
        return BALLOON_ERR_STATE;
    }
    done = balloon_xen_extents_done(result, extents);
    bl_driver_accept(d, done << order);
    bl_driver_answered(d, done < extents, now);
    if (result <= 0 || (uint64_t)result <= extents)
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}

/* --- the session ------------------------------------------------------------------------------ */

balloon_status balloon_xen_driver_open(balloon_driver *d, const balloon_xen_driver_options *options)
{
    static const balloon_xen_driver_options by_default = {.size = sizeof(by_default)};
    struct driver_traits traits = {.chunk_pages = driver_chunk(d, LARGE_PAGES),
                                   .may_deflate = true,
                                   .may_oom = true,
                                   .in_units = true};
    struct xen_driver_state *x = xen_state(d);
    bool narrow;

    options = options ? options : &by_default;
    if (!bl_sized(options, sizeof(*options)) || (unsigned)options->layout > BALLOON_XEN_32 ||
        options->extents > BALLOON_XEN_EXTENTS_MAX ||
        options->first_id > UINT32_MAX - (BALLOON_XEN_DRIVER_IDS - 1))
        return BALLOON_ERR_INVALID;
    if (d->binding)
        return BALLOON_ERR_STATE;
    if (bl_driver_back_due(d))
        return BALLOON_ERR_BUSY;
    narrow = options->layout == BALLOON_XEN_32;
    traits.message_runs = options->extents ? options->extents : DEFAULT_EXTENTS;
    traits.message_bytes =
        (traits.message_runs < traits.chunk_pages ? traits.message_runs : traits.chunk_pages) *
        (narrow ? 4 : 8);
    traits.pfn_end = narrow ? UINT64_C(1) << 32 : 0;
    traits.no_large = options->no_large;
    memset(x, 0, sizeof(*x));
    x->layout = options->layout;
    x->first_id = options->first_id;
    x->pv = options->pv;
    need(x, XEN_REQUEST_WATCH);
    if (options->feature)
        need(x, XEN_REQUEST_FEATURE);
    if (!x->pv)
        need(x, XEN_REQUEST_STATIC_MAX);
    bl_driver_attach(d, &xen, &traits);
    return BALLOON_OK;
}

balloon_status balloon_xen_driver_resume(balloon_driver *d)
{
    struct xen_driver_state *x = xen_state(d);

    if (d->binding != &xen)
        return BALLOON_ERR_STATE;
    /* What was not answered is asked again, but the store may have heard that it can balloon. */
    if (x->told || x->sent)
        need(x, x->request);
    x->told = x->sent = x->watched = false;
    x->retry_at = 0;
    x->failures = 0;
    need(x, XEN_REQUEST_WATCH);
    return BALLOON_OK;
}

void balloon_xen_driver_session_get(const balloon_driver *d, balloon_xen_driver_session *session)
{
    memset(session, 0, sizeof(*session));
    if (d->binding != &xen)
        return;
    session->watched = xen_const(d)->watched;
    session->have_target = xen_const(d)->have_target;
    session->target = xen_const(d)->target;
    session->static_max = xen_const(d)->static_max;
    if (session->have_target && session->target > most(d))
        session->beyond = session->target - most(d);
}
