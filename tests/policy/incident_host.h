/* A host on which guests go through what others' guests went through: what came of it, second by
 * second. */
#ifndef INCIDENT_HOST_H
#define INCIDENT_HOST_H

#include <criterion/criterion.h>

#include "sim_lab.h"

#define MIB BALLOON_SIM_MIB
#define GIB BALLOON_SIM_GIB

/* Policies that no embedder would use, so that only the pool stands between them and guests: all
 * from everybody, all of a sudden, and all to everybody. */
static inline void crush_decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    for (uint32_t i = 0; i < view->guest_count; i++)
        wishes[i].target = 0;
}

static inline void turn_decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    if (view->now >= 100 * UINT64_C(1000000000))
        crush_decide(state, view, wishes);
}

static inline void spoil_decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    for (uint32_t i = 0; i < view->guest_count; i++)
        wishes[i].target = UINT64_MAX;
}

static const balloon_policy crush = {
    .size = sizeof(balloon_policy), .name = "crush", .decide = crush_decide};
static const balloon_policy turn = {
    .size = sizeof(balloon_policy), .name = "turn", .decide = turn_decide};
static const balloon_policy spoil = {
    .size = sizeof(balloon_policy), .name = "spoil", .decide = spoil_decide};

/* All built-in policies, then these; NULL after the last. */
static inline const balloon_policy *nth_policy(size_t n)
{
    static const balloon_policy *const bad[] = {&crush, &turn, &spoil};
    size_t count;
    const balloon_policy *const *all = balloon_policies(&count);

    if (n < count)
        return all[n];
    return n - count < sizeof(bad) / sizeof(bad[0]) ? bad[n - count] : NULL;
}

/* What a guest was put through. */
struct watch {
    uint64_t target, size; /* as they stand */
    uint64_t least;        /* smallest size */
    uint64_t drop;         /* largest step down of the target with enough memory on the host, as
                              thousandths of the size */
    uint64_t moved;        /* pages by which targets changed */
    uint32_t changes;      /* of the target */
    uint32_t turns;        /* of the target, from growing to shrinking or back */
    uint64_t need;         /* what it needs, if that matters, */
    uint32_t undone;       /* and times the target fell while it was growing and had not that yet */
    uint32_t pressed;      /* seconds in which it had not gone where it was asked to go */
    uint32_t unfair;       /* times the target fell in spite of these flags, with enough memory */
    uint32_t flags;        /* BALLOON_GUEST_* that forbid that */
    bool growing, moving;
};

struct host {
    struct lab *lab;
    struct watch guests[LAB_GUESTS];
    balloon_host_state state; /* at the last decision */
};

/* A host with that much memory and guests, and a policy with its defaults. Guests keep to what
 * host_guest() says until a test says more. */
static inline struct host host_new(const balloon_policy *policy, uint64_t pages, uint32_t guests)
{
    struct host host = {.lab = lab_new(guests)};

    host.lab->config.pool.policy = policy;
    host.lab->config.pool.knobs = NULL;
    host.lab->config.pool.boot_grace = 0;
    host.lab->scenario.pages = pages;
    host.lab->scenario.reserve = 0;
    host.lab->scenario.duration_ms = 36000000;
    return host;
}

/* A guest that may have from an eighth of its RAM to all of it, and needs some, half of that file:
 * with nothing it would wait for two thirds of the time. */
static inline balloon_sim_guest *host_guest(struct host *host, uint32_t at, uint64_t ram,
                                            uint64_t start, uint64_t need)
{
    balloon_sim_guest *g = &host->lab->guests[at];

    g->min = ram / 8;
    g->max = ram;
    g->start = start;
    g->swap = ram;
    g->cache = 5 * MIB;
    host->lab->phases[at][0] = (balloon_sim_phase){.pages = need, .misses = 20000000, .file = 500};
    return g;
}

/* From then on it needs that. */
static inline void host_phase(struct host *host, uint32_t at, uint64_t at_ms, uint64_t need)
{
    uint32_t n = host->lab->guests[at].phase_count++;

    host->lab->phases[at][n] = host->lab->phases[at][0];
    host->lab->phases[at][n].at_ms = at_ms;
    host->lab->phases[at][n].pages = need;
}

static inline balloon_pool_guest_status host_status(const struct host *host, uint32_t at)
{
    balloon_pool_guest_status status = {0};

    cr_assert_eq(balloon_pool_guest_get(balloon_sim_pool(host->lab->sim),
                                        lab_guest(host->lab, at).id, &status),
                 BALLOON_OK);
    return status;
}

static inline void watch_guest(struct host *host, uint32_t at)
{
    struct watch *w = &host->guests[at];
    balloon_sim_guest_status is = lab_guest(host->lab, at);
    uint64_t before = w->target;

    if (!is.present)
        return;
    w->size = is.size;
    if (!w->least || is.size < w->least)
        w->least = is.size;
    w->target = is.target;
    w->pressed += is.target + 2 * MIB < is.size;
    if (!before || is.target == before)
        return;
    w->changes++;
    w->turns += w->moving && w->growing != (is.target > before);
    w->moving = true;
    w->growing = is.target > before;
    w->undone += is.target < before && is.size < before && is.size < w->need;
    w->moved += is.target > before ? is.target - before : before - is.target;
    if (is.target < before && host->state == BALLOON_HOST_HIGH) {
        uint64_t drop = (before - is.target) * 1000 / is.size;

        if (drop > w->drop)
            w->drop = drop;
        /* What it does not have, it does not lose. */
        if (host_status(host, at).flags & w->flags && is.target < is.size)
            w->unfair++;
    }
}

static inline balloon_pool_status host_pool(const struct host *host)
{
    balloon_pool_status status;

    balloon_pool_status_get(balloon_sim_pool(host->lab->sim), &status);
    return status;
}

/* Go on until then, second by second, in what must be safe for everybody. */
static inline void host_run(struct host *host, uint64_t until_ms)
{
    struct lab *lab = host->lab;
    balloon_sim_result r;
    const char *why = "";

    if (!lab->sim)
        cr_assert_eq(lab_try(lab), BALLOON_OK);
    while (balloon_sim_now(lab->sim) < until_ms) {
        cr_assert(balloon_sim_step(lab->sim));
        host->state = host_pool(host).state;
        for (uint32_t i = 0; i < lab->scenario.guest_count; i++)
            watch_guest(host, i);
    }
    cr_assert(balloon_sim_check(lab->sim, &why), "%s", why);
    r = lab_result(lab);
    cr_assert_eq(r.unsafe_growth, 0, "%s", lab->config.pool.policy->name);
    cr_assert_eq(r.unsafe_targets, 0, "%s", lab->config.pool.policy->name);
}

/* Forget what was seen of a guest; it stands where it stands. */
static inline void host_forget(struct host *host, uint32_t at)
{
    struct watch *w = &host->guests[at];

    *w = (struct watch){.target = w->target, .size = w->size, .need = w->need, .flags = w->flags};
}

/* Milliseconds that a guest has waited for memory so far. */
static inline uint64_t host_waited(const struct host *host, uint32_t at)
{
    balloon_sim_guest_result r = lab_of(host->lab, at);

    return r.stall_mean * r.time_ms / 1000000;
}

/* How much of its time a guest waits until then, in thousandths. */
static inline uint64_t host_waits(struct host *host, uint32_t at, uint64_t until_ms)
{
    uint64_t from, before, after;

    host_run(host, 0);
    from = balloon_sim_now(host->lab->sim);
    before = host_waited(host, at);
    host_run(host, until_ms);
    /* Means are rounded. */
    after = host_waited(host, at);
    return after > before ? (after - before) * 1000 / (until_ms - from) : 0;
}

/* Seconds until a guest has so much, or limit when it has not got it by then. */
static inline uint64_t host_until(struct host *host, uint32_t at, uint64_t pages, uint64_t limit)
{
    uint64_t from = balloon_sim_now(host->lab->sim), seconds = 0;

    while (seconds < limit && lab_guest(host->lab, at).size < pages)
        host_run(host, from + ++seconds * 1000);
    return seconds;
}

static inline void host_free(struct host *host)
{
    lab_free(host->lab);
}

#endif
