/* The pool's life: memory, guests that come and go, sums, answers. */
#include <string.h>

#include "pool_p.h"

#define DEFAULT_SHARES   1000u
#define SHARES_MAX       10000u
#define STATE_BYTES_MAX  4096u
#define GUEST_BYTES_MAX  1024u
#define SCRATCH_MAX      128u
#define DEFAULT_STALE    (15 * SECOND)
#define DEFAULT_BOOT     (10 * SECOND)
#define DEFAULT_INACTIVE (5 * SECOND)
#define DEFAULT_RETRY    (30 * SECOND)

/* A grace begins no sooner after the last one than so many times its length. */
#define GRACES_APART 6

/* Everything in one piece of memory: offsets of the parts. Each part begins aligned for anything.
 */
struct parts {
    size_t state, guests, curves, guest_states, ids, slots, views, wishes, ranks, spare_ranks,
        scratch, changed, bytes, stride;
};

static uint64_t aligned(uint64_t bytes)
{
    const uint64_t align = alignof(max_align_t);

    return (bytes + align - 1) & ~(align - 1);
}

static size_t place(uint64_t *at, uint64_t count, uint64_t bytes)
{
    size_t here = (size_t)*at;

    *at += aligned(count * bytes);
    return here;
}

static bool host_is_possible(uint64_t pages, uint64_t reserve)
{
    return pages && pages <= PAGES_MAX && reserve < pages;
}

static bool policy_is_possible(const balloon_policy *policy, const void *knobs)
{
    return policy && bl_sized(policy, sizeof(*policy)) && policy->decide &&
           policy->state_bytes <= STATE_BYTES_MAX && policy->guest_bytes <= GUEST_BYTES_MAX &&
           policy->scratch_words <= SCRATCH_MAX && (policy->init || !knobs);
}

const char *balloon_pool_config_check(const balloon_pool_config *config)
{
    if (!config || !bl_sized(config, sizeof(*config)))
        return "size: not sizeof(balloon_pool_config), or fields of a later version are set";
    if (!config->max_guests || config->max_guests > GUESTS_MAX)
        return "max_guests: not from 1 to 100000";
    if (!config->pages || config->pages > PAGES_MAX)
        return "pages: not from 1 to 2^40";
    if (!host_is_possible(config->pages, config->reserve))
        return "reserve: not less than pages";
    if (!policy_is_possible(config->policy, NULL))
        return "policy: NULL, of another version, or out of its limits";
    if (!policy_is_possible(config->policy, config->knobs))
        return "knobs: given for a policy that has none";
    return NULL;
}

static bool find_parts(const balloon_pool_config *config, struct parts *parts)
{
    uint64_t at = aligned(sizeof(balloon_pool)), n;

    if (balloon_pool_config_check(config))
        return false;
    n = config->max_guests;
    parts->stride = (size_t)aligned(config->policy->guest_bytes);
    parts->state = place(&at, 1, config->policy->state_bytes);
    parts->guests = place(&at, n, sizeof(struct guest));
    parts->curves = place(&at, n, BALLOON_CURVE_POINTS_MAX * sizeof(balloon_curve_point));
    parts->guest_states = place(&at, n, parts->stride);
    parts->ids = place(&at, n, sizeof(uint64_t));
    parts->slots = place(&at, n, sizeof(uint32_t));
    parts->views = place(&at, n, sizeof(balloon_guest_view));
    parts->wishes = place(&at, n, sizeof(balloon_wish));
    parts->ranks = place(&at, n, sizeof(struct rank));
    parts->spare_ranks = place(&at, n, sizeof(struct rank));
    parts->scratch = place(&at, n, config->policy->scratch_words * sizeof(uint64_t));
    parts->changed = place(&at, n / 64 + 1, sizeof(uint64_t));
    parts->bytes = (size_t)at;
    return at <= SIZE_MAX / 2;
}

balloon_status balloon_pool_layout(const balloon_pool_config *config, balloon_layout *layout)
{
    struct parts parts;

    if (!config || !layout || !find_parts(config, &parts))
        return BALLOON_ERR_INVALID;
    layout->bytes = parts.bytes;
    layout->align = alignof(max_align_t);
    return BALLOON_OK;
}

static balloon_time_t or_default(balloon_time_t set, balloon_time_t normal)
{
    return set ? set : normal;
}

static uint64_t reserve_of(uint64_t pages, uint64_t reserve)
{
    return reserve ? reserve : pages / 16;
}

balloon_status balloon_pool_init(void *memory, size_t bytes, const balloon_pool_config *config,
                                 balloon_pool **pool)
{
    unsigned char *base = memory;
    balloon_pool *p = memory;
    struct parts parts;

    if (!memory || !config || !pool || !find_parts(config, &parts) ||
        (uintptr_t)memory % alignof(max_align_t))
        return BALLOON_ERR_INVALID;
    if (bytes < parts.bytes)
        return BALLOON_ERR_NOSPACE;

    /* What belongs to a guest is cleared when one comes. */
    memset(memory, 0, parts.guests);
    p->policy = config->policy;
    p->state = base + parts.state;
    p->max_guests = config->max_guests;
    p->pages = config->pages;
    p->reserve = reserve_of(config->pages, config->reserve);
    p->stale_after = or_default(config->stale_after, DEFAULT_STALE);
    p->boot_grace = or_default(config->boot_grace, DEFAULT_BOOT);
    if (p->boot_grace == 1)
        p->boot_grace = 0;
    p->inactive_after = or_default(config->inactive_after, DEFAULT_INACTIVE);
    p->retry_after = or_default(config->retry_after, DEFAULT_RETRY);
    p->calm = BALLOON_TIME_NEVER;
    p->guests = (struct guest *)(void *)(base + parts.guests);
    p->curves = (balloon_curve_point *)(void *)(base + parts.curves);
    p->guest_states = base + parts.guest_states;
    p->state_stride = parts.stride;
    p->ids = (uint64_t *)(void *)(base + parts.ids);
    p->slots = (uint32_t *)(void *)(base + parts.slots);
    p->views = (balloon_guest_view *)(void *)(base + parts.views);
    p->wishes = (balloon_wish *)(void *)(base + parts.wishes);
    p->ranks = (struct rank *)(void *)(base + parts.ranks);
    p->spare_ranks = (struct rank *)(void *)(base + parts.spare_ranks);
    p->scratch = (uint64_t *)(void *)(base + parts.scratch);
    p->changed = (uint64_t *)(void *)(base + parts.changed);
    memset(p->changed, 0, (p->max_guests / 64 + 1) * sizeof(*p->changed));
    for (uint32_t slot = 0; slot < p->max_guests; slot++) {
        p->guests[slot].id = 0;
        p->guests[slot].next_free = slot + 1;
    }
    if (p->policy->init && !p->policy->init(p->state, config->knobs))
        return BALLOON_ERR_INVALID;
    *pool = p;
    return BALLOON_OK;
}

balloon_status balloon_pool_resize(balloon_pool *p, uint64_t pages, uint64_t reserve)
{
    if (!host_is_possible(pages, reserve))
        return BALLOON_ERR_INVALID;
    p->pages = pages;
    p->reserve = reserve_of(pages, reserve);
    return BALLOON_OK;
}

/* --- guests ----------------------------------------------------------------------------------- */

/* The position of an id, or where it would be. */
static uint32_t position_of(const balloon_pool *p, uint64_t id)
{
    uint32_t low = 0, high = p->count;

    /* Ids rise by one or more, so only so many can be before it and behind it. */
    if (high && id >= p->ids[0] && id <= p->ids[high - 1]) {
        uint64_t before = id - p->ids[0], behind = p->ids[high - 1] - id;

        low = behind < high ? high - 1 - (uint32_t)behind : 0;
        high = before < high ? (uint32_t)before : high;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (p->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct guest *bl_pool_guest(const balloon_pool *p, uint64_t id)
{
    uint32_t position = position_of(p, id);

    return position < p->count && p->ids[position] == id ? guest_at(p, position) : NULL;
}

static bool limits_are_possible(const balloon_pool_guest *guest)
{
    return guest && bl_sized(guest, sizeof(*guest)) && guest->min <= guest->max && guest->max &&
           guest->max <= PAGES_MAX && guest->shares <= SHARES_MAX;
}

/* Would that many more pages of minimums fit? */
static bool minimums_fit(const balloon_pool *p, uint64_t more, uint64_t reserved)
{
    return more + reserved <= bl_less(p->pages - p->reserve, p->minimums);
}

static void set_limits(balloon_pool *p, struct guest *g, const balloon_pool_guest *guest)
{
    p->minimums += guest->min - g->min;
    p->committed -= guest_committed(g);
    g->min = guest->min;
    g->max = guest->max;
    p->committed += guest_committed(g);
    g->view_until = 0;
    g->shares = guest->shares ? guest->shares : DEFAULT_SHARES;
    g->priority = guest->priority;
}

/* Grace is for booting; who comes again and again has had it. */
static void start_grace(const balloon_pool *p, struct guest *g, balloon_time_t now)
{
    if (now < g->next_grace)
        return;
    g->boot_until = time_after(now, p->boot_grace);
    g->next_grace = time_after(now, bl_sat_mul(p->boot_grace, GRACES_APART));
}

/* Limits and room have been looked at. */
static uint64_t come(balloon_pool *p, const balloon_pool_guest *guest, balloon_time_t now)
{
    uint32_t slot = p->first_free;
    struct guest *g = p->guests + slot;

    p->first_free = g->next_free;
    memset(g, 0, sizeof(*g));
    if (p->state_stride)
        memset(p->guest_states + slot * p->state_stride, 0, p->state_stride);
    g->id = ++p->last_id;
    set_limits(p, g, guest);
    bl_pool_put_size(p, g, bl_min(guest->current, PAGES_MAX));
    bl_pool_put_target(p, g, bl_clamp(guest->current, g->min, g->max));
    g->told = g->size;
    g->sized = now;
    g->live.best = g->size;
    g->live.since = now;
    g->live.owed_since = BALLOON_TIME_NEVER;
    g->live.rest_size = g->live.rest_target = g->size;
    g->seen.roomy = BALLOON_TIME_NEVER;
    p->ids[p->count] = g->id;
    p->slots[p->count] = slot;
    pool_changed(p, p->count++);
    p->event = true;
    return g->id;
}

balloon_status balloon_pool_add(balloon_pool *p, const balloon_pool_guest *guest,
                                balloon_time_t now, uint64_t *id)
{
    if (!id || !limits_are_possible(guest) || guest->current < guest->min ||
        guest->current > guest->max)
        return BALLOON_ERR_INVALID;
    /* What was set aside for guests to come is for this one. */
    if (p->count == p->max_guests || !minimums_fit(p, guest->min, 0) ||
        guest->current > bl_less(p->pages - p->reserve / 2, p->committed + p->owed))
        return BALLOON_ERR_NOSPACE;
    *id = come(p, guest, now);
    start_grace(p, bl_pool_guest(p, *id), now);
    p->reserved = bl_less(p->reserved, guest->current);
    return BALLOON_OK;
}

balloon_status balloon_pool_adopt(balloon_pool *p, const balloon_pool_guest *guest,
                                  balloon_time_t now, uint64_t *id)
{
    if (!id || !limits_are_possible(guest))
        return BALLOON_ERR_INVALID;
    if (p->count == p->max_guests || !minimums_fit(p, guest->min, 0) ||
        (guest->current < guest->min && guest->min > bl_less(pool_budget(p), p->committed)))
        return BALLOON_ERR_NOSPACE;
    *id = come(p, guest, now);
    return BALLOON_OK;
}

balloon_status balloon_pool_remove(balloon_pool *p, uint64_t id)
{
    struct guest *g = bl_pool_guest(p, id);
    uint32_t position = position_of(p, id), slot;

    if (!g)
        return BALLOON_ERR_INVALID;
    slot = p->slots[position];
    p->committed -= guest_committed(g);
    p->used -= g->size;
    p->owed -= g->owed;
    p->minimums -= g->min;
    g->id = 0;
    g->next_free = p->first_free;
    p->first_free = slot;
    p->count--;
    memmove(p->ids + position, p->ids + position + 1, (p->count - position) * sizeof(*p->ids));
    memmove(p->slots + position, p->slots + position + 1,
            (p->count - position) * sizeof(*p->slots));
    /* Who comes after it has moved. */
    memset(p->changed, 0xff, (p->count / 64 + 1) * sizeof(*p->changed));
    if (position < p->next)
        p->next--;
    p->event = true;
    return BALLOON_OK;
}

balloon_status balloon_pool_set_guest(balloon_pool *p, uint64_t id, const balloon_pool_guest *guest)
{
    struct guest *g = bl_pool_guest(p, id);

    if (!g || !limits_are_possible(guest))
        return BALLOON_ERR_INVALID;
    if (guest->min > g->min && !minimums_fit(p, guest->min - g->min, 0))
        return BALLOON_ERR_NOSPACE;
    if (bl_less(guest->min, guest_committed(g)) > bl_less(pool_budget(p), p->committed))
        return BALLOON_ERR_NOSPACE;
    set_limits(p, g, guest);
    bl_pool_put_target(p, g, bl_clamp(g->target, g->min, g->max));
    pool_changed(p, position_of(p, id));
    return BALLOON_OK;
}

balloon_status balloon_pool_reserve(balloon_pool *p, uint64_t pages)
{
    if (pages > p->pages || !minimums_fit(p, 0, pages))
        return BALLOON_ERR_NOSPACE;
    p->reserved = pages;
    return BALLOON_OK;
}

/* --- inputs ----------------------------------------------------------------------------------- */

balloon_status balloon_pool_set_size(balloon_pool *p, uint64_t id, uint64_t pages,
                                     balloon_time_t now)
{
    struct guest *g = bl_pool_guest(p, id);

    if (!g)
        return BALLOON_ERR_INVALID;
    pages = bl_min(pages, PAGES_MAX);
    /* It knows its target by now, so an older and larger one is void. */
    if (g->promised != g->target && g->told == g->target && now > g->told_at) {
        p->committed -= guest_committed(g);
        g->promised = g->target;
        p->committed += guest_committed(g);
    }
    /* It takes back what it gave when it would have to kill: nothing shows want more clearly. All
     * of its RAM at once is what it has after a reset. */
    if (pages > bl_max(g->size, g->promised) + SIZE_SLACK && pages < g->max &&
        !(g->said & BALLOON_GUEST_NO_DRIVER)) {
        g->took = now;
        p->event = true;
    }
    /* Somebody waits for what came back. */
    if (pages < g->size && p->busy)
        p->event = true;
    g->sized = now;
    if (pages == g->size)
        return BALLOON_OK;
    bl_pool_put_size(p, g, pages);
    guest_set_needy(g);
    g->view_until = 0;
    return BALLOON_OK;
}

balloon_status balloon_pool_set_owed(balloon_pool *p, uint64_t id, uint64_t pages)
{
    struct guest *g = bl_pool_guest(p, id);

    if (!g)
        return BALLOON_ERR_INVALID;
    pages = bl_min(pages, PAGES_MAX);
    p->committed -= guest_committed(g);
    p->owed += pages - g->owed;
    g->owed = pages;
    p->committed += guest_committed(g);
    return BALLOON_OK;
}

balloon_status balloon_pool_set_flags(balloon_pool *p, uint64_t id, uint32_t flags,
                                      balloon_time_t now)
{
    struct guest *g = bl_pool_guest(p, id);

    if (!g || (flags & ~BALLOON_POOL_FLAGS))
        return BALLOON_ERR_INVALID;
    /* What it had before the first of several resets counts. */
    if (flags & ~g->said & BALLOON_GUEST_NO_DRIVER && !(g->before && now < g->next_grace))
        g->before = g->target;
    if (g->said & ~flags & BALLOON_GUEST_NO_DRIVER)
        start_grace(p, g, now);
    if (flags != g->said)
        g->view_until = 0;
    g->said = flags;
    return BALLOON_OK;
}

/* --- questions -------------------------------------------------------------------------------- */

uint32_t bl_pool_flags(const balloon_pool *p, const struct guest *g, balloon_time_t now)
{
    uint32_t flags = g->said;

    if (!g->seen.count || bl_less(now, g->seen.time) > p->stale_after)
        flags |= BALLOON_GUEST_STALE;
    if (g->live.inactive)
        flags |= BALLOON_GUEST_INACTIVE;
    if (now < g->boot_until)
        flags |= BALLOON_GUEST_BOOTING;
    if (now < g->held_until)
        flags |= BALLOON_GUEST_HELD;
    return flags;
}

void balloon_pool_status_get(const balloon_pool *p, balloon_pool_status *status)
{
    *status = (balloon_pool_status){
        .pages = p->pages,
        .reserve = p->reserve,
        .reserved = p->reserved,
        .owed = p->owed,
        .budget = pool_budget(p),
        .used = p->used,
        .committed = p->committed,
        .shortfall = p->shortfall,
        .guests = p->count,
        .state = p->host,
        .verdict = p->verdict,
    };
}

balloon_status balloon_pool_guest_get(const balloon_pool *p, uint64_t id,
                                      balloon_pool_guest_status *status)
{
    const struct guest *g = bl_pool_guest(p, id);

    if (!g)
        return BALLOON_ERR_INVALID;
    *status = (balloon_pool_guest_status){
        .config = {.size = sizeof(balloon_pool_guest),
                   .min = g->min,
                   .max = g->max,
                   .current = g->size,
                   .shares = g->shares,
                   .priority = g->priority},
        .target = g->target,
        .flags = bl_pool_flags(p, g, p->now),
        .why = g->why,
        .stall = g->seen.stall,
        .flagged = bl_pool_flagged(g),
        .owed = g->owed,
    };
    return BALLOON_OK;
}

void balloon_pool_counters_get(const balloon_pool *p, balloon_pool_counters *counters)
{
    *counters = p->counters;
}

const char *balloon_why_text(uint32_t why)
{
    switch (why) {
    case BALLOON_WHY_HOLD:
        return "nothing to change";
    case BALLOON_WHY_DEAD_BAND:
        return "too small a change";
    case BALLOON_WHY_COOL_DOWN:
        return "changed a short while ago";
    case BALLOON_WHY_DEMAND:
        return "needs that much";
    case BALLOON_WHY_PRESSURE:
        return "waits for memory";
    case BALLOON_WHY_SHARE:
        return "its share";
    case BALLOON_WHY_LIMIT:
        return "its limit";
    case BALLOON_WHY_HOST_LOW:
        return "the host is short";
    case BALLOON_WHY_HOST_CRITICAL:
        return "the host is about to run out";
    case BALLOON_WHY_STALE:
        return "its statistics are too old";
    case BALLOON_WHY_INACTIVE:
        return "does not follow";
    case BALLOON_WHY_NO_DRIVER:
        return "has no driver";
    case BALLOON_WHY_PINNED:
        return "its memory must stay";
    case BALLOON_WHY_BUDGET:
        return "waits for memory of others";
    case BALLOON_WHY_OWED:
        return "what it gives does not come back";
    }
    return "unknown";
}
