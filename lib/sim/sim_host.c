/* The host: who is there, what the pool is told, and what comes of its decisions. */
#include <string.h>

#include "sim_p.h"

/* --- guests of the pool ----------------------------------------------------------------------- */

/* The place of an id, or where it would be. */
static uint32_t place_of(const balloon_sim *sim, uint64_t id)
{
    uint32_t low = 0, high = sim->name_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (sim->names[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void put_name(balloon_sim *sim, const struct bl_sim_guest *g)
{
    uint32_t place = place_of(sim, g->id);

    memmove(sim->names + place + 1, sim->names + place,
            (sim->name_count++ - place) * sizeof(*sim->names));
    sim->names[place].id = g->id;
    sim->names[place].guest = (uint32_t)(g - sim->guests);
}

static void drop_name(balloon_sim *sim, uint64_t id)
{
    uint32_t place = place_of(sim, id);

    memmove(sim->names + place, sim->names + place + 1,
            (--sim->name_count - place) * sizeof(*sim->names));
}

/* --- coming and going ------------------------------------------------------------------------- */

static void put(balloon_sim *sim, struct bl_sim_guest *g, uint64_t size, uint64_t target)
{
    sim->used += size - g->size;
    sim->committed += bl_sim_most(size, target) - bl_sim_most(g->size, g->target);
    g->size = size;
    g->target = target;
}

static void tell_flags(balloon_sim *sim, struct bl_sim_guest *g)
{
    sim->refusals +=
        balloon_pool_set_flags(sim->pool, g->id, g->flags, bl_sim_time(sim)) != BALLOON_OK;
}

static void drive(balloon_sim *sim, struct bl_sim_guest *g)
{
    g->flags &= ~(uint32_t)BALLOON_GUEST_NO_DRIVER;
    g->at[BL_SIM_BOOT] = BALLOON_SIM_NEVER;
    if (g->at[BL_SIM_SAMPLE] == BALLOON_SIM_NEVER)
        g->at[BL_SIM_SAMPLE] = sim->now + bl_sim_below(&g->random, g->sight.period);
    tell_flags(sim, g);
}

static void undrive(balloon_sim *sim, struct bl_sim_guest *g)
{
    g->flags |= BALLOON_GUEST_NO_DRIVER;
    g->in_flight = false;
    g->at[BL_SIM_BOOT] = g->at[BL_SIM_SAMPLE] = BALLOON_SIM_NEVER;
    tell_flags(sim, g);
}

/* It has just started, or started again. */
static void start(balloon_sim *sim, struct bl_sim_guest *g)
{
    if (g->balloon) {
        sim->config.actuator->init(g->balloon, g->config->max, bl_sim_time(sim));
        if (g->size < g->config->max)
            put(sim, g,
                bl_sim_least(sim->config.actuator->move(g->balloon, g->size, bl_sim_time(sim)),
                             g->config->max),
                g->target);
    }
    g->turn = g->size;
    g->direction = 0;
    g->at[BL_SIM_MOVE] = g->at[BL_SIM_WARM] = BALLOON_SIM_NEVER;
    g->base = g->counts;
    g->base_time = sim->now;
    bl_sim_guest_phase(sim, g, true);
    undrive(sim, g);
    if (g->config->flags & BALLOON_SIM_NO_DRIVER)
        return;
    if (g->config->boot_ms)
        g->at[BL_SIM_BOOT] = sim->now + g->config->boot_ms;
    else
        drive(sim, g);
}

static void leave_line(balloon_sim *sim, const struct bl_sim_guest *g)
{
    uint32_t i = 0;

    while (&sim->guests[sim->line[i]] != g)
        i++;
    memmove(sim->line + i, sim->line + i + 1, (--sim->waiting - i) * sizeof(*sim->line));
}

static uint64_t start_of(const struct bl_sim_guest *g)
{
    return g->config->start ? g->config->start : g->config->max;
}

static bool admit(balloon_sim *sim, struct bl_sim_guest *g)
{
    const balloon_sim_guest *c = g->config;
    balloon_pool_guest guest = {.size = sizeof(guest),
                                .min = c->min,
                                .max = c->max,
                                .current = start_of(g),
                                .shares = c->shares,
                                .priority = c->priority};

    if (balloon_pool_add(sim->pool, &guest, bl_sim_time(sim), &g->id) != BALLOON_OK)
        return false;
    bl_sim_settle(sim, g);
    g->presence = BL_SIM_PRESENT;
    leave_line(sim, g);
    sim->entitle = true;
    put_name(sim, g);
    put(sim, g, guest.current, guest.current);
    start(sim, g);
    if (g->sight.flags & BALLOON_SIM_HOST_ACTIVE)
        g->at[BL_SIM_ACTIVE] = sim->now + 10000;
    return true;
}

void bl_sim_arrive(balloon_sim *sim, struct bl_sim_guest *g)
{
    g->at[BL_SIM_ARRIVE] = BALLOON_SIM_NEVER;
    g->presence = BL_SIM_WAITING;
    sim->line[sim->waiting++] = (uint32_t)(g - sim->guests);
    if (sim->waiting > 1 || !admit(sim, g))
        bl_sim_guest_phase(sim, g, true);
}

void bl_sim_depart(balloon_sim *sim, struct bl_sim_guest *g)
{
    if (g->presence == BL_SIM_PRESENT) {
        sim->refusals += balloon_pool_remove(sim->pool, g->id) != BALLOON_OK;
        drop_name(sim, g->id);
        put(sim, g, 0, 0);
        g->hot = g->cold = g->cache = 0;
    } else {
        leave_line(sim, g);
        sim->refusals += balloon_pool_reserve(sim->pool, 0) != BALLOON_OK;
    }
    g->presence = BL_SIM_ABSENT;
    g->in_flight = false;
    for (int i = 0; i < BL_SIM_TIMERS; i++)
        g->at[i] = BALLOON_SIM_NEVER;
    bl_sim_guest_refresh(sim, g);
    sim->entitle = true;
}

void bl_sim_boot(balloon_sim *sim, struct bl_sim_guest *g)
{
    drive(sim, g);
}

/* --- events ----------------------------------------------------------------------------------- */

static void guest_event(balloon_sim *sim, struct bl_sim_guest *g, const balloon_sim_event *e)
{
    switch (e->kind) {
    case BALLOON_SIM_REBOOT:
        put(sim, g, g->config->max, g->target);
        start(sim, g);
        break;
    case BALLOON_SIM_DRIVER:
        if (e->value)
            drive(sim, g);
        else
            undrive(sim, g);
        break;
    case BALLOON_SIM_PIN:
        g->flags &= ~(uint32_t)BALLOON_GUEST_PINNED;
        g->flags |= e->value ? BALLOON_GUEST_PINNED : 0;
        tell_flags(sim, g);
        break;
    case BALLOON_SIM_MANNER:
        g->manner = (uint32_t)e->value;
        break;
    default:
        g->forgery = (uint32_t)e->value;
        break;
    }
}

/* A guest that is not there has missed what happens to it. */
void bl_sim_event(balloon_sim *sim, const balloon_sim_event *e)
{
    struct bl_sim_guest *g;

    if (e->kind == BALLOON_SIM_POOL) {
        sim->reserve = bl_sim_most(bl_mul_div(sim->reserve, e->value, sim->pages), 1);
        sim->pages = e->value;
        sim->entitle = true;
        sim->refusals += balloon_pool_resize(sim->pool, sim->pages, sim->reserve) != BALLOON_OK;
        return;
    }
    g = &sim->guests[e->guest];
    if (g->presence != BL_SIM_PRESENT)
        return;
    bl_sim_settle(sim, g);
    guest_event(sim, g, e);
    bl_sim_wake(sim, g);
}

/* --- decisions -------------------------------------------------------------------------------- */

/* Let in who fits now, in order of arrival: what is set aside for one must not go to those behind.
 * Only who could not be let in if he were alone holds up nobody. */
static void let_in(balloon_sim *sim)
{
    uint64_t room = 0;
    bool open = true;

    for (uint32_t i = 0; i < sim->waiting;) {
        struct bl_sim_guest *g = &sim->guests[sim->line[i]];
        uint64_t more = start_of(g);

        if (open && admit(sim, g)) {
            bl_sim_wake(sim, g);
            continue;
        }
        open = open && more > sim->pages - sim->reserve;
        if (balloon_pool_reserve(sim->pool, room + more) == BALLOON_OK)
            room += more;
        i++;
    }
}

static uint64_t entitled(const struct bl_sim_guest *g, uint64_t price)
{
    uint32_t shares = g->config->shares ? g->config->shares : 1000;

    return bl_sim_most(g->config->min, bl_sim_least(g->config->max, price * shares >> 16));
}

/* Everyone's part of the budget by shares, within limits: the highest price at which all fits. */
void bl_sim_entitle(balloon_sim *sim)
{
    uint64_t low = 0, high = (uint64_t)1 << 49, budget = bl_sim_budget(sim);

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2, sum = 0;

        for (uint32_t i = 0; i < sim->count; i++) {
            if (sim->guests[i].presence == BL_SIM_PRESENT)
                sum += entitled(&sim->guests[i], middle);
        }
        if (sum <= budget)
            low = middle;
        else
            high = middle;
    }
    for (uint32_t i = 0; i < sim->count; i++) {
        struct bl_sim_guest *g = &sim->guests[i];

        bl_sim_settle(sim, g);
        g->due = g->presence == BL_SIM_PRESENT ? entitled(g, low) : 0;
    }
    sim->entitle = false;
}

static void take_change(balloon_sim *sim, const balloon_change *change)
{
    struct bl_sim_guest *g = &sim->guests[sim->names[place_of(sim, change->id)].guest];
    uint64_t target = change->target;

    sim->changes++;
    if (target < g->config->min || target > g->config->max)
        sim->sums.unsafe_targets++;
    put(sim, g, g->size, target);
    g->half = target + bl_sim_beyond(g->size, target) / 2;
    bl_sim_wake(sim, g);
}

/* What the decision did to the safety of the host. before: what was committed. */
static void judge(balloon_sim *sim, uint64_t before)
{
    balloon_pool_status status;
    bool emergency;

    balloon_pool_status_get(sim->pool, &status);
    emergency = status.state == BALLOON_HOST_LOW;
    if (sim->committed > before && sim->committed > bl_sim_budget(sim))
        sim->sums.unsafe_growth++;
    if (sim->committed > sim->pages)
        sim->sums.over_pool++;
    sim->sums.shortfall = bl_sim_most(sim->sums.shortfall, status.shortfall);
    if (emergency && !sim->emergency)
        sim->emergency_since = sim->now;
    if (!emergency && sim->emergency)
        sim->sums.emergency_longest =
            bl_sim_most(sim->sums.emergency_longest, sim->now - sim->emergency_since);
    sim->emergency = emergency;
    sim->sums.decisions++;
}

void bl_sim_decide(balloon_sim *sim)
{
    balloon_time_t now = bl_sim_time(sim);
    balloon_change change;
    uint64_t before;

    for (uint32_t i = 0; i < sim->name_count; i++) {
        struct bl_sim_guest *g = &sim->guests[sim->names[i].guest];

        sim->refusals += balloon_pool_set_size(sim->pool, g->id, g->size, now) != BALLOON_OK;
    }
    if (sim->waiting)
        let_in(sim);
    if (sim->entitle)
        bl_sim_entitle(sim);
    before = sim->committed;
    balloon_pool_decide(sim->pool, now);
    while (balloon_pool_next(sim->pool, &change))
        take_change(sim, &change);
    judge(sim, before);
    for (uint32_t i = 0; i < sim->name_count; i++) {
        struct bl_sim_guest *g = &sim->guests[sim->names[i].guest];

        if (g->sight.asked)
            bl_sim_ask(sim, g);
    }
}
