/* What the host gets to know of a guest: statistics on their way, and what it measures itself. */
#include <string.h>

#include "sim_p.h"

#define ACTIVE_MS    10000
#define RESETS_MS    60000
#define MINOR_FAULTS 1000 /* in a second, whatever happens */
#define DIRECT_PART  8
#define BATCH        32

/* What measure_reclaim() knows. */
#define RECLAIM                                                                                    \
    ((uint32_t)1 << BALLOON_STAT_ALLOC_STALL | (uint32_t)1 << BALLOON_STAT_DIRECT_RECLAIM |        \
     (uint32_t)1 << BALLOON_STAT_DIRECT_SCAN | (uint32_t)1 << BALLOON_STAT_ASYNC_RECLAIM |         \
     (uint32_t)1 << BALLOON_STAT_ASYNC_SCAN)

/* Off by up to the guest's noise. */
static uint64_t noisy(struct bl_sim_guest *g, uint64_t value)
{
    uint32_t noise = g->config->noise * 1000;
    uint64_t part = MILLION - noise + bl_sim_below(&g->random, 2 * noise + 1);
    uint64_t whole = bl_div(value, MILLION);

    /* value * part / MILLION without more than 64 bits: no guest has 2^47 bytes. */
    return whole * part + bl_div((value - whole * MILLION) * part, MILLION);
}

static uint64_t bytes(uint64_t pages)
{
    return pages << BALLOON_PAGE_SHIFT;
}

static uint64_t since_boot(uint64_t count, uint64_t base)
{
    return bytes(bl_div(count - base, MILLION));
}

/* Who reclaims, as in Linux: kswapd most of it, allocators that cannot wait for it some, in batches
 * of SWAP_CLUSTER_MAX; half of what they look at is in use. */
static void measure_reclaim(const struct bl_sim_guest *g, uint64_t *v)
{
    uint64_t pages = bl_div(g->counts.reclaimed - g->base.reclaimed, MILLION);
    uint64_t direct = bl_div(pages, DIRECT_PART);

    v[BALLOON_STAT_ALLOC_STALL] = bl_div(direct, BATCH);
    v[BALLOON_STAT_DIRECT_RECLAIM] = bytes(direct);
    v[BALLOON_STAT_DIRECT_SCAN] = bytes(2 * direct);
    v[BALLOON_STAT_ASYNC_RECLAIM] = bytes(pages - direct);
    v[BALLOON_STAT_ASYNC_SCAN] = bytes(2 * (pages - direct));
}

/* Free memory and caches as a kernel counts them that keeps some memory free: mm/show_mem.c,
 * si_mem_available(). */
static uint64_t measure_free(const struct bl_sim_guest *g, uint64_t caches, uint64_t *available)
{
    uint64_t free = bl_sim_most(g->size - g->hot - g->cold - g->cache, g->sight.kept);

    free = bl_sim_least(free, g->size);
    caches = bl_sim_least(caches, g->size - free);
    *available = free - bl_sim_least(free, g->sight.kept) + caches -
                 bl_sim_least(caches / 2, g->sight.kept / 2);
    return free;
}

/* All that is known of the guest, as it is. */
static void measure(const balloon_sim *sim, struct bl_sim_guest *g, uint64_t *v)
{
    const struct bl_sim_counts *c = &g->counts, *base = &g->base;
    uint64_t file = bl_div(g->hot * g->phase->file, 1000);
    uint64_t available, free = measure_free(g, g->cache + file, &available);
    uint64_t faults = bl_div(c->faults - base->faults, MILLION);
    uint64_t anon = bl_div(g->pages * (1000 - g->phase->file), 1000) + g->phase->cold;
    bool has_balloon = g->config->flags & BALLOON_SIM_DEFLATES_ON_OOM;

    v[BALLOON_STAT_SWAP_IN] = since_boot(c->swap_in, base->swap_in);
    v[BALLOON_STAT_SWAP_OUT] = since_boot(c->swap_out, base->swap_out);
    v[BALLOON_STAT_MAJOR_FAULTS] = faults;
    v[BALLOON_STAT_MINOR_FAULTS] = faults + bl_div((sim->now - g->base_time) * MINOR_FAULTS, 1000);
    v[BALLOON_STAT_FREE] = noisy(g, bytes(free));
    v[BALLOON_STAT_TOTAL] = bytes(has_balloon ? g->config->max : g->size);
    v[BALLOON_STAT_AVAILABLE] = noisy(g, bytes(available));
    v[BALLOON_STAT_CACHES] = noisy(g, bytes(g->cache + file));
    if (g->sight.sends & RECLAIM)
        measure_reclaim(g, v);
    v[BALLOON_STAT_OOM_KILL] = c->kills - base->kills;
    v[BALLOON_STAT_COMMITTED] = noisy(g, bytes(anon + g->config->max - g->size));
    v[BALLOON_STAT_STALL_SOME] = bl_div(c->stall - base->stall, 1000);
    v[BALLOON_STAT_STALL_FULL] = v[BALLOON_STAT_STALL_SOME] / 2;
}

static void forge(const balloon_sim *sim, struct bl_sim_guest *g, uint64_t *v)
{
    uint64_t seconds = bl_div(sim->now, 1000);

    switch (g->forgery) {
    case BALLOON_SIM_FORGES_FREE:
        v[BALLOON_STAT_FREE] = v[BALLOON_STAT_AVAILABLE] = bytes(g->config->max * 4);
        break;
    case BALLOON_SIM_FORGES_STALL:
        v[BALLOON_STAT_STALL_SOME] = v[BALLOON_STAT_STALL_FULL] = sim->now * 1000;
        v[BALLOON_STAT_MAJOR_FAULTS] = seconds * 100000;
        v[BALLOON_STAT_MINOR_FAULTS] = seconds * 200000;
        v[BALLOON_STAT_SWAP_IN] = v[BALLOON_STAT_SWAP_OUT] = bytes(seconds * 100000);
        break;
    case BALLOON_SIM_FORGES_NEED:
        v[BALLOON_STAT_FREE] = v[BALLOON_STAT_AVAILABLE] = v[BALLOON_STAT_CACHES] = 0;
        break;
    case BALLOON_SIM_NOISE:
        for (int i = 0; i < BALLOON_STAT_COUNT; i++)
            v[i] = bl_sim_random(&g->random);
        break;
    default:
        break;
    }
}

static void collect(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t *values = g->on_way.value;

    if (g->forgery == BALLOON_SIM_FROZEN && g->sampled) {
        g->on_way = g->last;
        return;
    }
    if (g->forgery == BALLOON_SIM_RESETS && sim->now - g->base_time >= RESETS_MS) {
        g->base = g->counts;
        g->base_time = sim->now;
    }
    memset(values, 0, BALLOON_STAT_COUNT * sizeof(*values));
    measure(sim, g, values);
    forge(sim, g, values);
    g->on_way.present = g->sight.sends & (((uint32_t)1 << BALLOON_STAT_COUNT) - 1);
    for (uint32_t i = 0; i < BALLOON_STAT_COUNT; i++)
        if (!(g->on_way.present >> i & 1))
            values[i] = 0;
}

/* In a simulation that may rest, answers that come before the next decision come at once, since
 * nobody looks before: that is what costs the most time. */
static bool in_time(const balloon_sim *sim, const struct bl_sim_guest *g, uint64_t arrival)
{
    return sim->config.rest_ms && g->sight.asked && arrival < sim->now + sim->config.tick_ms;
}

/* As long as nothing happens, nothing new is said. */
static uint64_t period_of(const balloon_sim *sim, const struct bl_sim_guest *g)
{
    return bl_sim_most(g->sight.period, sim->pause);
}

static void deliver(balloon_sim *sim, struct bl_sim_guest *g, uint64_t at)
{
    uint64_t stamp = g->sight.seconds && !g->asked ? bl_div(at, 1000) * 1000 : at;

    g->in_flight = false;
    g->sampled = true;
    g->last = g->on_way;
    g->last.time = stamp * MILLION;
    if (g->balloon && sim->config.actuator->sample)
        sim->config.actuator->sample(g->balloon, &g->last, at * MILLION);
    sim->refusals += balloon_pool_sample(sim->pool, g->id, &g->last, at * MILLION) != BALLOON_OK;
    /* Who is asked anyway needs no time of his own. */
    if (in_time(sim, g, at))
        g->at[BL_SIM_SAMPLE] = sim->now + 2 * (uint64_t)sim->config.rest_ms + g->sight.period;
    else
        g->at[BL_SIM_SAMPLE] = bl_sim_most(g->requested + period_of(sim, g), sim->now);
}

/* One request at a time, as there is one buffer. */
static void request(balloon_sim *sim, struct bl_sim_guest *g, bool asked)
{
    uint64_t arrival;

    g->requested = sim->now;
    g->asked = asked;
    if (g->forgery == BALLOON_SIM_SILENT || g->sight.sends == BALLOON_SIM_SENDS_NONE ||
        bl_sim_below(&g->random, 1000) < g->config->loss) {
        g->at[BL_SIM_SAMPLE] = sim->now + period_of(sim, g);
        return;
    }
    collect(sim, g);
    arrival = sim->now + g->sight.age + bl_sim_below(&g->random, g->sight.jitter + 1);
    g->in_flight = true;
    g->at[BL_SIM_SAMPLE] = arrival;
    if (in_time(sim, g, arrival))
        deliver(sim, g, arrival);
}

/* Statistics arrive, or it is time to ask for them. */
void bl_sim_sample(balloon_sim *sim, struct bl_sim_guest *g)
{
    if (g->in_flight)
        deliver(sim, g, sim->now);
    else
        request(sim, g, false);
}

/* The last statistics before something happens, which would have come if there had been no rest. */
void bl_sim_catch_up(balloon_sim *sim, struct bl_sim_guest *g)
{
    if (g->at[BL_SIM_SAMPLE] == BALLOON_SIM_NEVER || g->in_flight)
        return;
    bl_sim_settle(sim, g);
    request(sim, g, true);
    if (g->in_flight)
        deliver(sim, g, sim->now);
    bl_sim_wait(sim, g);
}

/* Statistics that the pool wants before its next decisions, or that it is time for. */
void bl_sim_ask(balloon_sim *sim, struct bl_sim_guest *g)
{
    bool due = sim->config.rest_ms && sim->now - g->requested >= g->sight.period;

    if (g->at[BL_SIM_SAMPLE] == BALLOON_SIM_NEVER || g->in_flight ||
        (!due &&
         !(balloon_pool_wants(sim->pool, g->id, bl_sim_time(sim)) & BALLOON_POOL_WANTS_SAMPLE)))
        return;
    bl_sim_settle(sim, g);
    request(sim, g, true);
    bl_sim_wait(sim, g);
}

void bl_sim_measure_active(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t pages = bl_sim_least(noisy(g, g->hot), g->size);

    sim->refusals +=
        balloon_pool_set_active(sim->pool, g->id, pages, bl_sim_time(sim)) != BALLOON_OK;
    g->at[BL_SIM_ACTIVE] = sim->now + ACTIVE_MS;
}

void bl_sim_measure_curve(balloon_sim *sim, struct bl_sim_guest *g)
{
    balloon_curve curve = bl_sim_curve(g);

    sim->refusals += balloon_pool_set_curve(sim->pool, g->id, &curve) != BALLOON_OK;
    g->at[BL_SIM_CURVE] = BALLOON_SIM_NEVER;
}
