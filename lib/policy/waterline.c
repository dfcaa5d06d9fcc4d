/* Idle-taxed shares of a measured, probed demand, with a price that rises while a guest waits.
 * Five questions, a function or two each: what a guest needs (waterline_demand.c), how much its
 * need counts (price), what it is entitled to (entitle), how much has to move for that (balance),
 * and how to get there (step). */
#include "waterline_p.h"

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

    if (!bl_sized(k, sizeof(*k)))
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
    /* What it waited for has ended. */
    if (!bl_knows(g, BALLOON_KNOWS_ACTIVE) && bl_says(g, BALLOON_KNOWS_FREE) &&
        idle_pages(g) > g->size / 4)
        w->price = 0;
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
    bool measured = bl_knows(g, BALLOON_KNOWS_ACTIVE);
    uint64_t least = measured ? bl_guest_floor(g->size) : margin(g->size);
    uint64_t spare = bl_less(g->available, least + leaving(g));

    if (measured)
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
            bl_waterline_update_demand(s, g->state, g, view);
            update_price(s, g->state, g);
        }
        bl_waterline_look(s, g->state, g);
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
