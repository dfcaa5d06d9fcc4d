/* Idle-taxed shares of a measured, probed demand, with a price that rises while a guest waits.
 * Five questions, a function or two each: what a guest needs (demand), how much its need counts
 * (price), what it is entitled to (entitle), how much has to move for that (balance), and how to
 * get there (step). */
#include "policy_p.h"

#define TICK       SECOND
#define PRICE_ONE  256u /* prices have 8 bits behind the point */
#define PRICE_ROOM 12000u
#define PPM        1000000u

/* A guest that waits gives only to one that waits so much more by page, and so little at a time:
 * a few pages less can multiply its misses. */
#define MUCH_MORE 24
#define BY_LITTLE 64

/* Of what is available and not free a donor gives one part in so many in a second: cache, which may
 * be worth something to it. */
#define CACHE_STEP 4

struct waterline {
    uint64_t level;
    uint64_t wanted, offered; /* pages that guests want beyond what the pool has, and could give */
    uint64_t density;         /* the greatest of those that wait for more */
    uint64_t worth;           /* changes of more pages are worth it in any guest */
    balloon_time_t next, hold;
    uint32_t tax, boost, boost_cap, threshold, dead_band, shrink;
    bool proactive, curves;
    bool due, news, urgent; /* a second has passed; somebody cannot wait for that; or could not */
};

struct waterline_guest {
    uint64_t demand;          /* pages that it is not taxed for */
    uint64_t slow;            /* average of its use, 8 bits behind the point; 0 when not known */
    uint64_t least;           /* what the last statistics said it needs */
    balloon_time_t hold_end;  /* not made smaller before */
    balloon_time_t hold_time; /* how long it was the last time */
    uint32_t price;           /* units of waiting, PRICE_ONE each */
    uint32_t stall;           /* average */
    uint64_t seen;            /* statistics that were looked at last */
    uint64_t soon;            /* and what they said it needs soon */
    uint32_t sample;          /* of waiting, that was looked at last, */
    bool news;                /* and whether it was a new one */
    bool urgent;              /* it needs more than it was asked to be, and soon */
    bool started;
};

static uint32_t knob(uint32_t value, uint32_t otherwise)
{
    if (value == BALLOON_KNOB_OFF)
        return 0;
    return value == 0 ? otherwise : value;
}

static bool init(void *state, const void *knobs)
{
    static const balloon_waterline_knobs none = {.size = sizeof(none)};
    const balloon_waterline_knobs *k = knobs == NULL ? &none : knobs;
    struct waterline *s = state;

    if (k->size < sizeof(*k))
        return false;
    s->tax = knob(k->tax, 192);
    s->boost = knob(k->boost, 64);
    s->boost_cap = k->boost_cap == 0 ? 20 : k->boost_cap;
    s->threshold = k->threshold == 0 ? 1000 : k->threshold;
    s->dead_band = knob(k->dead_band, 32);
    s->shrink = k->shrink == 0 ? 24 : k->shrink;
    s->hold = k->hold == 0 ? 10 * SECOND : k->hold;
    s->proactive = k->proactive;
    s->curves = !k->ignore_curves;
    return s->tax <= BL_TAX_MAX && s->threshold <= PPM && s->boost_cap <= PRICE_ROOM &&
           s->boost <= PRICE_ROOM && s->boost * s->boost_cap <= PRICE_ROOM;
}

/* --- Demand -------------------------------------------------------------------------------- */

/* What the guest uses: what the host has measured, if it has. By what the guest says, memory that
 * it has swapped out counts, since swapping makes it look as if it needed less. Without available,
 * free and caches must do. */
static bool used_pages(const balloon_guest_view *g, uint64_t *used)
{
    uint64_t idle;

    if (bl_knows(g, BALLOON_KNOWS_ACTIVE)) {
        *used = bl_min(g->active, g->size);
        return true;
    }
    if (bl_says(g, BALLOON_KNOWS_AVAILABLE))
        idle = g->available;
    else if (bl_says(g, BALLOON_KNOWS_FREE))
        idle = bl_sat_add(g->free, g->caches);
    else
        return false;
    *used = bl_less(g->size, idle) + bl_min(g->swapped, g->size);
    return true;
}

static bool is_stalling(const struct waterline *s, const balloon_guest_view *g)
{
    return bl_says(g, BALLOON_KNOWS_STALL) && g->stall >= s->threshold;
}

/* What a guest should have available: small ones have some that no program can have, and large ones
 * do not need a part of all they have. */
static uint64_t margin(uint64_t size)
{
    return 16 * MIB + bl_min(size, 16 * GIB) / 32 + bl_less(size, 16 * GIB) / 128;
}

/* What a Linux guest keeps free by itself, short of memory or not: its high watermarks, where huge
 * pages have raised them (68 MiB, a 20th of small guests), and what programs cannot have. */
static uint64_t kept_free(uint64_t size)
{
    return 8 * MIB + bl_min(bl_div(size, 40) * 3, 102 * MIB);
}

/* What lies there free and could be used. */
static uint64_t idle_pages(const balloon_guest_view *g)
{
    return bl_less(g->free, kept_free(g->size));
}

/* With memory free, more would not help: what was dropped comes back by and by, and until then the
 * guest waits whatever it gets. */
static bool refills(const balloon_guest_view *g)
{
    uint64_t kept = bl_knows(g, BALLOON_KNOWS_ACTIVE) ? 0 : kept_free(g->size);

    return bl_says(g, BALLOON_KNOWS_FREE) && g->free > g->size / 32 + kept;
}

/* What it will need until it is looked at again and memory has come: what it uses, what it has out
 * on swap, and what it is growing by. More when it waits with nothing left. */
static uint64_t needed_soon(const struct waterline *s, const balloon_guest_view *g)
{
    uint64_t need = g->size - bl_min(g->available, g->size) + bl_min(g->swapped, g->size);
    uint64_t growth = bl_less(g->growth, g->size / 32); /* less is noise */

    need = bl_sat_add(need, margin(g->size) + growth + growth / 2);
    if (is_stalling(s, g) && g->available < margin(g->size) && !refills(g))
        need = bl_max(need, bl_sat_add(g->size, bl_max(64 * MIB, g->size / 8)));
    return need;
}

/* On new statistics, without waiting for the next second: who grows, or has nothing left, needs
 * more; and what lies there free in large amounts is not needed. Where the host measures what the
 * guest uses, it knows better than the guest. */
static void look(struct waterline *s, struct waterline_guest *w, const balloon_guest_view *g)
{
    uint64_t need, rise;
    bool waits;

    if (!bl_movable(g) || !bl_says(g, BALLOON_KNOWS_AVAILABLE) ||
        bl_knows(g, BALLOON_KNOWS_ACTIVE)) {
        w->urgent = false;
        return;
    }
    if (g->sample == w->seen)
        return;
    w->seen = g->sample;
    need = bl_clamp(needed_soon(s, g), g->min, g->max);
    rise = bl_less(need, w->soon);
    w->soon = need;
    /* What was in use before can be cold. */
    if (!is_stalling(s, g) &&
        bl_says(g, (uint32_t)BALLOON_KNOWS_STALL | (uint32_t)BALLOON_KNOWS_SWAP))
        need = bl_min(need, w->demand + rise);
    if (need > w->demand)
        w->demand = need;
    else if (bl_says(g, BALLOON_KNOWS_FREE) && !is_stalling(s, g) && idle_pages(g) > g->size / 4)
        w->demand = bl_max(need, bl_min(w->demand, g->size - idle_pages(g)));
    waits = is_stalling(s, g) && !refills(g);
    w->urgent = waits || bl_less(w->demand, g->target) >= margin(g->size) / 4;
    s->news |= w->urgent;
}

/* A guest that waits again soon after it was spared was spared too short a time. */
static void start_hold(const struct waterline *s, struct waterline_guest *w, balloon_time_t now)
{
    if (now >= w->hold_end || w->hold_time == 0) {
        if (w->hold_time != 0 && now - w->hold_end <= 60 * SECOND)
            w->hold_time = bl_min(bl_sat_mul(w->hold_time, 2), bl_sat_mul(s->hold, 8));
        else
            w->hold_time = s->hold;
    }
    w->hold_end = bl_sat_add(now, w->hold_time);
}

/* Up to an eighth more, all of it when a guest waits ten times as long as is fine. */
static uint64_t raised(const struct waterline *s, uint64_t demand, uint32_t stall)
{
    uint64_t part = bl_sqrt(bl_min(bl_div((uint64_t)stall << 16, s->threshold * UINT64_C(10)),
                                   UINT64_C(1) << 16)); /* of 256 */

    return demand * (256 + (32 * part >> 8)) >> 8;
}

/* Down a little, less the closer a guest is to waiting. */
static uint64_t probed(const struct waterline *s, uint64_t demand, uint32_t stall, uint32_t part)
{
    return demand - bl_mul_div(bl_div(demand, part), s->threshold - stall, s->threshold);
}

/* What a guest uses is a lower bound. But where the guest says it, memory can be in use and cold:
 * where waiting is measured and the guest can swap, demand may fall below it, half as fast as
 * through the cache, since to be wrong costs more there. What comes into use is not cold. */
static uint64_t least_demand(const struct waterline *s, struct waterline_guest *w,
                             const balloon_guest_view *g, uint64_t before, uint64_t least)
{
    uint64_t reached = bl_min(before + bl_less(least, w->least), least);

    if (least != 0) /* it is known */
        w->least = least;
    if (bl_knows(g, BALLOON_KNOWS_ACTIVE) || !bl_says(g, BALLOON_KNOWS_STALL) ||
        !bl_says(g, BALLOON_KNOWS_SWAP))
        return least;
    return is_stalling(s, g) ? reached : probed(s, reached, g->stall, 512);
}

/* Nobody can tell what a guest's cache is worth to it. So demand is let fall slowly until the guest
 * begins to wait, and then raised, once for each measurement and only when the guest already has
 * what it was thought to need. */
static void update_demand(const struct waterline *s, struct waterline_guest *w,
                          const balloon_guest_view *g, const balloon_view *view)
{
    uint64_t used, least = 0, before;
    bool known = used_pages(g, &used);

    w->news = bl_measured(&w->sample, g);
    if (!w->started) {
        w->demand = g->size;
        w->hold_end = bl_sat_add(view->now, s->hold); /* until it can tell that it waits */
    }
    w->started = true;
    before = w->demand;
    if (known) {
        uint64_t need;

        w->slow = w->slow == 0 ? used << 8 : bl_average(w->slow, used, 32);
        need = bl_max(used, w->slow >> 8);
        least = need +
                (bl_knows(g, BALLOON_KNOWS_ACTIVE) ? bl_max(64 * MIB, need / 16) : margin(g->size));
    }

    if (g->flags & (uint32_t)BALLOON_GUEST_STALE) {
        if (view->state == BALLOON_HOST_HIGH)
            w->demand = bl_max(w->demand, g->size);
    } else if (is_stalling(s, g)) {
        if (w->news && !refills(g) && g->size >= bl_div(w->demand, 100) * 98) {
            w->demand = raised(s, bl_max(w->demand, g->size), g->stall);
            start_hold(s, w, view->now);
        }
    } else if (!bl_knows(g, BALLOON_KNOWS_STALL)) {
        /* Probing needs an answer. Without one, what the guest says has to do. */
        w->demand -= bl_less(w->demand, least) / 32;
    } else if (view->now >= w->hold_end) {
        w->demand = probed(s, w->demand, g->stall, 256);
        /* What lies there free for a while is not needed. */
        if (bl_says(g, BALLOON_KNOWS_FREE))
            w->demand -= bl_less(w->demand, g->size - bl_less(g->free, g->size / 16)) / 16;
    }
    w->demand = bl_max(w->demand, least_demand(s, w, g, before, least));
    w->demand = bl_clamp(w->demand, g->min, g->max);
}

/* --- Price --------------------------------------------------------------------------------- */

/* How long a guest waits is what it would pay: waiting raises its claim quickly, and not waiting
 * lowers it slowly, so that a guest keeps for a while what helped it. */
static void update_price(const struct waterline *s, struct waterline_guest *w,
                         const balloon_guest_view *g)
{
    uint32_t offer = 0;

    if (!bl_says(g, BALLOON_KNOWS_STALL))
        w->stall = 0;
    else if (w->news)
        w->stall = g->stall > w->stall ? w->stall + (g->stall - w->stall) / 4
                                       : w->stall - (w->stall - g->stall) / 4;
    if (bl_says(g, BALLOON_KNOWS_STALL) && !refills(g))
        offer = g->stall * PRICE_ONE / s->threshold;
    if (offer > s->boost_cap * PRICE_ONE)
        offer = s->boost_cap * PRICE_ONE;
    if (offer <= w->price)
        w->price -= (w->price - offer + 15) / 16;
    else if (w->news)
        w->price += (offer - w->price + 3) / 4;
}

/* Shares in 256ths. */
static uint32_t claim(const struct waterline *s, const struct waterline_guest *w,
                      const balloon_guest_view *g)
{
    return g->shares * (256 + s->boost * w->price / PRICE_ONE);
}

/* --- Entitlement --------------------------------------------------------------------------- */

/* All can have their maximum: who cares what they need? An embedder does that wants memory to stay
 * in the pool. */
static void entitle_plenty(const struct waterline *s, const balloon_view *view,
                           balloon_wish *wishes)
{
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        const struct waterline_guest *w = g->state;

        wishes[i].target =
            s->proactive ? bl_clamp(w->demand + w->demand / 4, g->min, g->max) : g->max;
    }
}

static void entitle_by_shares(struct waterline *s, const balloon_view *view, uint64_t budget,
                              balloon_wish *wishes)
{
    bl_vessel *vessels = (bl_vessel *)(void *)view->scratch;
    uint32_t count = 0;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        const struct waterline_guest *w = g->state;

        if (bl_movable(g))
            vessels[count++] = (bl_vessel){
                .active = w->demand,
                .lo = g->min,
                .hi = g->max,
                .claim = claim(s, w, g),
                .guest = i,
            };
    }
    bl_level_fill(vessels, count, s->tax, budget, &s->level);
    for (uint32_t i = 0; i < count; i++)
        wishes[vessels[i].guest].target = vessels[i].got;
}

/* Where misses are known, they say what memory is worth, and demand need not be guessed. */
static void entitle_by_curves(const struct waterline *s, const balloon_view *view, uint64_t budget,
                              balloon_wish *wishes)
{
    bl_slope *slopes = (bl_slope *)(void *)view->scratch;
    bl_steep *heap = (bl_steep *)(void *)(slopes + view->guest_count);
    uint32_t count = 0;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (bl_movable(g))
            slopes[count++] = (bl_slope){
                .curve = g->curve,
                .lo = g->min,
                .hi = g->max,
                .weight = claim(s, g->state, g),
                .guest = i,
            };
    }
    bl_hull_fill(slopes, heap, count, budget);
    for (uint32_t i = 0; i < count; i++)
        wishes[slopes[i].guest].target = slopes[i].got;
}

/* The size each guest should have in the end, into the wishes. */
static void entitle(struct waterline *s, const balloon_view *view, balloon_wish *wishes)
{
    uint64_t budget = bl_less(view->pool, view->reserve), most = 0;
    bool curves = s->curves;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (!bl_movable(g)) {
            budget = bl_less(budget, bl_held(g));
            continue;
        }
        most += g->max;
        curves = curves && bl_knows(g, BALLOON_KNOWS_CURVE);
    }
    if (most <= budget)
        entitle_plenty(s, view, wishes);
    else if (curves)
        entitle_by_curves(s, view, budget, wishes);
    else
        entitle_by_shares(s, view, budget, wishes);
}

/* --- Balance ------------------------------------------------------------------------------- */

/* Changes cost the guest; small ones are not worth it. */
static bool is_small(const struct waterline *s, const balloon_guest_view *g, uint64_t gap)
{
    return s->dead_band != 0 && gap < bl_max(MIB, bl_min(bl_div(g->size, s->dead_band), s->worth));
}

/* How much a guest waits for each page it has, by shares: a guess at what a page more would save.
 */
static uint64_t density(const balloon_guest_view *g)
{
    const struct waterline_guest *w = g->state;

    return bl_div(((uint64_t)w->stall * g->shares) << 20, g->size | 1);
}

/* Nobody has to give for nothing. What counts as wanted is what guests wait for, and what they need
 * as far as is known; the rest of their share they get when it is free. */
static uint64_t wanted(const struct waterline *s, const balloon_guest_view *g, uint64_t size)
{
    const struct waterline_guest *w = g->state;

    if (is_stalling(s, g))
        return refills(g) ? 0 : size - g->target;
    if (is_small(s, g, size - g->target))
        return 0;
    return bl_less(bl_min(size, w->demand), g->target);
}

/* What is to move in all, before anything does. */
static void balance(struct waterline *s, const balloon_view *view, const balloon_wish *wishes)
{
    uint64_t held = 0;

    s->worth = view->reserve / 8;
    s->wanted = view->reserve / 2; /* what the pool keeps in any case */
    s->offered = s->density = 0;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        uint64_t size = wishes[i].target;

        held = bl_sat_add(held, bl_held(g));
        if (!bl_movable(g))
            continue;
        if (size < g->target) {
            s->offered += is_small(s, g, g->target - size) ? 0 : g->target - size;
            continue;
        }
        s->wanted += wanted(s, g, size);
        /* One that is still growing has been heard. */
        if (size > g->target && is_stalling(s, g) && !refills(g) &&
            g->size >= bl_div(g->target, 100) * 98)
            s->density = bl_max(s->density, density(g));
    }
    s->wanted = bl_less(bl_sat_add(s->wanted, held), view->pool);
}

/* --- Steps --------------------------------------------------------------------------------- */

/* Growing is help that comes late already: the whole way, as fast as memory comes back. */
static void grow(const struct waterline *s, const struct waterline_guest *w,
                 const balloon_guest_view *g, balloon_wish *wish)
{
    bool stalling = is_stalling(s, g);
    uint64_t size = wish->target;
    balloon_why why = size <= w->demand ? BALLOON_WHY_DEMAND : BALLOON_WHY_SHARE;

    if (!stalling && size < g->max && is_small(s, g, size - g->target))
        bl_keep(g, wish, BALLOON_WHY_DEAD_BAND);
    else
        bl_wish(g, wish, size, stalling ? BALLOON_WHY_PRESSURE : why);
    /* Who waits longest is first, then who matters most. */
    wish->urgency = (stalling ? g->stall << 11 : 0) | (g->priority < 2048 ? g->priority : 2047);
}

/* Asked for and still there: neither free nor available any more. */
static uint64_t leaving(const balloon_guest_view *g)
{
    return bl_less(g->size, g->target);
}

/* What a guest can do without at once. */
static uint64_t spare_pages(const balloon_guest_view *g)
{
    uint64_t spare = bl_less(g->available, margin(g->size) + leaving(g));

    if (bl_knows(g, BALLOON_KNOWS_ACTIVE))
        return bl_max(spare, bl_less(g->target, g->active + g->active / 16));
    /* The guest will tell when it has to swap for this. */
    if (bl_says(g, BALLOON_KNOWS_STALL) && bl_says(g, BALLOON_KNOWS_SWAP))
        return bl_max(spare, bl_less(g->size / 128, leaving(g)));
    return spare;
}

/* What costs the guest little. To give what is free costs nothing and is done at once; of cache,
 * which may be worth something to it, a little in a second while somebody waits. Where the host
 * measures what the guest uses there is no hurry: it is known before anybody waits. */
static uint64_t cheap_step(const struct waterline *s, const balloon_guest_view *g)
{
    bool measured = bl_knows(g, BALLOON_KNOWS_ACTIVE);
    uint64_t step = 0;

    if (!measured && s->due && s->urgent && bl_says(g, BALLOON_KNOWS_AVAILABLE))
        step = bl_less(g->available, margin(g->size) + leaving(g)) / CACHE_STEP;
    if (!bl_says(g, BALLOON_KNOWS_FREE))
        return step;
    if (!measured)
        return bl_max(step, bl_min(bl_less(idle_pages(g), leaving(g)), g->size / 4));
    return s->due ? bl_less(bl_less(g->free, leaving(g)), g->size / 16) / 8 : 0;
}

/* Statistics are old when they come, and a balloon is slow, so the way down has small steps, and no
 * more of them than is wanted. */
static uint64_t shrink_step(const struct waterline *s, const balloon_guest_view *g, uint64_t gap,
                            balloon_host_state state)
{
    uint64_t step = is_stalling(s, g) ? bl_less(g->size / BY_LITTLE, leaving(g))
                                      : bl_max(bl_div(gap, s->shrink), MIB);

    if (state >= BALLOON_HOST_HARD)
        return gap;
    if (!s->due)
        step = 0;
    if (!is_stalling(s, g))
        step = bl_max(step, cheap_step(s, g));
    step = bl_min(step, gap);
    if (s->wanted < s->offered)
        step = bl_min(step, bl_mul_div(gap, s->wanted, s->offered));
    if (is_stalling(s, g))
        return step;
    if (bl_knows(g, BALLOON_KNOWS_AVAILABLE) || bl_knows(g, BALLOON_KNOWS_ACTIVE))
        step = bl_min(step, spare_pages(g));
    return step;
}

/* A guest that grew because it waited is left alone, unless it has not used what it got. */
static bool is_held(const struct waterline_guest *w, const balloon_guest_view *g,
                    const balloon_view *view)
{
    bool idle = bl_says(g, BALLOON_KNOWS_AVAILABLE) && g->available >= g->size / 4;

    return view->state < BALLOON_HOST_HARD && view->now < w->hold_end && !idle;
}

static void shrink(const struct waterline *s, const struct waterline_guest *w,
                   const balloon_guest_view *g, const balloon_view *view, balloon_wish *wish)
{
    static const balloon_why whys[] = {BALLOON_WHY_SHARE, BALLOON_WHY_HOST_LOW,
                                       BALLOON_WHY_HOST_CRITICAL, BALLOON_WHY_HOST_CRITICAL};
    uint64_t gap = g->target - wish->target;

    if (is_small(s, g, gap)) {
        bl_keep(g, wish, BALLOON_WHY_DEAD_BAND);
    } else if (view->state < BALLOON_HOST_HARD && (g->flags & (uint32_t)BALLOON_GUEST_STALE)) {
        bl_keep(g, wish, BALLOON_WHY_STALE);
    } else if (view->state < BALLOON_HOST_HARD && is_stalling(s, g) &&
               bl_sat_mul(density(g), MUCH_MORE) >= s->density) {
        bl_keep(g, wish, BALLOON_WHY_PRESSURE);
    } else if (is_held(w, g, view)) {
        bl_keep(g, wish, BALLOON_WHY_COOL_DOWN);
    } else {
        uint64_t step = shrink_step(s, g, gap, view->state);

        if (step == 0)
            bl_keep(g, wish, s->wanted == 0 ? BALLOON_WHY_HOLD : BALLOON_WHY_DEMAND);
        else
            bl_wish(g, wish, g->target - step, whys[view->state]);
    }
}

/* What is a rate goes by seconds, however often this is called. In between only those are helped
 * that cannot wait, by what costs nobody anything; and a host that is short. */
static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct waterline *s = state;

    s->due = bl_due(&s->next, view->now, TICK);
    s->news = s->urgent = false;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (s->due || !((struct waterline_guest *)g->state)->started) {
            update_demand(s, g->state, g, view);
            update_price(s, g->state, g);
        }
        look(s, g->state, g);
        s->urgent |= ((struct waterline_guest *)g->state)->urgent;
    }
    if (s->due || s->news || view->state >= BALLOON_HOST_HARD) {
        entitle(s, view, wishes);
        balance(s, view, wishes);
    }
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (!bl_movable(g))
            bl_keep_fixed(g, &wishes[i]);
        else if (wishes[i].target > g->target)
            grow(s, g->state, g, &wishes[i]);
        else if (wishes[i].target < g->target)
            shrink(s, g->state, g, view, &wishes[i]);
        else
            bl_keep(g, &wishes[i], BALLOON_WHY_HOLD);
    }
}

const balloon_policy balloon_policy_waterline = {
    .size = sizeof(balloon_policy),
    .name = "waterline",
    .state_bytes = sizeof(struct waterline),
    .guest_bytes = sizeof(struct waterline_guest),
    .scratch_words = BL_SLOPE_WORDS > BL_VESSEL_WORDS ? BL_SLOPE_WORDS : BL_VESSEL_WORDS,
    .init = init,
    .decide = decide,
};
