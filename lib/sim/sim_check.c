/* The rules inside a simulation, for tests. */
#include "sim_p.h"

#define RULE(condition, text)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            if (why)                                                                               \
                *why = (text);                                                                     \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

static bool check_guest(const struct bl_sim_guest *g, const char **why)
{
    bool there = g->presence == BL_SIM_PRESENT;

    RULE(g->hot + g->cold + g->cache <= g->size, "a guest's memory is used once");
    RULE(g->size <= g->config->max, "a guest is no larger than its RAM");
    RULE(there || g->size + g->target == 0, "who is not there has no memory");
    RULE(!there || (g->hot <= g->pages && g->pages <= g->phase->pages && g->cold <= g->phase->cold),
         "a guest holds what its phase has");
    RULE(g->counts.swap_in <= g->counts.swap_out, "what is swapped in was swapped out");
    return true;
}

static bool check_order(const balloon_sim *sim, const char **why)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        uint32_t place = sim->guests[i].heap;
        uint32_t before = sim->heap[place ? (place - 1) / 2 : 0];

        RULE(sim->heap[place] == i, "each guest has its place");
        RULE(sim->guests[before].next <= sim->guests[i].next, "guests wait in order");
    }
    for (uint32_t i = 1; i < sim->name_count; i++)
        RULE(sim->names[i - 1].id < sim->names[i].id, "names are in order");
    return true;
}

static bool check_sums(const balloon_sim *sim, const char **why)
{
    uint64_t used = 0, committed = 0, idle = 0, idle_missing = 0;
    uint32_t missing = 0, waiting = 0, present = 0;

    for (uint32_t i = 0; i < sim->count; i++) {
        const struct bl_sim_guest *g = &sim->guests[i];

        used += g->size;
        committed += bl_sim_most(g->size, g->target);
        idle += g->idle;
        idle_missing += g->missing ? g->idle : 0;
        missing += g->missing;
        waiting += g->presence == BL_SIM_WAITING;
        present += g->presence == BL_SIM_PRESENT;
    }
    RULE(used == sim->used, "sizes add up");
    RULE(committed == sim->committed, "promises add up");
    RULE(idle == sim->idle && idle_missing == sim->idle_missing, "idle memory adds up");
    RULE(missing == sim->missing, "who misses is counted");
    RULE(waiting == sim->waiting && present == sim->name_count, "guests are counted");
    return true;
}

bool balloon_sim_check(const balloon_sim *sim, const char **why)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        if (!check_guest(&sim->guests[i], why))
            return false;
    }
    RULE(!sim->refusals, "the pool refuses nothing");
    return check_order(sim, why) && check_sums(sim, why) && balloon_pool_check(sim->pool, why);
}
