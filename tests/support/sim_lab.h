/* Small scenarios for tests of the simulator: guests with a straight curve, and a policy that does
 * what a list says. */
#ifndef SIM_LAB_H
#define SIM_LAB_H

#include <stdlib.h>
#include <string.h>

#include <balloon/sim.h>

/* At a decision at or after at_ms, the guest that came as the guest-th shall have that target. */
struct order {
    uint64_t at_ms;
    uint32_t guest;
    uint64_t target;
};

struct orders {
    const struct order *list;
    uint32_t count;
};

static inline bool orders_init(void *state, const void *knobs)
{
    if (knobs)
        memcpy(state, knobs, sizeof(struct orders));
    return true;
}

static inline void orders_decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    const struct orders *orders = state;

    for (uint32_t i = 0; i < orders->count; i++) {
        const struct order *o = &orders->list[i];

        if (view->now >= o->at_ms * 1000000 && o->guest < view->guest_count)
            wishes[o->guest].target = o->target;
    }
}

/* Without orders it holds what there is. */
static const balloon_policy orders_policy = {.size = sizeof(balloon_policy),
                                             .name = "orders",
                                             .state_bytes = sizeof(struct orders),
                                             .init = orders_init,
                                             .decide = orders_decide};

/* From all misses at size 0 to none at the working set. */
static const balloon_curve_point straight_points[] = {{0, 65536}, {65536, 0}};
static const balloon_curve lab_curves[] = {{straight_points, 2}};

#define LAB_GUESTS 4

struct lab {
    balloon_sim_phase phases[LAB_GUESTS][4];
    balloon_sim_guest guests[LAB_GUESTS];
    balloon_sim_event events[8];
    balloon_scenario scenario;
    balloon_sim_config config;
    struct orders orders;
    balloon_sim_record records[4096];
    balloon_sim *sim;
    void *memory;
};

/* Guests of 100000 pages that start with half of it and want all of it: 1000 misses a second. Swap
 * is ample, all memory is anonymous, and comes back at once. Stays the same if nobody changes it.
 */
static inline struct lab *lab_new(uint32_t guests)
{
    struct lab *lab = calloc(1, sizeof(*lab));

    for (uint32_t i = 0; i < LAB_GUESTS; i++) {
        lab->phases[i][0] = (balloon_sim_phase){.pages = 100000, .misses = 2000000};
        lab->guests[i] = (balloon_sim_guest){.min = 1000,
                                             .max = 100000,
                                             .start = 50000,
                                             .swap = 1000000,
                                             .phases = lab->phases[i],
                                             .phase_count = 1};
    }
    lab->scenario = (balloon_scenario){.name = "lab",
                                       .pages = 1000000,
                                       .reserve = 1000,
                                       .duration_ms = 100000,
                                       .curves = lab_curves,
                                       .curve_count = 1,
                                       .guest_count = guests,
                                       .guests = lab->guests,
                                       .events = lab->events};
    lab->config = (balloon_sim_config){.size = sizeof(lab->config), .scenario = &lab->scenario};
    lab->config.pool.policy = &orders_policy;
    lab->config.pool.knobs = &lab->orders;
    /* A pool that asks at once, and never gives up. */
    lab->config.pool.boot_grace = 1;
    return lab;
}

static inline void lab_order(struct lab *lab, const struct order *list, uint32_t count)
{
    lab->orders = (struct orders){list, count};
}

static inline void lab_event(struct lab *lab, uint64_t at_ms, balloon_sim_event_kind kind,
                             uint32_t guest, uint64_t value)
{
    lab->events[lab->scenario.event_count++] =
        (balloon_sim_event){.at_ms = at_ms, .kind = kind, .guest = guest, .value = value};
}

static inline void *lab_memory(const balloon_layout *layout)
{
    return aligned_alloc(layout->align,
                         (layout->bytes + layout->align - 1) / layout->align * layout->align);
}

/* The status of setting up. */
static inline balloon_status lab_try(struct lab *lab)
{
    balloon_layout layout;
    balloon_status status = balloon_sim_layout(&lab->config, &layout);

    if (status != BALLOON_OK)
        return status;
    free(lab->memory);
    lab->memory = lab_memory(&layout);
    return balloon_sim_init(lab->memory, layout.bytes, &lab->config, &lab->sim);
}

static inline balloon_sim_guest_status lab_guest(const struct lab *lab, uint32_t guest)
{
    balloon_sim_guest_status status = {0};

    if (balloon_sim_guest_get(lab->sim, guest, &status) != BALLOON_OK)
        abort();
    return status;
}

static inline balloon_sim_guest_result lab_of(const struct lab *lab, uint32_t guest)
{
    balloon_sim_guest_result result = {0};

    if (balloon_sim_guest_result_get(lab->sim, guest, &result) != BALLOON_OK)
        abort();
    return result;
}

static inline balloon_sim_result lab_result(const struct lab *lab)
{
    balloon_sim_result result;

    balloon_sim_result_get(lab->sim, &result);
    return result;
}

/* A statistic of the last sample of the first guest, which must have come. */
static inline uint64_t lab_stat(const struct lab *lab, balloon_stat which)
{
    balloon_sim_guest_status s = lab_guest(lab, 0);
    uint64_t value = 0;

    if (!s.sampled || !balloon_sample_get(&s.last, which, &value))
        abort();
    return value;
}

/* Let time pass, and check every rule. */
static inline void lab_run(struct lab *lab, uint64_t until)
{
    if (!lab->sim && lab_try(lab) != BALLOON_OK)
        abort();
    balloon_sim_run(lab->sim, until);
    if (!balloon_sim_check(lab->sim, NULL))
        abort();
}

static inline void lab_free(struct lab *lab)
{
    free(lab->memory);
    free(lab);
}

#endif
