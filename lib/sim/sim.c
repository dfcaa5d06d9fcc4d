/* The life of a simulation: memory, the order of events, questions. */
#include <string.h>

#include "sim_p.h"

#define FIRST_MS 20 /* the first decision, where the pool says when */

/* --- memory ----------------------------------------------------------------------------------- */

/* Where the parts lie. */
struct places {
    uint64_t guests, heap, line, names, pool, balloons, bytes;
    size_t align;
};

static uint64_t aligned(uint64_t bytes, size_t align)
{
    return (bytes + align - 1) & ~(uint64_t)(align - 1);
}

static balloon_pool_config pool_config(const balloon_sim_config *config)
{
    const balloon_scenario *s = config->scenario;
    balloon_pool_config pool = config->pool;

    pool.size = sizeof(pool);
    pool.max_guests = s->guest_count;
    pool.pages = s->pages;
    pool.reserve = s->reserve ? s->reserve : s->pages >> 4;
    return pool;
}

const char *balloon_sim_config_check(const balloon_sim_config *config)
{
    const char *fault = bl_sim_config_fault(config);
    balloon_pool_config pool;

    if (fault)
        return fault;
    pool = pool_config(config);
    return balloon_pool_config_check(&pool) ? "pool: its policy or knobs cannot be used" : NULL;
}

static bool lay_out(const balloon_sim_config *config, struct places *places)
{
    const balloon_scenario *s;
    balloon_pool_config pool;
    balloon_layout layout;
    uint64_t at;

    if (balloon_sim_config_check(config))
        return false;
    s = config->scenario;
    pool = pool_config(config);
    if (balloon_pool_layout(&pool, &layout) != BALLOON_OK)
        return false;
    places->align = layout.align > _Alignof(max_align_t) ? layout.align : _Alignof(max_align_t);
    at = places->guests = aligned(sizeof(balloon_sim), places->align);
    at += sizeof(struct bl_sim_guest) * (uint64_t)s->guest_count;
    places->names = at = aligned(at, places->align);
    at += sizeof(struct bl_sim_name) * (uint64_t)s->guest_count;
    places->heap = at;
    at += sizeof(uint32_t) * (uint64_t)s->guest_count;
    places->line = at;
    at += sizeof(uint32_t) * (uint64_t)s->guest_count;
    places->pool = at = aligned(at, places->align);
    places->balloons = at = aligned(at + layout.bytes, places->align);
    for (uint32_t i = 0; config->actuator && i < s->guest_count; i++) {
        size_t bytes = config->actuator->bytes(s->guests[i].max);

        if (bytes > SIZE_MAX / 2)
            return false;
        at = aligned(at + bytes, places->align);
    }
    places->bytes = at;
    return at <= SIZE_MAX / 2;
}

balloon_status balloon_sim_layout(const balloon_sim_config *config, balloon_layout *layout)
{
    struct places places;

    if (!lay_out(config, &places))
        return BALLOON_ERR_INVALID;
    *layout = (balloon_layout){(size_t)places.bytes, places.align};
    return BALLOON_OK;
}

/* --- events ----------------------------------------------------------------------------------- */

/* When the pool wants to decide next; may be past. */
static uint64_t deadline_of(const balloon_sim *sim)
{
    balloon_time_t deadline = balloon_pool_deadline(sim->pool);

    if (sim->config.tick_ms)
        return sim->decided + sim->config.tick_ms;
    return deadline ? bl_div(deadline + MILLION - 1, MILLION) : FIRST_MS;
}

static uint64_t next_tick(const balloon_sim *sim)
{
    uint64_t deadline = deadline_of(sim);

    if (sim->resume > sim->now)
        return sim->resume;
    if (sim->pause)
        deadline = bl_sim_most(deadline, sim->decided + sim->pause);
    return bl_sim_most(deadline, sim->now + 1);
}

/* Something happens that may lead to other decisions. */
static void stir(balloon_sim *sim)
{
    uint64_t beat;

    sim->stirred = true;
    if (!sim->pause)
        return;
    /* Where the beat would be if it had gone on. */
    beat = bl_sim_most(bl_sim_beyond(deadline_of(sim), sim->decided), 1);
    sim->resume = sim->decided + bl_div(sim->now - sim->decided + beat - 1, beat) * beat;
    sim->pause = 0;
    sim->tick = bl_sim_most(sim->resume, sim->now);
    for (uint32_t i = 0; i < sim->count; i++)
        bl_sim_catch_up(sim, &sim->guests[i]);
}

static void decide(balloon_sim *sim)
{
    uint64_t changes = sim->changes;
    bool calm;

    bl_sim_decide(sim);
    calm = !sim->stirred && sim->changes == changes && !sim->emergency;
    sim->stirred = false;
    sim->decided = sim->now;
    sim->resume = 0;
    if (sim->config.rest_ms && calm)
        sim->pause = bl_sim_least(bl_sim_most(2 * sim->pause, deadline_of(sim) - sim->now),
                                  sim->config.rest_ms);
    else
        sim->pause = 0;
}

static void ring(balloon_sim *sim, struct bl_sim_guest *g, int timer)
{
    if (timer <= BL_SIM_MOVE || timer == BL_SIM_OOM)
        stir(sim);
    switch (timer) {
    case BL_SIM_DEPART:
        bl_sim_depart(sim, g);
        break;
    case BL_SIM_ARRIVE:
        bl_sim_arrive(sim, g);
        break;
    case BL_SIM_PHASE:
        bl_sim_guest_phase(sim, g, false);
        break;
    case BL_SIM_BOOT:
        bl_sim_boot(sim, g);
        break;
    case BL_SIM_GROW:
        bl_sim_guest_grow(sim, g);
        break;
    case BL_SIM_MOVE:
        bl_sim_guest_move(sim, g);
        break;
    case BL_SIM_WARM:
        bl_sim_guest_warm(sim, g);
        break;
    case BL_SIM_OOM:
        bl_sim_guest_oom(sim, g);
        break;
    case BL_SIM_FORGET:
        g->at[BL_SIM_FORGET] = BALLOON_SIM_NEVER;
        bl_sim_guest_refresh(sim, g);
        break;
    case BL_SIM_SAMPLE:
        bl_sim_sample(sim, g);
        break;
    case BL_SIM_ACTIVE:
        bl_sim_measure_active(sim, g);
        break;
    default:
        bl_sim_measure_curve(sim, g);
        break;
    }
}

/* All that happens now. */
static void happen(balloon_sim *sim)
{
    const balloon_scenario *s = sim->scenario;
    struct bl_sim_guest *g;
    bool changes;

    while (sim->event < s->event_count && s->events[sim->event].at_ms == sim->now) {
        stir(sim);
        bl_sim_event(sim, &s->events[sim->event++]);
    }
    while (g = &sim->guests[sim->heap[0]], g->next == sim->now) {
        bl_sim_settle(sim, g);
        changes = false;
        for (int i = 0; i < BL_SIM_TIMERS; i++) {
            if (g->at[i] != sim->now)
                continue;
            changes = changes || i < BL_SIM_SAMPLE;
            ring(sim, g, i);
        }
        if (changes)
            bl_sim_wake(sim, g);
        else
            bl_sim_wait(sim, g);
    }
    if (sim->tick == sim->now) {
        decide(sim);
        sim->tick = next_tick(sim);
    } else if (!sim->config.tick_ms) {
        sim->tick = next_tick(sim);
    }
    if (sim->record == sim->now) {
        bl_sim_write_records(sim);
        sim->record = BALLOON_SIM_NEVER;
        if (bl_div(sim->config.record_count, sim->count) > sim->records)
            sim->record = sim->now + sim->config.record_ms;
    }
    sim->sums.overrun = bl_sim_most(sim->sums.overrun, bl_sim_beyond(sim->used, sim->pages));
}

static uint64_t next_time(const balloon_sim *sim)
{
    const balloon_scenario *s = sim->scenario;
    uint64_t next = bl_sim_least(sim->tick, sim->record);

    if (sim->event < s->event_count)
        next = bl_sim_least(next, s->events[sim->event].at_ms);
    return bl_sim_least(next, sim->guests[sim->heap[0]].next);
}

void balloon_sim_run(balloon_sim *sim, uint64_t until_ms)
{
    uint64_t until = bl_sim_least(until_ms, sim->scenario->duration_ms), next;

    if (until < sim->now)
        return;
    while (next = next_time(sim), next <= until) {
        sim->now = next;
        bl_sim_settle_host(sim);
        happen(sim);
    }
    sim->now = until;
    bl_sim_settle_host(sim);
    for (uint32_t i = 0; i < sim->count; i++)
        bl_sim_settle(sim, &sim->guests[i]);
}

bool balloon_sim_step(balloon_sim *sim)
{
    uint64_t decisions = sim->sums.decisions, until = sim->scenario->duration_ms;

    /* The next decision may be due earlier by what happens before it. */
    while (sim->sums.decisions == decisions && next_time(sim) <= until)
        balloon_sim_run(sim, next_time(sim));
    if (sim->sums.decisions > decisions)
        return true;
    balloon_sim_run(sim, until);
    return false;
}

/* --- setting up ------------------------------------------------------------------------------- */

static void set_guest(balloon_sim *sim, uint32_t i, uint64_t seed)
{
    struct bl_sim_guest *g = &sim->guests[i];

    g->config = &sim->scenario->guests[i];
    g->phase = g->config->phases;
    g->manner = g->config->manner;
    g->forgery = g->config->forgery;
    for (int k = 0; k < BL_SIM_TIMERS; k++)
        g->at[k] = BALLOON_SIM_NEVER;
    g->at[BL_SIM_ARRIVE] = g->config->arrive_ms;
    if (g->config->depart_ms)
        g->at[BL_SIM_DEPART] = g->config->depart_ms;
    /* Draws of one guest do not depend on the others. */
    g->random = seed + i;
    g->random = bl_sim_random(&g->random);
    bl_sim_look(sim, g);
    g->next = BALLOON_SIM_NEVER;
    bl_sim_seat(sim, i, i);
}

balloon_status balloon_sim_init(void *memory, size_t bytes, const balloon_sim_config *config,
                                balloon_sim **out)
{
    struct places places;
    balloon_pool_config pool;
    balloon_sim *sim = memory;
    char *base = memory;
    uint64_t seed;

    if (!lay_out(config, &places) || !memory || (uintptr_t)memory & (places.align - 1))
        return BALLOON_ERR_INVALID;
    if (bytes < places.bytes)
        return BALLOON_ERR_NOSPACE;
    memset(base, 0, (size_t)places.pool);
    memcpy(&sim->config, config, (size_t)bl_sim_least(config->size, sizeof(*config)));
    if (!config->tick_ms && sim->config.profile == BALLOON_SIM_AS_SET)
        sim->config.tick_ms = 1000;
    sim->config.step_ms = config->step_ms ? config->step_ms : 100;
    sim->config.record_ms = config->record_ms ? config->record_ms : 1000;
    sim->scenario = config->scenario;
    sim->count = config->scenario->guest_count;
    sim->guests = (struct bl_sim_guest *)(void *)(base + places.guests);
    sim->names = (struct bl_sim_name *)(void *)(base + places.names);
    sim->heap = (uint32_t *)(void *)(base + places.heap);
    sim->line = (uint32_t *)(void *)(base + places.line);
    pool = pool_config(config);
    sim->pages = pool.pages;
    sim->reserve = pool.reserve;
    sim->tick = sim->config.tick_ms ? sim->config.tick_ms : FIRST_MS;
    sim->record = config->record_count < sim->count ? BALLOON_SIM_NEVER : 0;
    if (balloon_pool_init(base + places.pool, (size_t)(places.balloons - places.pool), &pool,
                          &sim->pool) != BALLOON_OK)
        return BALLOON_ERR_INVALID;

    seed = config->seed;
    seed = bl_sim_random(&seed);
    for (uint32_t i = 0; i < sim->count; i++)
        set_guest(sim, i, seed);
    for (uint32_t i = 0; i < sim->count; i++)
        bl_sim_wake(sim, &sim->guests[i]);
    for (uint32_t i = 0; config->actuator && i < sim->count; i++) {
        sim->guests[i].balloon = base + places.balloons;
        places.balloons +=
            aligned(config->actuator->bytes(sim->guests[i].config->max), places.align);
    }
    happen(sim);
    bl_sim_entitle(sim);
    if (sim->waiting)
        return BALLOON_ERR_INVALID;
    *out = sim;
    return BALLOON_OK;
}

/* --- questions -------------------------------------------------------------------------------- */

uint64_t balloon_sim_now(const balloon_sim *sim)
{
    return sim->now;
}

uint64_t balloon_sim_budget(const balloon_sim *sim)
{
    return bl_sim_budget(sim);
}

const balloon_pool *balloon_sim_pool(const balloon_sim *sim)
{
    return sim->pool;
}

size_t balloon_sim_records(const balloon_sim *sim)
{
    return sim->records;
}

uint64_t balloon_sim_next_change(const balloon_sim *sim)
{
    const balloon_scenario *s = sim->scenario;
    uint64_t next = s->duration_ms;

    for (uint32_t i = 0; i < sim->count; i++) {
        const uint64_t *at = sim->guests[i].at;

        next = bl_sim_least(next, bl_sim_least(at[BL_SIM_PHASE],
                                               bl_sim_least(at[BL_SIM_ARRIVE], at[BL_SIM_DEPART])));
    }
    for (uint32_t i = sim->event; i < s->event_count; i++) {
        if (s->events[i].kind == BALLOON_SIM_POOL)
            return bl_sim_least(next, s->events[i].at_ms);
    }
    return next;
}

balloon_status balloon_sim_truth_get(const balloon_sim *sim, uint32_t guest,
                                     balloon_sim_truth *truth)
{
    const struct bl_sim_guest *g;

    if (guest >= sim->count)
        return BALLOON_ERR_INVALID;
    g = &sim->guests[guest];
    truth->present = g->presence != BL_SIM_ABSENT;
    truth->min = g->config->min;
    truth->max = g->config->max;
    truth->weight = bl_sim_weight(g);
    truth->curve = bl_sim_curve(g);
    return BALLOON_OK;
}

balloon_status balloon_sim_guest_get(const balloon_sim *sim, uint32_t guest,
                                     balloon_sim_guest_status *status)
{
    const struct bl_sim_guest *g;

    if (guest >= sim->count)
        return BALLOON_ERR_INVALID;
    g = &sim->guests[guest];
    memset(status, 0, sizeof(*status));
    status->present = g->presence == BL_SIM_PRESENT;
    status->id = status->present ? g->id : 0;
    status->size = g->size;
    status->target = g->target;
    status->hot = g->hot;
    status->cold = g->cold;
    status->cache = g->cache;
    status->free = g->size - g->hot - g->cold - g->cache;
    status->available = status->free + g->cache + bl_div(g->hot * g->phase->file, 1000);
    status->swapped = status->present ? bl_sim_guest_swapped(g) : 0;
    status->misses = g->misses;
    status->stall = g->stall;
    status->sampled = g->sampled;
    status->last = g->last;
    return BALLOON_OK;
}
