/* Limits of what the simulator accepts. */
#include <criterion/criterion.h>

#include "sim_lab.h"

/* A lab that is fine. */
static struct lab *fine(void)
{
    struct lab *lab = lab_new(2);
    balloon_layout layout;

    lab_event(lab, 5000, BALLOON_SIM_PIN, 0, 1);
    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 9000, .pages = 1};
    lab->guests[0].phase_count = 2;
    cr_assert(balloon_sim_layout(&lab->config, &layout) == BALLOON_OK);
    return lab;
}

static void expect_refusal(struct lab *lab, const char *change)
{
    balloon_layout layout;

    cr_assert(balloon_sim_layout(&lab->config, &layout) == BALLOON_ERR_INVALID, "%s", change);
    lab_free(lab);
}

/* One change makes it wrong. */
#define REFUSES(change)                                                                            \
    do {                                                                                           \
        struct lab *lab = fine();                                                                  \
        change;                                                                                    \
        expect_refusal(lab, #change);                                                              \
    } while (0)

Test(sim_valid, refuses_bad_configs)
{
    balloon_layout none;

    cr_assert(balloon_sim_layout(NULL, &none) == BALLOON_ERR_INVALID);
    REFUSES(lab->config.size--);
    REFUSES(lab->config.scenario = NULL);
    REFUSES(lab->config.pool.policy = NULL);
    REFUSES(lab->config.tick_ms = 60001);
    REFUSES(lab->config.step_ms = 60001);
    REFUSES(lab->config.record_ms = 1000000001);
    REFUSES(lab->config.record_count = 1);
}

Test(sim_valid, refuses_bad_scenarios)
{
    static const balloon_curve_point rising[] = {{0, 1}, {1, 2}}, equal[] = {{1, 1}, {1, 1}},
                                     wide[] = {{65537, 0}}, high[] = {{0, 65537}};
    static const balloon_curve bad[] = {{rising, 2},
                                        {equal, 2},
                                        {wide, 1},
                                        {high, 1},
                                        {NULL, 1},
                                        {rising, 0},
                                        {rising, BALLOON_CURVE_POINTS_MAX + 1}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        REFUSES(lab->scenario.curves = &bad[i]);
    REFUSES(lab->scenario.pages = 1023);
    REFUSES(lab->scenario.pages = ((uint64_t)1 << 40) + 1);
    REFUSES(lab->scenario.reserve = lab->scenario.pages);
    REFUSES(lab->scenario.duration_ms = 0);
    REFUSES(lab->scenario.duration_ms = 1000000001);
    REFUSES(lab->scenario.guest_count = 0);
    REFUSES(lab->scenario.guest_count = 100001);
    REFUSES(lab->scenario.guests = NULL);
    REFUSES(lab->scenario.curves = NULL);
    REFUSES(lab->scenario.events = NULL);
    REFUSES(lab_event(lab, 4999, BALLOON_SIM_PIN, 0, 1));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_PIN, 2, 1));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_PIN, 0, 2));
    REFUSES(lab_event(lab, 9000, (balloon_sim_event_kind)6, 0, 0));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_POOL, 0, 1023));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_POOL, 0, ((uint64_t)1 << 40) + 1));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_MANNER, 0, BALLOON_SIM_THIEF + 1));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_MANNER, 2, 0));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_FORGE, 0, BALLOON_SIM_NOISE + 1));
    REFUSES(lab_event(lab, 9000, BALLOON_SIM_FORGE, 2, 0));
}

Test(sim_valid, refuses_bad_guests)
{
    REFUSES(lab->guests[1].max = 0);
    REFUSES(lab->guests[1].max = ((uint64_t)1 << 33) + 1);
    REFUSES(lab->guests[1].min = 50001);
    REFUSES(lab->guests[1].start = 100001);
    REFUSES(lab->guests[1].floor = 100001);
    REFUSES(lab->guests[1].swap = ((uint64_t)1 << 40) + 1);
    REFUSES(lab->guests[1].cache = ((uint64_t)1 << 33) + 1);
    REFUSES(lab->guests[1].shares = 10001);
    REFUSES(lab->guests[1].weight = 10001);
    REFUSES(lab->guests[1].miss_us = 1000001);
    REFUSES(lab->guests[1].refill = 65537);
    REFUSES(lab->guests[1].period_ms = 600001);
    REFUSES(lab->guests[1].age_ms = 600001);
    REFUSES(lab->guests[1].jitter_ms = 600001);
    REFUSES(lab->guests[1].noise = 1001);
    REFUSES(lab->guests[1].loss = 1001);
    REFUSES(lab->guests[1].manner = BALLOON_SIM_THIEF + 1);
    REFUSES(lab->guests[1].forgery = BALLOON_SIM_NOISE + 1);
    REFUSES(lab->guests[1].boot_ms = 1000000001);
    REFUSES((lab->guests[1].arrive_ms = 5, lab->guests[1].depart_ms = 5));
    REFUSES(lab->guests[1].phases = NULL);
    REFUSES(lab->guests[1].phase_count = 0);
    REFUSES(lab->guests[0].repeat_ms = 9000);
    REFUSES(lab->phases[0][0].at_ms = 1);
    REFUSES(lab->phases[0][1].at_ms = 0);
    REFUSES(lab->phases[0][1].pages = 0);
    REFUSES(lab->phases[0][1].pages = ((uint64_t)1 << 33) + 1);
    REFUSES(lab->phases[0][1].cold = ((uint64_t)1 << 33) + 1);
    REFUSES(lab->phases[0][1].misses = 10000000001u);
    REFUSES(lab->phases[0][1].curve = 1);
    REFUSES(lab->phases[0][1].file = 1001);
    REFUSES(lab->phases[0][1].flags = 2);
}

static void hold(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    (void)view;
    (void)wishes;
}

static bool refuse_knobs(void *state, const void *knobs)
{
    (void)state;
    return !knobs;
}

Test(sim_valid, init_says_what_is_wrong)
{
    static const balloon_policy picky = {
        .size = sizeof(picky), .name = "picky", .init = refuse_knobs, .decide = hold};
    struct lab *lab = lab_new(1);
    balloon_layout layout;
    balloon_sim_guest_status status;
    balloon_sim_guest_result result;
    balloon_sim_truth truth;
    balloon_sim *sim;
    char *memory;

    cr_assert(balloon_sim_layout(&lab->config, &layout) == BALLOON_OK);
    memory = lab_memory(&layout);
    cr_assert(balloon_sim_init(NULL, layout.bytes, &lab->config, &sim) == BALLOON_ERR_INVALID);
    cr_assert(balloon_sim_init(memory + 1, layout.bytes, &lab->config, &sim) ==
              BALLOON_ERR_INVALID);
    cr_assert(balloon_sim_init(memory, layout.bytes - 1, &lab->config, &sim) ==
              BALLOON_ERR_NOSPACE);
    cr_assert(balloon_sim_init(memory, layout.bytes, &lab->config, &sim) == BALLOON_OK);
    cr_assert(balloon_sim_guest_get(sim, 1, &status) == BALLOON_ERR_INVALID);
    cr_assert(balloon_sim_guest_result_get(sim, 1, &result) == BALLOON_ERR_INVALID);
    cr_assert(balloon_sim_truth_get(sim, 1, &truth) == BALLOON_ERR_INVALID);
    /* The guests at the start do not fit. */
    lab->scenario.pages = 50499;
    cr_assert(balloon_sim_init(memory, layout.bytes, &lab->config, &sim) == BALLOON_ERR_INVALID);
    lab->scenario.pages = 50500;
    cr_assert(balloon_sim_init(memory, layout.bytes, &lab->config, &sim) == BALLOON_OK);
    lab->config.pool.policy = &picky;
    cr_assert(lab_try(lab) == BALLOON_ERR_INVALID);
    free(memory);
    lab_free(lab);
}
