/* The Xen binding of the device: its life, its saved form, and the hypercalls of the guest. */
#include <string.h>

#include "../core/tracker_saved_p.h"
#include "xen_device_p.h"

/* Page numbers that are read at a time. */
#define CHUNK 256u

#define DEFAULT_DOMAIN 1u
#define STATIC_MAX_END (UINT64_C(1) << 62)
#define EXTRA_PAGES    (BALLOON_XEN_MAXMEM_EXTRA_KIB >> (BALLOON_PAGE_SHIFT - 10))

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- the session ------------------------------------------------------------------------------ */

void bl_xen_attach(balloon_device *d, balloon_time_t now)
{
    if (d->driver)
        return;
    d->chosen = BALLOON_F_MUST_TELL;
    bl_device_attach(d, now);
}

static void forget_session(balloon_device *d)
{
    const struct xen_device_state old = *xen_state(d);
    struct xen_device_state *x = xen_state(d);

    memset(x, 0, sizeof(*x));
    x->static_max = old.static_max;
    x->booted = old.booted;
    x->max_order = old.max_order;
    x->domain = old.domain;
    x->layout = old.layout;
    x->enforce = old.enforce;
}

static bool must_send(const struct xen_device_state *x)
{
    return !x->told && (x->answer != XEN_ANSWER_NONE || x->event);
}

/* A new target is an event for who watches; others see it when they read it. */
static bool poll(balloon_device *d, balloon_time_t now, balloon_action *action)
{
    (void)now;
    xen_state(d)->event |= d->tell_config && xen_state(d)->watched;
    d->tell_config = false;
    if (!must_send(xen_state(d)))
        return false;
    xen_state(d)->told = true;
    action->type = BALLOON_ACTION_SEND;
    return true;
}

static balloon_time_t deadline(const balloon_device *d)
{
    return must_send(xen_const(d)) ? 0 : BALLOON_TIME_NEVER;
}

/* --- the saved form --------------------------------------------------------------------------- */

enum {
    SAVED_STATIC_MAX = 0,
    SAVED_DOMAIN = 8,
    SAVED_LAYOUT = 10,
    SAVED_MAX_ORDER = 11,
    SAVED_ANSWER = 12,
    SAVED_TYPE = 13,
    SAVED_KEY = 14,
    SAVED_ERROR = 15,
    SAVED_ID = 16,
    SAVED_TRANSACTION = 20,
    SAVED_FLAGS = 24,
    SAVED_TOKEN_BYTES = 25,
    SAVED_TOKEN = 26,
    SAVED_BEYOND = SAVED_TOKEN + BALLOON_XEN_TOKEN_BYTES_MAX,
    SAVED_END = SAVED_BEYOND + 6
};

enum {
    FLAG_WATCHED = 1,
    FLAG_EVENT = 2,
    FLAG_ABSOLUTE = 4,
    FLAG_FEATURE = 8,
    FLAG_HAVE_ACTIVE = 16,
    FLAG_ACTIVE = 32,
    FLAG_ENFORCE = 64,
    FLAG_ASIDE = 128
};

static void put(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | from[i];
    return value;
}

static void save_config(const struct xen_device_state *x, uint8_t *saved)
{
    put(saved + SAVED_STATIC_MAX, x->static_max, 8);
    put(saved + SAVED_DOMAIN, x->domain, 2);
    put(saved + SAVED_LAYOUT, x->layout, 1);
    put(saved + SAVED_MAX_ORDER, x->max_order, 1);
}

static void save(const balloon_device *d, balloon_time_t now, uint8_t saved[SAVED_BINDING_BYTES])
{
    const struct xen_device_state *x = xen_const(d);
    unsigned flags = (x->watched ? FLAG_WATCHED : 0u) | (x->event ? FLAG_EVENT : 0u) |
                     (x->absolute ? FLAG_ABSOLUTE : 0u) | (x->feature ? FLAG_FEATURE : 0u) |
                     (x->have_active ? FLAG_HAVE_ACTIVE : 0u) | (x->active ? FLAG_ACTIVE : 0u) |
                     (x->enforce ? FLAG_ENFORCE : 0u) |
                     (x->aside && x->aside_of == d->target ? FLAG_ASIDE : 0u);

    (void)now;
    save_config(x, saved);
    if (x->answer != XEN_ANSWER_NONE) {
        put(saved + SAVED_ANSWER, x->answer, 1);
        put(saved + SAVED_TYPE, x->type, 1);
        put(saved + SAVED_KEY, x->key, 1);
        put(saved + SAVED_ERROR, x->error, 1);
        put(saved + SAVED_ID, x->id, 4);
        put(saved + SAVED_TRANSACTION, x->transaction, 4);
    }
    put(saved + SAVED_FLAGS, flags, 1);
    put(saved + SAVED_TOKEN_BYTES, x->token_bytes, 1);
    memcpy(saved + SAVED_TOKEN, x->token, sizeof(x->token));
    put(saved + SAVED_BEYOND, x->beyond, 6);
}

static bool answer_sound(const struct xen_device_state *x)
{
    const bool error = balloon_xen_error_name(x->error) != NULL;

    switch (x->answer) {
    case XEN_ANSWER_NONE:
        return !x->type && !x->key && !x->error && !x->id && !x->transaction;
    case XEN_ANSWER_OKAY:
        return !x->error && x->key < BALLOON_XEN_KEYS &&
               (x->type == BALLOON_XEN_WATCH || x->type == BALLOON_XEN_UNWATCH ||
                x->type == BALLOON_XEN_WRITE || x->type == BALLOON_XEN_RM);
    case XEN_ANSWER_VALUE:
        return !x->error && x->key < BALLOON_XEN_KEYS && x->type == BALLOON_XEN_READ;
    case XEN_ANSWER_ERROR:
        /* Not those that only hypercalls return: the store has no words for them. */
        return error && x->error != BALLOON_XEN_ESRCH && x->error != BALLOON_XEN_EFAULT &&
               x->error != BALLOON_XEN_EOPNOTSUPP;
    default:
        return false;
    }
}

static bool watch_sound(const balloon_device *d)
{
    const struct xen_device_state *x = xen_const(d);
    uint8_t rest = 0;

    if (x->token_bytes > sizeof(x->token))
        return false;
    for (unsigned i = 0; i < sizeof(x->token); i++) {
        if (i < x->token_bytes && !x->token[i])
            return false;
        rest |= i < x->token_bytes ? 0 : x->token[i];
    }
    return !rest && (x->watched ? d->driver : !x->event && !x->absolute && !x->token_bytes);
}

static bool load(balloon_device *d, balloon_time_t now, const uint8_t saved[SAVED_BINDING_BYTES])
{
    struct xen_device_state *x = xen_state(d);
    uint8_t config[SAVED_ANSWER];
    unsigned flags = saved[SAVED_FLAGS];
    uint64_t pages = balloon_tracker_pages(d->tracker);

    (void)now;
    save_config(x, config);
    forget_session(d);
    x->answer = (enum xen_answer)saved[SAVED_ANSWER];
    x->type = (balloon_xen_message_type)saved[SAVED_TYPE];
    x->key = (balloon_xen_key)saved[SAVED_KEY];
    x->error = (balloon_xen_error)saved[SAVED_ERROR];
    x->id = (uint32_t)get(saved + SAVED_ID, 4);
    x->transaction = (uint32_t)get(saved + SAVED_TRANSACTION, 4);
    x->watched = flags & FLAG_WATCHED;
    x->event = flags & FLAG_EVENT;
    x->absolute = flags & FLAG_ABSOLUTE;
    x->feature = flags & FLAG_FEATURE;
    x->have_active = flags & FLAG_HAVE_ACTIVE;
    x->active = flags & FLAG_ACTIVE;
    x->aside = flags & FLAG_ASIDE;
    x->aside_of = (uint32_t)d->target;
    x->token_bytes = saved[SAVED_TOKEN_BYTES];
    memcpy(x->token, saved + SAVED_TOKEN, sizeof(x->token));
    x->beyond = get(saved + SAVED_BEYOND, 6);
    if (x->beyond > pages)
        return false;
    x->booted = lesser(pages - x->beyond, x->static_max);
    return (d->driver || !x->beyond) && memcmp(saved, config, sizeof(config)) == 0 &&
           (d->driver || !x->aside) && x->enforce == ((flags & FLAG_ENFORCE) != 0) &&
           (x->have_active || !x->active) && d->chosen == (d->driver ? BALLOON_F_MUST_TELL : 0) &&
           answer_sound(x) && watch_sound(d);
}

/* A driver that sleeps is woken by another number only, so it sees one beside the target, and the
 * target itself the next time. */
static void nudge(balloon_device *d)
{
    struct xen_device_state *x = xen_state(d);

    x->aside = x->aside_of != d->target || !x->aside;
    x->aside_of = (uint32_t)d->target;
    d->tell_config = true;
}

_Static_assert(SAVED_END == SAVED_BINDING_BYTES, "all of it is in use");

/* RAM that was plugged in for a guest that runs, as far as is known. */
static uint64_t room_beyond(const balloon_device *d)
{
    uint64_t pages = balloon_tracker_pages(d->tracker);

    return pages > xen_const(d)->booted ? pages - xen_const(d)->booted : 0;
}

/* What is declared before the guest has seen a target is part of static-max, later on top of it. */
static void declared(balloon_device *d, uint64_t pages)
{
    struct xen_device_state *x = xen_state(d);

    if (d->driver)
        x->beyond = lesser(x->beyond + pages, room_beyond(d));
}

/* A guest is not offered what is gone. */
static void unplugged(balloon_device *d)
{
    struct xen_device_state *x = xen_state(d);
    uint64_t room = room_beyond(d);

    if (x->beyond <= room)
        return;
    x->beyond = room;
    d->tell_config = d->driver;
}

static const struct device_binding xen = {
    .number = 3,
    .wide = true,
    .starts_out = true,
    .poll = poll,
    .deadline = deadline,
    .nudge = nudge,
    .reset = forget_session,
    .declared = declared,
    .unplugged = unplugged,
    .save = save,
    .load = load,
};

bool bl_xen_bound(const balloon_device *d)
{
    return d->binding == &xen;
}

balloon_status balloon_xen_configure(balloon_device *d, const balloon_xen_options *options)
{
    uint64_t static_max = balloon_tracker_pages(d->tracker);
    struct xen_device_state *x = xen_state(d);

    if (!bl_sized(options, sizeof(*options)))
        return BALLOON_ERR_INVALID;
    if (options->static_max)
        static_max = options->static_max;
    if (!static_max || static_max >= STATIC_MAX_END ||
        options->max_order > BALLOON_XEN_ORDER_CONTROL ||
        options->domain >= BALLOON_XEN_DOMAIN_RESERVED ||
        (unsigned)options->layout > BALLOON_XEN_32 || !(d->offered & BALLOON_F_MUST_TELL))
        return BALLOON_ERR_INVALID;
    if (d->driver)
        return BALLOON_ERR_STATE;
    bl_device_bind(d, &xen);
    x->static_max = static_max;
    x->booted = lesser(balloon_tracker_pages(d->tracker), static_max);
    x->max_order = options->max_order ? options->max_order : BALLOON_XEN_ORDER_GUEST;
    x->domain = options->domain ? options->domain : DEFAULT_DOMAIN;
    x->layout = options->layout;
    x->enforce = options->enforce;
    forget_session(d);
    return BALLOON_OK;
}

/* --- hypercalls ------------------------------------------------------------------------------- */

static uint64_t current_pages(const balloon_device *d)
{
    return balloon_tracker_pages(d->tracker) - balloon_tracker_held(d->tracker);
}

/* The most pages that the guest may have. */
static uint64_t maximum_pages(const balloon_device *d)
{
    uint64_t pages = balloon_tracker_pages(d->tracker);
    uint64_t kept = d->target > EXTRA_PAGES ? d->target - EXTRA_PAGES : 0;

    return xen_const(d)->enforce && kept < pages ? pages - kept : pages;
}

/* Pages that stay where they are, and shows whether a sane guest would have asked. */
static bool refuse(balloon_device *d, bool inflate, balloon_range range)
{
    uint64_t held = balloon_tracker_count(d->tracker, BALLOON_SET_HELD, range);
    uint64_t free_pages = balloon_tracker_count(d->tracker, BALLOON_SET_FREE, range);
    uint64_t outside = range.count - held - free_pages;

    if (inflate) {
        d->count.inflate_duplicate += held;
        d->count.inflate_outside += outside;
        return false;
    }
    d->count.deflate_unheld += free_pages;
    d->count.deflate_outside += outside;
    return held == range.count;
}

static bool move_range(balloon_device *d, bool inflate, balloon_range range, balloon_time_t now)
{
    balloon_set from = inflate ? BALLOON_SET_FREE : BALLOON_SET_HELD;

    if (balloon_tracker_count(d->tracker, from, range) != range.count)
        return false;
    if (inflate) {
        bl_xen_attach(d, now);
        (void)bl_device_inflate_range(d, range, now);
        return true;
    }
    if (current_pages(d) + range.count > maximum_pages(d))
        return false;
    (void)bl_device_deflate_range(d, range);
    return true;
}

/* Extents that follow each other in the list and in memory. Returns how many were done. Xen takes
 * the pages of an extent one by one and leaves one that fails half done without saying so; here an
 * extent is done or not, so that what the guest is told is true. */
static size_t move_run(balloon_device *d, bool inflate, balloon_range extent, size_t count,
                       bool *sane, balloon_time_t now)
{
    balloon_range all = {extent.first, extent.count * count};

    if (move_range(d, inflate, all, now))
        return count;
    for (size_t done = 0;; done++, extent.first += extent.count) {
        if (count > 1 && move_range(d, inflate, extent, now))
            continue;
        *sane = refuse(d, inflate, extent);
        return done;
    }
}

/* Single pages that can go, up to the first that needs a look. Returns how many. */
static size_t move_pages(balloon_device *d, bool inflate, const balloon_pfn_t *pfns, size_t n,
                         balloon_time_t now)
{
    uint64_t has = current_pages(d), most = maximum_pages(d), room = most > has ? most - has : 0;
    uint32_t numbers[CHUNK];
    bool held;

    if (bl_tracker_narrow(pfns, n, 0, 0, numbers).any > UINT32_MAX)
        return 0;
    if (!inflate)
        return bl_device_deflate_in_order(d, numbers, n < room ? n : (size_t)room);
    if (!bl_tracker_has(d->tracker, pfns[0], &held) || held)
        return 0;
    bl_xen_attach(d, now);
    return bl_device_inflate_in_order(d, numbers, n, now);
}

static uint64_t move_extents(balloon_device *d, bool inflate, balloon_xen_frames *frames,
                             uint32_t order, bool *sane, balloon_time_t now)
{
    balloon_pfn_t pfns[CHUNK];
    uint64_t done = 0;

    for (size_t n; (n = balloon_xen_read_frames(frames, pfns, CHUNK)) > 0;) {
        size_t i = order ? 0 : move_pages(d, inflate, pfns, n, now);

        done += i;
        for (size_t count, moved; i < n; i += count) {
            balloon_range extent;

            *sane = balloon_xen_extent_range(pfns[i], order, &extent) == BALLOON_OK;
            if (!*sane)
                return done;
            for (count = 1;
                 i + count < n && pfns[i + count] == extent.first + count * extent.count;)
                count++;
            moved = move_run(d, inflate, extent, count, sane, now);
            done += moved;
            if (moved < count)
                return done;
        }
    }
    /* The list is as long as the guest said. */
    *sane = !frames->left;
    return done;
}

static bool is_guest(const balloon_device *d, uint16_t domain)
{
    return domain == BALLOON_XEN_DOMAIN_SELF || domain == xen_const(d)->domain;
}

static int64_t move(balloon_device *d, balloon_xen_op op, balloon_xen_reservation reservation,
                    const balloon_iov *list, size_t pieces, bool *sane, balloon_time_t now)
{
    balloon_xen_frames frames;
    uint64_t done;

    /* To the guest there is no other domain. */
    *sane = is_guest(d, reservation.domain);
    reservation.domain = BALLOON_XEN_DOMAIN_SELF;
    if (!*sane ||
        balloon_xen_check_reservation(op, &reservation, xen_state(d)->max_order) != BALLOON_OK) {
        *sane = false;
        return 0;
    }
    d->count.buffers++;
    d->count.acks++;
    balloon_xen_frames_init(&frames, list, pieces, reservation.extents, xen_state(d)->layout);
    done = move_extents(d, op == BALLOON_XEN_DECREASE_RESERVATION, &frames, reservation.order, sane,
                        now);
    bl_device_set_actual(d, balloon_tracker_held(d->tracker));
    return (int64_t)done;
}

balloon_status balloon_xen_memory_op(balloon_device *d, uint64_t command,
                                     const balloon_xen_reservation *reservation,
                                     const balloon_iov *list, size_t pieces, int64_t *result,
                                     balloon_time_t now)
{
    uint64_t start;
    unsigned op = balloon_xen_read_command(command, &start);
    bool sane;

    if (!bl_xen_bound(d))
        return BALLOON_ERR_STATE;
    switch (op) {
    case BALLOON_XEN_DECREASE_RESERVATION:
    case BALLOON_XEN_POPULATE_PHYSMAP:
        /* Only Xen itself begins in the middle. */
        sane = !start;
        *result = (int64_t)start;
        if (sane)
            *result = move(d, (balloon_xen_op)op, *reservation, list, pieces, &sane, now);
        break;
    case BALLOON_XEN_CURRENT_RESERVATION:
    case BALLOON_XEN_MAXIMUM_RESERVATION:
        sane = !start && is_guest(d, reservation->domain);
        if (!sane)
            *result = start ? -(int64_t)BALLOON_XEN_EINVAL : -(int64_t)BALLOON_XEN_ESRCH;
        else
            *result = (int64_t)(op == BALLOON_XEN_CURRENT_RESERVATION ? current_pages(d)
                                                                      : maximum_pages(d));
        break;
    default:
        return BALLOON_ERR_UNSUPPORTED;
    }
    if (sane)
        return BALLOON_OK;
    d->count.protocol_errors++;
    return BALLOON_ERR_PROTOCOL;
}
