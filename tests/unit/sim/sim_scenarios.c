/* The built-in scenarios: fair, within what is promised of them, and safe with a pool that holds.
 */
#include <criterion/criterion.h>

#include <balloon/optimum.h>

#include "sim_lab.h"

static const uint64_t demand[] = {
    /* 5 rows of 3 guests, in pages */
    100000, 200000, UINT64_MAX, 150000, UINT64_MAX, 0,     150000, 100000,
    900000, 50000,  50000,      900000, 60000,      40000, 900000,
};

static const balloon_scenario_trace trace = {demand, 5, 3, 60000};

struct play {
    balloon_scenario_options options;
    const balloon_scenario *scenario;
    void *memory;
    struct lab *lab;
};

static struct play build(uint32_t number, uint32_t guests, uint64_t seed)
{
    struct play p = {.options = {.size = sizeof(p.options),
                                 .number = number,
                                 .guests = guests,
                                 .seed = seed,
                                 .trace = &trace}};
    balloon_layout layout;

    cr_assert(balloon_scenario_layout(&p.options, &layout) == BALLOON_OK, "%u", number);
    p.memory = lab_memory(&layout);
    cr_assert(balloon_scenario_build(p.memory, layout.bytes, &p.options, &p.scenario) ==
              BALLOON_OK);
    p.lab = lab_new(1);
    p.lab->config.scenario = p.scenario;
    return p;
}

static void drop(struct play *p)
{
    lab_free(p->lab);
    free(p->memory);
}

static void start(struct play *p)
{
    cr_assert(lab_try(p->lab) == BALLOON_OK, "%s", p->scenario->name);
}

static void expect_safe(const struct play *p)
{
    const char *why = "";
    balloon_sim_result r = lab_result(p->lab);

    cr_assert(balloon_sim_check(p->lab->sim, &why), "%s: %s", p->scenario->name, why);
    cr_assert_eq(r.unsafe_growth, 0, "%s", p->scenario->name);
    cr_assert_eq(r.unsafe_targets, 0, "%s", p->scenario->name);
}

Test(sim_scenarios, all_are_safe_when_nobody_moves)
{
    for (uint32_t number = 1; number <= BALLOON_SCENARIOS; number++) {
        struct play p = build(number, 0, 3);
        balloon_sim_result r;

        start(&p);
        while (balloon_sim_now(p.lab->sim) < p.scenario->duration_ms) {
            balloon_sim_run(p.lab->sim, balloon_sim_now(p.lab->sim) + 50000);
            expect_safe(&p);
        }
        r = lab_result(p.lab);
        cr_assert_eq(r.decisions, p.scenario->duration_ms / 1000, "%s", p.scenario->name);
        cr_assert_gt(r.guest_ms, 0);
        drop(&p);
    }
}

Test(sim_scenarios, all_are_safe_with_the_default_policy)
{
    for (uint32_t number = 1; number <= BALLOON_SCENARIOS; number++) {
        struct play p = build(number, 0, 4);
        balloon_sim_result r;

        p.lab->config.pool.policy = &balloon_policy_waterline;
        p.lab->config.pool.knobs = NULL;
        p.lab->config.pool.boot_grace = 0;
        start(&p);
        balloon_sim_run(p.lab->sim, UINT64_MAX);
        expect_safe(&p);
        r = lab_result(p.lab);
        /* Nothing may exceed the pool but where the pool shrinks, or a guest takes unasked. */
        if (number != 11 && number != 16)
            cr_assert_eq(r.over_pool, 0, "%s", p.scenario->name);
        drop(&p);
    }
}

Test(sim_scenarios, equal_seeds_give_equal_scenarios)
{
    for (uint32_t number = 1; number <= BALLOON_SCENARIOS; number++) {
        struct play p[3] = {build(number, 0, 5), build(number, 0, 5), build(number, 0, 6)};
        balloon_sim_result r[3];

        for (int i = 0; i < 3; i++) {
            start(&p[i]);
            balloon_sim_run(p[i].lab->sim, 600000);
            r[i] = lab_result(p[i].lab);
        }
        cr_assert_eq(memcmp(&r[0], &r[1], sizeof(r[0])), 0, "%u", number);
        cr_assert_neq(
            memcmp(p[0].scenario->guests, p[2].scenario->guests, sizeof(balloon_sim_guest)), 0);
        for (int i = 0; i < 3; i++)
            drop(&p[i]);
    }
}

/* FNV-1a of numbers, by byte from the lowest. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (value >> 8 * i & 0xff)) * 0x100000001b3u;
    return hash;
}

static uint64_t mix_guest(uint64_t hash, const balloon_sim_guest *g)
{
    hash = mix(mix(mix(hash, g->min), g->max), g->start);
    hash = mix(mix(mix(hash, g->cache), g->inflate), g->shares);
    hash = mix(mix(mix(hash, g->age_ms), g->jitter_ms), g->loss);
    hash = mix(mix(mix(hash, g->arrive_ms), g->depart_ms), g->repeat_ms);
    for (uint32_t i = 0; i < g->phase_count; i++) {
        hash = mix(mix(mix(hash, g->phases[i].at_ms), g->phases[i].pages), g->phases[i].cold);
        hash = mix(mix(mix(hash, g->phases[i].misses), g->phases[i].curve), g->phases[i].file);
    }
    return hash;
}

/* A figure of results is compared with others, of other machines and other days. When scenarios or
 * the model change on purpose, so does this number. */
Test(sim_scenarios, are_the_same_on_every_machine)
{
    uint64_t drawn = 0xcbf29ce484222325u, ran = drawn;

    for (uint32_t number = 1; number <= BALLOON_SCENARIOS; number++) {
        struct play p = build(number, 0, 2026);
        balloon_sim_result r;

        for (uint32_t i = 0; i < p.scenario->guest_count; i++)
            drawn = mix_guest(drawn, &p.scenario->guests[i]);
        for (uint32_t i = 0; i < p.scenario->event_count; i++)
            drawn = mix(mix(drawn, p.scenario->events[i].at_ms), p.scenario->events[i].guest);
        /* In these two the pool has to make room, which is not the simulator's business. */
        if (number != 10 && number != 16) {
            start(&p);
            balloon_sim_run(p.lab->sim, UINT64_MAX);
            r = lab_result(p.lab);
            ran = mix(mix(mix(ran, r.cost), r.swap_ins), r.stall_mean);
            ran = mix(mix(mix(ran, r.jain), r.idle), r.entitlement_min);
            ran = mix(ran, lab_guest(p.lab, 0).last.value[BALLOON_STAT_AVAILABLE]);
        }
        drop(&p);
    }
    cr_assert_eq(drawn, UINT64_C(0x62923afe7ca819fe), "%#llx", (unsigned long long)drawn);
    cr_assert_eq(ran, UINT64_C(0x443041259b87d3a4), "%#llx", (unsigned long long)ran);
}

static void expect_guest(const struct play *p, const balloon_sim_guest *g)
{
    uint64_t gib = BALLOON_SIM_GIB;
    uint32_t number = p->options.number;

    if (number != 14 && number != 20) {
        cr_assert_geq(g->max, gib);
        cr_assert_leq(g->max, 16 * gib);
    }
    if (number != 13)
        cr_assert_eq(g->min, g->max / 8);
    if (number != 14) {
        cr_assert_geq(g->inflate, 40 * BALLOON_SIM_MIB);
        cr_assert_leq(g->inflate, 200 * BALLOON_SIM_MIB);
    }
    cr_assert_leq(g->age_ms + g->jitter_ms, 7000);
    cr_assert_eq(g->noise, 30);
    cr_assert_eq(g->sends, BALLOON_SIM_SENDS_ALL);
    cr_assert(g->flags & BALLOON_SIM_HOST_ACTIVE);
    /* Scenarios about phases of their own have shorter ones. */
    if (number != 6 && number != 7) {
        for (uint32_t i = 1; i < g->phase_count; i++)
            cr_assert_geq(g->phases[i].at_ms - g->phases[i - 1].at_ms, 60000);
    }
}

Test(sim_scenarios, guests_are_as_promised)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        for (uint32_t number = 1; number <= BALLOON_SCENARIOS; number++) {
            struct play p = build(number, 0, seed);
            uint64_t ram = 0;

            for (uint32_t i = 0; i < p.scenario->guest_count; i++) {
                /* The hog's guests are as they were recorded. */
                if (number != 21)
                    expect_guest(&p, &p.scenario->guests[i]);
                ram += p.scenario->guests[i].max;
            }
            cr_assert_geq(ram * 100 / p.scenario->pages, 129, "%u", number);
            cr_assert_leq(ram * 100 / p.scenario->pages, 200, "%u", number);
            drop(&p);
        }
    }
}

Test(sim_scenarios, no_two_are_the_same)
{
    uint64_t costs[BALLOON_SCENARIOS];

    for (uint32_t number = 1; number <= BALLOON_SCENARIOS; number++) {
        struct play p = build(number, 0, 1);

        start(&p);
        balloon_sim_run(p.lab->sim, UINT64_MAX);
        costs[number - 1] = lab_result(p.lab).misses;
        for (uint32_t i = 0; i + 1 < number; i++)
            cr_assert(costs[i] != costs[number - 1] || !costs[i], "%u %u", i + 1, number);
        drop(&p);
    }
}

Test(sim_scenarios, the_crowd_may_have_any_size)
{
    static const uint32_t counts[] = {1, 2, 10, 1000, 10000};
    static const uint64_t seconds[] = {1800, 1800, 1800, 600, 120};

    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        struct play p = build(15, counts[i], 1);

        cr_assert_eq(p.scenario->guest_count, counts[i]);
        cr_assert_eq(p.scenario->duration_ms, seconds[i] * 1000);
        start(&p);
        balloon_sim_run(p.lab->sim, 20000);
        expect_safe(&p);
        drop(&p);
    }
}

Test(sim_scenarios, every_scenario_takes_other_numbers_of_guests)
{
    for (uint32_t number = 1; number < BALLOON_SCENARIOS; number++) {
        struct play few = build(number, 4, 7), many = build(number, 40, 7);

        start(&few);
        start(&many);
        balloon_sim_run(few.lab->sim, UINT64_MAX);
        balloon_sim_run(many.lab->sim, 400000);
        expect_safe(&few);
        expect_safe(&many);
        drop(&few);
        drop(&many);
    }
}

Test(sim_scenarios, square_waves_have_the_period_asked_for)
{
    struct play p = build(6, 0, 1);
    balloon_layout layout;

    for (uint32_t i = 0; i < p.scenario->guest_count; i++) {
        cr_assert_geq(p.scenario->guests[i].repeat_ms, 2000);
        cr_assert_leq(p.scenario->guests[i].repeat_ms, 120000);
    }
    p.options.period_ms = 7000;
    cr_assert(balloon_scenario_layout(&p.options, &layout) == BALLOON_OK);
    cr_assert(balloon_scenario_build(p.memory, layout.bytes, &p.options, &p.scenario) ==
              BALLOON_OK);
    cr_assert_eq(p.scenario->guests[3].repeat_ms, 7000);
    cr_assert_eq(p.scenario->guests[3].phases[1].at_ms, 3500);
    drop(&p);
}

Test(sim_scenarios, all_guests_may_be_told_what_to_send)
{
    struct play p = build(1, 0, 1);
    balloon_layout layout;

    p.options.sends = BALLOON_SIM_SENDS_WINDOWS;
    p.options.flags = BALLOON_SIM_HOST_CURVE;
    cr_assert(balloon_scenario_layout(&p.options, &layout) == BALLOON_OK);
    cr_assert(balloon_scenario_build(p.memory, layout.bytes, &p.options, &p.scenario) ==
              BALLOON_OK);
    cr_assert_eq(p.scenario->guests[3].sends, BALLOON_SIM_SENDS_WINDOWS);
    cr_assert(p.scenario->guests[3].flags & BALLOON_SIM_HOST_CURVE);
    drop(&p);
}

Test(sim_scenarios, a_trace_becomes_phases)
{
    struct play p = build(20, 0, 1);
    const balloon_sim_guest *g = p.scenario->guests;

    cr_assert_eq(p.scenario->guest_count, 3);
    cr_assert_eq(p.scenario->duration_ms, 300000);
    /* The same again is no new phase, and neither is a gap, but at the start. */
    cr_assert_eq(g[0].phase_count, 4);
    cr_assert_eq(g[0].phases[1].at_ms, 60000);
    cr_assert_eq(g[0].phases[2].at_ms, 180000);
    cr_assert_eq(g[0].phases[2].pages, 50000);
    cr_assert_eq(g[0].max, 150000 + 150000 / 4);
    cr_assert_eq(g[1].phase_count, 4);
    cr_assert_eq(g[1].phases[1].at_ms, 120000);
    cr_assert_eq(g[2].phase_count, 2);
    cr_assert_eq(g[2].phases[0].pages, 1);
    cr_assert_eq(g[2].phases[1].at_ms, 120000);
    drop(&p);
}

/* No policy is better than the best there is: the hold policy and the default, by the truth that
 * the simulator tells. */
static void expect_cost_above_optimum(uint32_t number, const balloon_policy *policy)
{
    struct play p = build(number, 0, 11);
    uint32_t count = p.scenario->guest_count;
    balloon_optimum_guest *guests = calloc(count, sizeof(*guests));
    size_t bytes = balloon_optimum_bytes(count, p.scenario->pages, 4096);
    void *scratch = malloc(bytes);
    uint64_t least = 0; /* weighted misses, in millionths of a thousandth */

    if (policy) {
        p.lab->config.pool.policy = policy;
        p.lab->config.pool.knobs = NULL;
    }
    start(&p);
    while (balloon_sim_now(p.lab->sim) < p.scenario->duration_ms) {
        uint64_t now = balloon_sim_now(p.lab->sim), next = balloon_sim_next_change(p.lab->sim);
        balloon_optimum_result best;
        uint32_t there = 0;

        for (uint32_t i = 0; i < count; i++) {
            balloon_sim_truth truth;

            cr_assert(balloon_sim_truth_get(p.lab->sim, i, &truth) == BALLOON_OK);
            if (truth.present)
                guests[there++] =
                    (balloon_optimum_guest){truth.curve, truth.weight, truth.min, truth.max};
        }
        cr_assert(balloon_optimum(guests, there, balloon_sim_budget(p.lab->sim), 4096, scratch,
                                  bytes, NULL, &best) == BALLOON_OK);
        least += best.bound / 1000 * (next - now);
        balloon_sim_run(p.lab->sim, next);
    }
    /* Costs are in thousandths of 1000 weights: misses in a thousand seconds, times ms, times
     * weight, by 10^6. */
    cr_assert_geq(lab_result(p.lab).cost, least / 1000, "%s", p.scenario->name);
    free(scratch);
    free(guests);
    drop(&p);
}

Test(sim_scenarios, nobody_beats_the_optimum)
{
    static const uint32_t numbers[] = {2, 3, 5, 8, 9, 10, 13, 16, 18, 19};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        expect_cost_above_optimum(numbers[i], NULL);
        expect_cost_above_optimum(numbers[i], &balloon_policy_waterline);
    }
}

Test(sim_scenarios, options_have_limits)
{
    const balloon_scenario_options fine = {.size = sizeof(fine), .number = 6, .trace = &trace};
    balloon_scenario_trace bad_trace = trace;
    balloon_scenario_options o;
    const balloon_scenario *scenario;
    balloon_layout layout;
    char *memory;

    cr_assert(balloon_scenario_layout(&fine, &layout) == BALLOON_OK);
    memory = lab_memory(&layout);
    cr_assert(balloon_scenario_build(NULL, layout.bytes, &fine, &scenario) == BALLOON_ERR_INVALID);
    cr_assert(balloon_scenario_build(memory + 1, layout.bytes, &fine, &scenario) ==
              BALLOON_ERR_INVALID);
    cr_assert(balloon_scenario_build(memory, layout.bytes - 1, &fine, &scenario) ==
              BALLOON_ERR_NOSPACE);
    cr_assert(balloon_scenario_build(memory, layout.bytes, &fine, &scenario) == BALLOON_OK);
    free(memory);

    cr_assert(balloon_scenario_layout(NULL, &layout) == BALLOON_ERR_INVALID);
#define REFUSES(change)                                                                            \
    o = fine;                                                                                      \
    change;                                                                                        \
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID, #change)
    REFUSES(o.size--);
    REFUSES(o.number = 0);
    REFUSES(o.number = 22);
    REFUSES(o.guests = 10001);
    REFUSES((o.number = 11, o.guests = 3));
    REFUSES(o.period_ms = 1);
    REFUSES(o.period_ms = 3600001);
    REFUSES((o.number = 20, o.trace = NULL));
    o.trace = &bad_trace;
    o.number = 20;
    bad_trace.pages = NULL;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID);
    bad_trace = trace;
    bad_trace.rows = 0;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID);
    bad_trace = trace;
    bad_trace.columns = 0;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID);
    bad_trace.columns = 10001;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID);
    bad_trace = trace;
    bad_trace.row_ms = 0;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID);
    bad_trace.row_ms = 200000001;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_ERR_INVALID);
    bad_trace.row_ms = 200000000;
    cr_assert(balloon_scenario_layout(&o, &layout) == BALLOON_OK);
}
