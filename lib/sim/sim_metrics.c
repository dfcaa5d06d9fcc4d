/* Sums over time, and what they come to. */
#include "sim_p.h"

static const uint32_t levels[3] = {1000, 10000, 100000};

/* Eight buckets for each power of two. */
static uint32_t bucket_of(uint32_t stall)
{
    uint32_t shift = 0;

    while (stall >> shift > 15)
        shift++;
    return shift * 8 + (stall >> shift);
}

static uint64_t bucket_end(uint32_t bucket)
{
    uint32_t shift = bucket < 16 ? 0 : bucket / 8 - 1;

    return bl_sim_least(((uint64_t)(bucket - shift * 8) << shift) + ((uint64_t)1 << shift) - 1,
                        MILLION);
}

/* Idle cache grows into what is free, but for a 64th of the guest. */
static void fill_cache(struct bl_sim_guest *g, uint64_t span)
{
    uint64_t room = bl_sim_beyond(g->size - g->hot - g->cold, g->size >> 6);
    uint64_t total = g->config->cache * span + g->cache_rest;
    uint64_t pages = bl_div(total, 1000);

    if (g->cache + pages >= room) {
        g->cache = bl_sim_most(g->cache, room);
        g->cache_rest = 0;
    } else {
        g->cache += pages;
        g->cache_rest = total - pages * 1000;
    }
}

/* Bring a guest's sums up to now. Nothing has changed since the last time, so it does not matter
 * how often this is done. */
void bl_sim_settle(balloon_sim *sim, struct bl_sim_guest *g)
{
    uint64_t span = sim->now - g->settled;

    g->settled = sim->now;
    g->cost += g->misses * span;
    if (g->presence == BL_SIM_WAITING)
        g->waiting += span;
    if (g->presence != BL_SIM_PRESENT || !span)
        return;
    g->counts.time += span;
    g->counts.faults += g->faults * span;
    /* Each page that comes into a full guest takes the place of another. */
    if (g->size - g->hot - g->cold - g->cache <= g->size >> 6)
        g->counts.reclaimed += g->faults * span;
    g->counts.swap_in += g->swaps * span;
    g->counts.swap_out += g->swaps * span;
    g->counts.stall += g->stall * span;
    for (int i = 0; i < 3; i++)
        g->pressure[i] += g->stall > levels[i] ? span : 0;
    sim->stalls[bucket_of(g->stall)] += span;
    g->size_time += g->size * span;
    g->due_time += g->due * span;
    fill_cache(g, span);
}

/* The same for what concerns all. */
void bl_sim_settle_host(balloon_sim *sim)
{
    uint64_t span = sim->now - sim->settled;
    uint64_t idle = 0, total;

    sim->settled = sim->now;
    if (sim->missing == 1)
        idle = sim->idle - sim->idle_missing;
    else if (sim->missing)
        idle = sim->idle;
    total = idle * span + sim->idle_rest;
    sim->idle_time += bl_div(total, 1000);
    sim->idle_rest = total - bl_div(total, 1000) * 1000;
    if (sim->used > sim->pages)
        sim->sums.overrun_ms += span;
    /* The pool's mark for state LOW. */
    if (bl_sim_beyond(sim->pages, sim->used) < bl_div(sim->reserve * 16, 100))
        sim->sums.low_ms += span;
    if (sim->emergency)
        sim->sums.emergency_ms += span;
}

/* Count what was moved, and turns: a way back of at least 1 % from the furthest point. */
void bl_sim_moved(struct bl_sim_guest *g, uint64_t from)
{
    uint64_t size = g->size, amplitude = bl_sim_most(bl_div(g->turn, 100), 1);
    int direction = size > g->turn ? 1 : -1;

    g->churn += size > from ? size - from : from - size;
    if (direction == g->direction) {
        g->turn = size;
    } else if (bl_sim_beyond(size, g->turn) + bl_sim_beyond(g->turn, size) >= amplitude) {
        g->reversals += g->direction != 0;
        g->direction = direction;
        g->turn = size;
    }
}

void bl_sim_write_records(balloon_sim *sim)
{
    balloon_sim_record *row = sim->config.records + sim->records * sim->count;

    for (uint32_t i = 0; i < sim->count; i++) {
        const struct bl_sim_guest *g = &sim->guests[i];

        row[i] = (balloon_sim_record){0};
        if (g->presence != BL_SIM_PRESENT)
            continue;
        row[i].size = g->size;
        row[i].target = g->target;
        row[i].need = g->pages;
        row[i].misses = g->misses;
        row[i].stall = g->stall;
        row[i].present = 1;
    }
    sim->records++;
}

/* part / whole in millionths. */
static uint64_t share(uint64_t part, uint64_t whole)
{
    return whole ? bl_mul_div(part, MILLION, whole) : 0;
}

static uint64_t stall_mean(const struct bl_sim_guest *g)
{
    return g->counts.time ? bl_div(g->counts.stall, g->counts.time) : 0;
}

static void percentile(const balloon_sim *sim, balloon_sim_result *r)
{
    uint64_t seen = 0;

    for (uint32_t i = 0; i < BL_SIM_BUCKETS; i++) {
        seen += sim->stalls[i];
        if (sim->stalls[i] && bl_mul_compare(seen, 100, r->guest_ms, 99) >= 0) {
            r->stall_p99 = bucket_end(i);
            return;
        }
    }
}

/* Each guest's share fits into 64 bits; those of 100000 at their limits need not. */
static void add(uint64_t *sum, uint64_t more)
{
    *sum = bl_sat_add(*sum, more);
}

/* Sums and extremes over guests. */
static void add_guests(const balloon_sim *sim, balloon_sim_result *r)
{
    uint64_t sum = 0, squares = 0, stall = 0, stall_rest = 0, n = 0;

    r->entitlement_min = BALLOON_SIM_NEVER;
    for (uint32_t i = 0; i < sim->count; i++) {
        const struct bl_sim_guest *g = &sim->guests[i];
        uint64_t time = g->counts.time;

        add(&r->cost, bl_mul_div(g->cost, bl_sim_weight(g), MILLION));
        add(&r->misses, bl_div(g->cost, 1000));
        r->waiting_ms += g->waiting;
        if (!time)
            continue;
        r->guest_ms += time;
        add(&r->swap_ins, bl_div(g->counts.swap_in, MILLION));
        add(&r->major_faults, bl_div(g->counts.faults, MILLION));
        r->oom_kills += g->counts.kills;
        r->reversals += g->reversals;
        add(&r->churn, g->churn);
        stall += bl_div(g->counts.stall, 1000);
        stall_rest += g->counts.stall - bl_div(g->counts.stall, 1000) * 1000;
        for (int k = 0; k < 3; k++) {
            r->pressure[k] += g->pressure[k];
            r->pressure_worst[k] = bl_sim_most(r->pressure_worst[k], share(g->pressure[k], time));
        }
        if (g->due_time) {
            uint64_t ratio = share(g->size_time, g->due_time);

            r->entitlement_min = bl_sim_least(r->entitlement_min, ratio);
            r->entitlement_max = bl_sim_most(r->entitlement_max, ratio);
        }
        /* 1 / (1 + stall), where 2^15 is 1: squares of 100000 sums fit into 64 bits. */
        uint64_t y = bl_div(MILLION << 15, MILLION + stall_mean(g));

        n++;
        sum += y;
        squares += y * y;
    }
    if (!r->entitlement_max)
        r->entitlement_min = 0;
    for (int k = 0; k < 3; k++)
        r->pressure[k] = share(r->pressure[k], r->guest_ms);
    stall += bl_div(stall_rest, 1000);
    r->stall_mean = r->guest_ms ? bl_mul_div(stall, 1000, r->guest_ms) : 0;
    r->jain = share(sum * sum, n * squares);
    /* An hour has 3600000 ms. */
    r->reversals_per_hour = r->guest_ms ? bl_mul_div(r->reversals, 3600000000u, r->guest_ms) : 0;
}

/* From the step on: when did all sizes come to stay near their last, and how far past it did they
 * go? */
static void settle_time(const balloon_sim *sim, balloon_sim_result *r)
{
    uint64_t every = sim->config.record_ms, step = sim->scenario->step_ms;
    size_t first = (size_t)bl_div(step + every - 1, every), last = sim->records - 1, settled;

    r->convergence_ms = r->overshoot = BALLOON_SIM_NEVER;
    if (!step || !sim->records || first > last || sim->now - last * every >= every)
        return;
    settled = first;
    r->overshoot = 0;
    for (uint32_t i = 0; i < sim->count; i++) {
        const balloon_sim_record *end = &sim->config.records[last * sim->count + i];
        uint64_t from = sim->config.records[first * sim->count + i].size, to = end->size;
        uint64_t near = bl_div(to, 50), past = 0;

        if (!end->present)
            continue;
        for (size_t k = first; k < last; k++) {
            uint64_t size = sim->config.records[k * sim->count + i].size;

            if (bl_sim_beyond(size, to) + bl_sim_beyond(to, size) > near && k >= settled)
                settled = k + 1;
            past = bl_sim_most(past, from < to ? bl_sim_beyond(size, to) : bl_sim_beyond(to, size));
        }
        if (bl_sim_beyond(from, to) + bl_sim_beyond(to, from) > near)
            r->overshoot = bl_sim_most(r->overshoot, share(past, to));
    }
    r->convergence_ms = settled * every - step;
}

void balloon_sim_result_get(const balloon_sim *sim, balloon_sim_result *result)
{
    balloon_sim_result r = sim->sums;

    r.time_ms = sim->now;
    add_guests(sim, &r);
    percentile(sim, &r);
    r.churn_per_second = sim->now ? bl_mul_div(r.churn, 1000, sim->now) : 0;
    r.idle = sim->now ? bl_mul_div(sim->idle_time, 1000, sim->now) : 0;
    if (sim->emergency)
        r.emergency_longest = bl_sim_most(r.emergency_longest, sim->now - sim->emergency_since);
    settle_time(sim, &r);
    *result = r;
}

balloon_status balloon_sim_guest_result_get(const balloon_sim *sim, uint32_t guest,
                                            balloon_sim_guest_result *result)
{
    const struct bl_sim_guest *g;
    balloon_sim_guest_result r = {0};

    if (guest >= sim->count)
        return BALLOON_ERR_INVALID;
    g = &sim->guests[guest];
    r.time_ms = g->counts.time;
    r.misses = bl_div(g->cost, 1000);
    r.swap_ins = bl_div(g->counts.swap_in, MILLION);
    r.major_faults = bl_div(g->counts.faults, MILLION);
    r.oom_kills = g->counts.kills;
    r.stall_mean = stall_mean(g);
    for (int i = 0; i < 3; i++)
        r.pressure[i] = share(g->pressure[i], r.time_ms);
    if (r.time_ms) {
        r.size_mean = bl_div(g->size_time, r.time_ms);
        r.entitlement = bl_div(g->due_time, r.time_ms);
    }
    r.reversals = g->reversals;
    r.churn = g->churn;
    r.waiting_ms = g->waiting;
    *result = r;
    return BALLOON_OK;
}
