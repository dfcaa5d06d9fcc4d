/* What the files of the simulator share. */
#ifndef BALLOON_SIM_SIM_P_H
#define BALLOON_SIM_SIM_P_H

#include <balloon/sim.h>

#include "../core/sized.h"
#include "../core/wide.h"

#define MILLION ((uint64_t)1000000)

/* What a guest waits for. Each has its time; the order is that in which they happen at one time. */
enum bl_sim_timer {
    BL_SIM_DEPART,
    BL_SIM_ARRIVE,
    BL_SIM_PHASE,
    BL_SIM_BOOT,   /* the driver starts */
    BL_SIM_GROW,   /* the next step of a working set that grows */
    BL_SIM_MOVE,   /* the next step of the balloon */
    BL_SIM_WARM,   /* some of the working set has come back */
    BL_SIM_OOM,    /* something is killed if there is still not enough */
    BL_SIM_FORGET, /* what belonged to an earlier phase is idle from now on */
    BL_SIM_SAMPLE, /* statistics are requested, or arrive */
    BL_SIM_ACTIVE, /* the host measures the working set */
    BL_SIM_CURVE,  /* the host has measured the curve */
    BL_SIM_TIMERS
};

enum bl_sim_presence { BL_SIM_ABSENT, BL_SIM_WAITING, BL_SIM_PRESENT };

/* Counters that statistics show. */
struct bl_sim_counts {
    uint64_t swap_in, swap_out; /* pages, in millionths */
    uint64_t faults;            /* major ones, in millionths */
    uint64_t stall;             /* ns */
    uint64_t time;              /* ms */
    uint64_t kills;
    uint64_t reclaimed; /* pages that were put to another use, in millionths */
};

/* What the host sees of a guest: the scenario's words, or those of the profile. */
struct bl_sim_sight {
    uint32_t sends, flags;
    uint32_t period, age, jitter; /* ms */
    uint64_t kept;                /* pages that stay free */
    bool seconds;                 /* the time of statistics is a whole second */
    bool asked;                   /* the pool's wishes for statistics are fulfilled */
};

struct bl_sim_guest {
    const balloon_sim_guest *config;
    const balloon_sim_phase *phase;
    uint64_t at[BL_SIM_TIMERS];
    uint64_t next; /* the earliest of them */
    uint32_t heap; /* place in the heap */
    uint32_t presence;
    uint64_t id;   /* the pool's */
    void *balloon; /* the actuator's */

    /* What it is: */
    uint32_t manner, forgery, flags; /* flags are the pool's */
    struct bl_sim_sight sight;
    uint64_t cycle; /* when its phases last started over */
    balloon_curve_point points[BALLOON_CURVE_POINTS_MAX];
    uint32_t point_count;
    uint64_t least; /* misses with all the memory it can have */

    /* Its memory: */
    uint64_t size, target, half; /* half: how far a half-obedient one goes */
    uint64_t pages;              /* its working set, of which it has what is hot */
    uint64_t hot, cold, cache;
    uint64_t cache_rest, move_rest, warm_rest, grow_rest;
    uint64_t moved, warmed;    /* when it last moved, was last filled */
    uint64_t used, used_until; /* working set of an earlier phase, not yet idle */

    /* What follows, constant between two events: */
    uint64_t misses, faults, swaps; /* a thousand seconds */
    uint64_t idle;
    uint32_t stall;
    bool missing; /* more memory would help */

    /* Statistics: */
    uint64_t random;
    uint64_t requested;
    bool in_flight, sampled;
    bool asked;                        /* what is in flight was wanted */
    struct bl_sim_counts counts, base; /* base: as of its boot */
    uint64_t base_time;
    balloon_sample on_way, last;

    /* Sums: */
    uint64_t settled;             /* up to when */
    uint64_t cost;                /* misses, in millionths */
    uint64_t pressure[3];         /* ms */
    uint64_t size_time, due_time; /* pages times ms */
    uint64_t due;                 /* entitlement */
    uint64_t waiting;             /* ms */
    uint64_t churn, reversals;
    uint64_t turn; /* the furthest it went in its direction */
    int direction;
};

struct bl_sim_name {
    uint64_t id;
    uint32_t guest;
};

#define BL_SIM_BUCKETS 144

struct balloon_sim {
    balloon_sim_config config;
    const balloon_scenario *scenario;
    balloon_pool *pool;
    struct bl_sim_guest *guests;
    uint32_t *heap;            /* guests by next */
    uint32_t *line;            /* guests that wait, in order of arrival */
    struct bl_sim_name *names; /* guests of the pool, by rising id */
    uint32_t name_count;
    uint32_t count;

    uint64_t now, tick, record;
    uint64_t decided, pause; /* when it last was, how long nothing is expected to happen then */
    uint64_t resume;         /* when to decide after a rest that ended early; else 0 */
    bool stirred;            /* something happened since it last was */
    uint32_t event;          /* the next one */
    size_t records;
    uint64_t pages, reserve;

    /* Sums over guests, kept up to date: */
    uint64_t used, committed;
    uint64_t idle, idle_missing; /* idle_missing: of guests that miss */
    uint32_t missing;
    uint32_t waiting;
    uint64_t changes;  /* of targets */
    uint64_t refusals; /* calls of the pool that failed: none should */
    bool entitle;      /* entitlements have changed */

    /* Results: */
    uint64_t settled;
    uint64_t idle_time, idle_rest; /* page seconds, and page milliseconds beyond */
    uint64_t stalls[BL_SIM_BUCKETS];
    bool emergency;
    uint64_t emergency_since;
    balloon_sim_result sums; /* those that need no division */
};

/* sim_guest.c: memory and misses of a guest. */
uint64_t bl_sim_random(uint64_t *state);
uint64_t bl_sim_below(uint64_t *state, uint32_t bound);
void bl_sim_guest_phase(balloon_sim *sim, struct bl_sim_guest *g, bool booted);
void bl_sim_guest_move(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_guest_warm(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_guest_grow(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_guest_refresh(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_guest_schedule(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_guest_oom(balloon_sim *sim, struct bl_sim_guest *g);
uint64_t bl_sim_guest_swapped(const struct bl_sim_guest *g);

/* sim_profile.c: what the host sees. */
void bl_sim_look(const balloon_sim *sim, struct bl_sim_guest *g);

/* sim_sample.c: statistics. */
void bl_sim_sample(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_ask(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_catch_up(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_measure_active(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_measure_curve(balloon_sim *sim, struct bl_sim_guest *g);

/* sim_host.c: the pool, arrivals and events. */
void bl_sim_arrive(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_depart(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_boot(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_event(balloon_sim *sim, const balloon_sim_event *event);
void bl_sim_decide(balloon_sim *sim);
void bl_sim_entitle(balloon_sim *sim);

/* sim_metrics.c: sums over time. */
void bl_sim_settle(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_settle_host(balloon_sim *sim);
void bl_sim_moved(struct bl_sim_guest *g, uint64_t from);
void bl_sim_write_records(balloon_sim *sim);

/* sim_valid.c: limits. */
const char *bl_sim_config_fault(const balloon_sim_config *config);

/* sim_heap.c: whose turn it is. Wake a guest after it has changed; let it wait after only the times
 * of what the host measures have; a seat is its place before the first time. */
void bl_sim_wait(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_wake(balloon_sim *sim, struct bl_sim_guest *g);
void bl_sim_seat(balloon_sim *sim, uint32_t place, uint32_t guest);

static inline uint64_t bl_sim_budget(const balloon_sim *sim)
{
    return sim->pages - sim->reserve / 2;
}

static inline balloon_time_t bl_sim_time(const balloon_sim *sim)
{
    return sim->now * MILLION;
}

static inline uint64_t bl_sim_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t bl_sim_most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* a - b, or 0. */
static inline uint64_t bl_sim_beyond(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static inline uint32_t bl_sim_weight(const struct bl_sim_guest *g)
{
    uint32_t weight = g->config->weight ? g->config->weight : g->config->shares;

    return weight ? weight : 1000;
}

static inline balloon_curve bl_sim_curve(const struct bl_sim_guest *g)
{
    return (balloon_curve){g->points, g->point_count};
}

/* What it needs to run without the curve: pages of its own that swap has no room for. */
static inline uint64_t bl_sim_need(const struct bl_sim_guest *g)
{
    uint64_t anon = bl_div(g->pages * (1000 - g->phase->file), 1000) + g->phase->cold;

    return bl_sim_beyond(anon, g->config->swap);
}

#endif
