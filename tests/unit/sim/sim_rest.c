/* Simulations that rest while nothing changes. */
#include <criterion/criterion.h>

#include "sim_lab.h"

/* A policy that changes nothing, and notes when it was asked and how old the statistics were, in
 * ms. */
static struct {
    uint32_t count;
    uint64_t now[256], age[256];
} seen;

static void note(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    (void)wishes;
    if (seen.count < 256 && view->guest_count) {
        seen.now[seen.count] = view->now / 1000000;
        seen.age[seen.count++] = view->guests[0].age / 1000000;
    }
}

static const balloon_policy notes = {
    .size = sizeof(balloon_policy), .name = "notes", .decide = note};

/* One guest that is fine. */
static struct lab *lab_that_rests(uint32_t profile)
{
    struct lab *lab = lab_new(1);

    memset(&seen, 0, sizeof(seen));
    lab->config.pool.policy = &notes;
    lab->config.pool.knobs = NULL;
    lab->config.profile = profile;
    lab->config.tick_ms = 1000;
    lab->config.rest_ms = 8000;
    lab->phases[0][0].pages = 30000;
    return lab;
}

/* After 1, 2 and 4 s, and from then on every 8. */
Test(sim_rest, lasts_longer_and_longer)
{
    for (uint32_t p = BALLOON_SIM_AS_SET; p <= BALLOON_SIM_MEASURED; p++) {
        struct lab *lab = lab_that_rests(p);

        lab_run(lab, 100000);
        cr_assert_geq(seen.count, 14, "%u", seen.count);
        cr_assert_leq(seen.count, 16, "%u", seen.count);
        cr_assert_eq(seen.now[13] - seen.now[12], 8000);
        cr_assert_leq(seen.age[13], 8000);
        lab_free(lab);
    }
}

/* Where it ends, the next decision is on the beat of a second, and knows the guest as it was. Then
 * all begins again. */
Test(sim_rest, ends_when_something_happens)
{
    struct lab *lab = lab_that_rests(BALLOON_SIM_VIRTIO);
    uint32_t i = 0;

    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 50500, .pages = 40000};
    lab->guests[0].phase_count = 2;
    lab_run(lab, 60000);
    while (seen.now[i] < 50500)
        i++;
    cr_assert_gt(50500 - seen.now[i - 1], 1000);
    cr_assert_eq((seen.now[i] - seen.now[i - 1]) % 1000, 0);
    cr_assert_leq(seen.now[i], 51500);
    cr_assert_leq(seen.age[i], seen.now[i] - 50500);
    cr_assert_eq(seen.now[i + 1] - seen.now[i], 1000);
    cr_assert_eq(seen.now[i + 2] - seen.now[i + 1], 1000);
    cr_assert_eq(seen.now[i + 3] - seen.now[i + 2], 2000);
    lab_free(lab);
}

/* Events end it, and so do changes of targets and guests that move. */
Test(sim_rest, is_not_while_a_guest_moves)
{
    static const struct order orders[] = {{20000, 0, 42000}, {60000, 0, 42001}};
    struct lab *lab = lab_that_rests(BALLOON_SIM_VIRTIO);
    uint64_t before, after;

    lab->config.pool.policy = &orders_policy;
    lab->config.pool.knobs = &lab->orders;
    lab_order(lab, orders, 2);
    lab->guests[0].inflate = 400; /* 20 s */
    /* The order is taken at most 8 s late. */
    lab_run(lab, 28000);
    cr_assert_lt(lab_guest(lab, 0).size, 50000);
    before = lab_result(lab).decisions;
    lab_run(lab, 38000);
    after = lab_result(lab).decisions;
    cr_assert_eq(after - before, 10, "%llu", (unsigned long long)(after - before));
    lab_event(lab, 90000, BALLOON_SIM_PIN, 0, 1);
    lab_run(lab, 89999);
    before = lab_result(lab).decisions;
    lab_run(lab, 93000);
    cr_assert_geq(lab_result(lab).decisions - before, 3);
    lab_free(lab);
}

static uint64_t cost_of(const balloon_scenario *scenario, const char *policy, uint32_t rest_ms,
                        uint64_t *decisions)
{
    balloon_sim_config config = {.size = sizeof(config),
                                 .scenario = scenario,
                                 .pool = {.policy = balloon_policy_find(policy)},
                                 .tick_ms = 1000,
                                 .profile = BALLOON_SIM_VIRTIO,
                                 .rest_ms = rest_ms};
    balloon_sim_result r;
    balloon_layout layout;
    balloon_sim *sim;
    void *memory;

    cr_assert_eq(balloon_sim_layout(&config, &layout), BALLOON_OK);
    memory = lab_memory(&layout);
    cr_assert_eq(balloon_sim_init(memory, layout.bytes, &config, &sim), BALLOON_OK);
    balloon_sim_run(sim, UINT64_MAX);
    cr_assert(balloon_sim_check(sim, NULL));
    balloon_sim_result_get(sim, &r);
    free(memory);
    *decisions = r.decisions;
    return r.cost;
}

/* An hour with a change of each guest's need every minute. */
Test(sim_rest, costs_about_the_same)
{
    static const char *const names[] = {"fixed", "shares", "mom", "proportional"};
    balloon_scenario_options o = {.size = sizeof(o), .number = 19, .seed = 1};
    const balloon_scenario *scenario;
    balloon_layout layout;
    void *memory;

    cr_assert_eq(balloon_scenario_layout(&o, &layout), BALLOON_OK);
    memory = malloc(layout.bytes);
    cr_assert_eq(balloon_scenario_build(memory, layout.bytes, &o, &scenario), BALLOON_OK);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        uint64_t all, few, cost = cost_of(scenario, names[i], 0, &all);
        double ratio = (double)cost_of(scenario, names[i], 10000, &few) / (double)cost;

        cr_expect_geq(ratio, 0.95, "%s: %f", names[i], ratio);
        cr_expect_leq(ratio, 1.05, "%s: %f", names[i], ratio);
        cr_expect_geq(all, 3599);
        cr_expect_lt(few, all / 2, "%s: %llu", names[i], (unsigned long long)few);
    }
    free(memory);
}

Test(sim_rest, has_a_limit)
{
    struct lab *lab = lab_that_rests(BALLOON_SIM_VIRTIO);

    lab->config.rest_ms = 60001;
    cr_assert_eq(lab_try(lab), BALLOON_ERR_INVALID);
    lab->config.rest_ms = 60000;
    cr_assert_eq(lab_try(lab), BALLOON_OK);
    lab_free(lab);
}
