/* A guest: what is in its memory, what it misses, and how its balloon moves. */
#include "sim_p.h"

#define FORGET_MS    120000 /* what was not used for so long is idle */
#define WARM_MS      1000
#define CURVE_MS     30000 /* the host needs so long to measure a curve */
#define KILL_MS      10000
#define SLOW_RATE    3840 /* 15 MiB/s */
#define GROW_MS      100
#define SWAP_CLUSTER 8

/* SplitMix64 (Steele, Lea, Flood 2014): any state is a good one. */
uint64_t bl_sim_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t bl_sim_below(uint64_t *state, uint32_t bound)
{
    return (bl_sim_random(state) >> 32) * bound >> 32;
}

static uint64_t anon(const struct bl_sim_guest *g, uint64_t pages)
{
    return bl_div(pages * (1000 - g->phase->file), 1000);
}

uint64_t bl_sim_guest_swapped(const struct bl_sim_guest *g)
{
    return anon(g, g->pages) - anon(g, g->hot) + g->phase->cold - g->cold;
}

/* The scenario's shape, scaled to a phase. Points that fall on one page become one. */
static void scale_curve(const balloon_sim *sim, struct bl_sim_guest *g)
{
    const balloon_curve *shape = &sim->scenario->curves[g->phase->curve];
    balloon_curve reached = {g->points, 0};

    g->point_count = 0;
    for (uint32_t i = 0; i < shape->count; i++) {
        uint64_t pages = shape->points[i].pages * g->phase->pages >> 16;

        if (!g->point_count || pages > g->points[g->point_count - 1].pages)
            g->point_count++;
        g->points[g->point_count - 1] =
            (balloon_curve_point){pages, shape->points[i].misses * g->phase->misses >> 16};
    }
    reached.count = g->point_count;
    g->least = balloon_curve_at(&reached, bl_sim_least(g->config->max, g->phase->pages));
}

/* Only so much fits into the guest: idle cache goes first, then cold memory, then the working set.
 * What is not cache is written to swap. */
static void fit(struct bl_sim_guest *g)
{
    uint64_t before = bl_sim_guest_swapped(g), had = g->hot + g->cold + g->cache;

    g->hot = bl_sim_least(g->hot, g->size);
    g->cold = bl_sim_least(g->cold, g->size - g->hot);
    g->cache = bl_sim_least(g->cache, g->size - g->hot - g->cold);
    g->counts.swap_out += (bl_sim_guest_swapped(g) - before) * MILLION;
    g->counts.reclaimed += (had - g->hot - g->cold - g->cache) * MILLION;
}

static void find_phase(struct bl_sim_guest *g, uint64_t now)
{
    const balloon_sim_guest *c = g->config;
    uint64_t cycle = c->repeat_ms ? bl_div(now, c->repeat_ms) * c->repeat_ms : 0;
    /* Time only goes on, so no earlier phase of the same cycle can be the one. */
    uint32_t i = cycle == g->cycle ? (uint32_t)(g->phase - c->phases) : 0;

    g->cycle = cycle;
    while (i + 1 < c->phase_count && g->cycle + c->phases[i + 1].at_ms <= now)
        i++;
    g->phase = &c->phases[i];
    if (i + 1 < c->phase_count)
        g->at[BL_SIM_PHASE] = g->cycle + c->phases[i + 1].at_ms;
    else
        g->at[BL_SIM_PHASE] = c->repeat_ms ? g->cycle + c->repeat_ms : BALLOON_SIM_NEVER;
}

void bl_sim_guest_phase(balloon_sim *sim, struct bl_sim_guest *g, bool booted)
{
    const balloon_sim_phase *old = g->phase, *new;
    uint64_t had = g->pages;
    uint64_t swapped = bl_sim_guest_swapped(g);

    find_phase(g, sim->now);
    new = g->phase;
    scale_curve(sim, g);
    if (g->sight.flags & BALLOON_SIM_HOST_CURVE && g->presence == BL_SIM_PRESENT)
        g->at[BL_SIM_CURVE] = sim->now + CURVE_MS;
    g->pages = new->pages;
    g->at[BL_SIM_GROW] = BALLOON_SIM_NEVER;
    if (booted) {
        g->used_until = 0;
        g->hot = new->pages;
        g->cold = new->cold;
        g->cache = 0;
    } else {
        if (new->grow && had < new->pages) {
            g->pages = had;
            g->grow_rest = 0;
            g->at[BL_SIM_GROW] = sim->now + GROW_MS;
        }
        if (had > g->pages) {
            g->used = bl_sim_most(had, sim->now < g->used_until ? g->used : 0);
            g->at[BL_SIM_FORGET] = g->used_until = sim->now + FORGET_MS;
        }
        /* Files stay in the cache when they are not used any more. */
        g->cache += bl_div(bl_sim_beyond(g->hot, g->pages) * old->file, 1000);
        g->hot = bl_sim_least(g->pages, g->hot + bl_sim_beyond(g->pages, had));
        g->cold = bl_sim_least(g->cold, new->cold) + bl_sim_beyond(new->cold, old->cold);
        g->counts.swap_out += bl_sim_beyond(bl_sim_guest_swapped(g), swapped) * MILLION;
    }
    fit(g);
    bl_sim_guest_refresh(sim, g);
}

/* Put a change of size into effect. */
static void resize(balloon_sim *sim, struct bl_sim_guest *g, uint64_t size)
{
    uint64_t from = g->size;

    sim->used += size - from;
    sim->committed += bl_sim_most(size, g->target) - bl_sim_most(from, g->target);
    g->size = size;
    fit(g);
    if (!g->config->refill && g->hot < size) {
        uint64_t had = g->hot;

        g->hot = bl_sim_least(size, g->pages);
        g->counts.swap_in += (anon(g, g->hot) - anon(g, had)) * MILLION;
        fit(g);
    }
    bl_sim_moved(g, from);
    bl_sim_guest_refresh(sim, g);
}

/* Some of the working set has come back, and pushed out idle cache and cold memory. */
void bl_sim_guest_warm(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t room = bl_sim_least(g->size, g->pages), had = g->hot;
    uint64_t total = g->faults * g->config->refill * (sim->now - g->warmed) + g->warm_rest;
    uint64_t pages = bl_div(total, MILLION);

    g->warm_rest = total - pages * MILLION;
    g->warmed = sim->now;
    g->hot = bl_sim_least(room, g->hot + pages);
    g->counts.swap_in += (anon(g, g->hot) - anon(g, had)) * MILLION;
    fit(g);
    bl_sim_guest_refresh(sim, g);
}

static bool refilling(const struct bl_sim_guest *g)
{
    return g->hot < bl_sim_least(g->size, g->pages);
}

/* In a thousand seconds, where a page must go to swap for each that a set grows by: they are
 * written in clusters. */
static uint64_t writes_to_grow(const struct bl_sim_guest *g)
{
    if (g->pages == g->phase->pages || g->hot + g->cold < g->size)
        return 0;
    return anon(g, (uint64_t)g->phase->grow * 1000) / SWAP_CLUSTER;
}

/* More of the working set has been touched, as fast as stalls let it. */
void bl_sim_guest_grow(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t total = bl_mul_div((uint64_t)g->phase->grow * GROW_MS, MILLION - g->stall, MILLION);
    uint64_t pages;

    total += g->grow_rest;
    pages = bl_sim_least(bl_div(total, 1000), g->phase->pages - g->pages);
    g->grow_rest = total - bl_div(total, 1000) * 1000;
    g->pages += pages;
    g->hot += pages;
    fit(g);
    g->at[BL_SIM_GROW] = g->pages < g->phase->pages ? sim->now + GROW_MS : BALLOON_SIM_NEVER;
    bl_sim_guest_refresh(sim, g);
}

/* What follows from what is in memory: misses, stall, idle memory. */
void bl_sim_guest_refresh(balloon_sim *sim, struct bl_sim_guest *g)
{
    balloon_curve curve = bl_sim_curve(g);

    sim->idle -= g->idle;
    sim->missing -= g->missing;
    sim->idle_missing -= g->missing ? g->idle : 0;
    g->misses = g->faults = g->swaps = g->idle = 0;
    g->stall = 0;
    g->missing = false;
    if (g->presence == BL_SIM_WAITING)
        g->misses = balloon_curve_at(&curve, g->config->min);
    if (g->presence == BL_SIM_PRESENT) {
        uint64_t used = bl_sim_most(g->pages, sim->now < g->used_until ? g->used : 0);
        /* What it has not touched yet is as good as there. */
        uint64_t has = g->hot + (g->phase->pages - g->pages);
        uint64_t touched = balloon_curve_at(&curve, has), wait;

        g->misses = balloon_curve_at(&curve, bl_sim_least(has, g->size));
        wait = (touched + writes_to_grow(g)) * (g->config->miss_us ? g->config->miss_us : 100);
        /* A thousand seconds are 10^9 us. */
        if (!(g->phase->flags & BALLOON_SIM_STREAM))
            g->stall = (uint32_t)bl_mul_div(wait, MILLION, wait + 1000 * MILLION);
        g->faults = bl_mul_div(touched, MILLION - g->stall, MILLION);
        /* Pages that refill the working set are counted when they have come. */
        g->swaps = refilling(g) ? 0 : anon(g, g->faults);
        g->missing = g->misses > g->least;
        g->idle = bl_sim_beyond(g->size, used);
    }
    sim->idle += g->idle;
    sim->missing += g->missing;
    sim->idle_missing += g->missing ? g->idle : 0;
}

/* Where its balloon is going: not always where it was told to. */
static uint64_t goal_of(const struct bl_sim_guest *g)
{
    uint64_t goal = g->target, need = bl_sim_need(g);

    if (g->presence != BL_SIM_PRESENT || g->manner == BALLOON_SIM_STUCK ||
        g->flags & BALLOON_GUEST_NO_DRIVER)
        return g->size;
    if (g->manner == BALLOON_SIM_HALF)
        goal = bl_sim_most(goal, g->half);
    if (g->manner == BALLOON_SIM_THIEF)
        goal = bl_sim_most(goal, bl_sim_least(g->config->max, g->pages + g->phase->cold));
    if (g->config->flags & BALLOON_SIM_DEFLATES_ON_OOM)
        goal = bl_sim_most(goal, bl_sim_least(g->config->max, need));
    if (goal < g->size)
        goal = bl_sim_most(goal, bl_sim_least(g->size, bl_sim_most(g->config->floor, need)));
    return goal;
}

static uint64_t rate_of(const struct bl_sim_guest *g, bool grows)
{
    uint64_t rate = grows ? 204800 : 25600;

    if (grows && g->config->deflate)
        rate = g->config->deflate;
    if (!grows && g->config->inflate)
        rate = g->config->inflate;
    /* Nothing is at hand: pages must be dropped and swapped for it. */
    if (!grows && g->size - g->hot - g->cold < g->size >> 5)
        rate = bl_sim_most(rate >> 2, 1);
    return g->manner == BALLOON_SIM_SLOW ? bl_sim_least(rate, SLOW_RATE) : rate;
}

void bl_sim_guest_move(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t goal, far, total, pages, size;
    bool grows;

    if (g->at[BL_SIM_WARM] != BALLOON_SIM_NEVER)
        bl_sim_guest_warm(sim, g);
    goal = goal_of(g);
    grows = goal > g->size;
    far = grows ? goal - g->size : g->size - goal;
    total = rate_of(g, grows) * (sim->now - g->moved) + g->move_rest;
    pages = bl_div(total, 1000);
    g->move_rest = total - pages * 1000;
    pages = bl_sim_least(pages, far);
    size = grows ? g->size + pages : g->size - pages;
    if (g->balloon && size != g->size)
        size = bl_sim_least(sim->config.actuator->move(g->balloon, size, bl_sim_time(sim)),
                            g->config->max);
    resize(sim, g, size);
    g->at[BL_SIM_MOVE] = BALLOON_SIM_NEVER;
    g->moved = sim->now;
}

/* Time to the next look at what has come back: in a rest, of a 16th of what is missing. */
static uint64_t warm_ms(const balloon_sim *sim, const struct bl_sim_guest *g)
{
    uint64_t missing = bl_sim_least(g->size, g->pages) - g->hot, part;

    if (!sim->pause)
        return WARM_MS;
    part = bl_mul_div(missing, MILLION / 16, g->faults * g->config->refill);
    return bl_sim_most(WARM_MS, bl_sim_least(sim->config.rest_ms, part));
}

/* When the guest has something to do next, by itself. */
void bl_sim_guest_schedule(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t goal = goal_of(g);
    bool lives = g->presence == BL_SIM_PRESENT;

    if (goal == g->size) {
        g->at[BL_SIM_MOVE] = BALLOON_SIM_NEVER;
        g->move_rest = 0;
    } else if (g->at[BL_SIM_MOVE] == BALLOON_SIM_NEVER) {
        uint64_t rate = rate_of(g, goal > g->size);
        uint64_t far = goal > g->size ? goal - g->size : g->size - goal;
        uint64_t wait = bl_div(bl_sim_beyond(far * 1000, g->move_rest) + rate - 1, rate);

        g->moved = sim->now;
        g->at[BL_SIM_MOVE] = sim->now + bl_sim_most(1, bl_sim_least(wait, sim->config.step_ms));
    }
    if (!lives || !refilling(g) || !g->faults) {
        g->at[BL_SIM_WARM] = BALLOON_SIM_NEVER;
        g->warm_rest = 0;
    } else if (g->at[BL_SIM_WARM] <= sim->now || g->at[BL_SIM_WARM] == BALLOON_SIM_NEVER) {
        g->warmed = sim->now;
        g->at[BL_SIM_WARM] = sim->now + warm_ms(sim, g);
    }
    if (!lives || g->size >= bl_sim_need(g))
        g->at[BL_SIM_OOM] = BALLOON_SIM_NEVER;
    else if (g->at[BL_SIM_OOM] == BALLOON_SIM_NEVER)
        g->at[BL_SIM_OOM] =
            sim->now + (g->config->flags & BALLOON_SIM_DEFLATES_ON_OOM ? KILL_MS : 0);
}

void bl_sim_guest_oom(balloon_sim *sim, struct bl_sim_guest *g)
{
    g->counts.kills++;
    g->at[BL_SIM_OOM] = sim->now + KILL_MS;
}
