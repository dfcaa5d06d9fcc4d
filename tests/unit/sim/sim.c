/* The simulator: hand-computed scenarios of a guest or two. */
#include <criterion/criterion.h>

#include "sim_lab.h"

Test(sim, cost_of_a_steady_guest_is_exact)
{
    struct lab *lab = lab_new(1);
    balloon_sim_result r;
    balloon_sim_guest_status s;

    lab_run(lab, 10000);
    r = lab_result(lab);
    s = lab_guest(lab, 0);
    /* Half of the working set is missing: 1000 misses a second. */
    cr_assert_eq(s.misses, 1000000);
    cr_assert_eq(r.misses, 10000 * 1000);
    cr_assert_eq(r.cost, 10000 * 1000);
    /* Of 100 us each: a tenth of a second to wait in each second of work. */
    cr_assert_eq(s.stall, 90909);
    cr_assert_eq(r.stall_mean, 90909);
    cr_assert_eq(r.major_faults, 9090);
    cr_assert_eq(r.swap_ins, 9090);
    cr_assert_eq(r.guest_ms, 10000);
    cr_assert_eq(r.decisions, 10);
    lab_free(lab);
}

Test(sim, cost_is_exact_between_events)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 3500, .pages = 100000, .misses = 4000000};
    lab->phases[0][2] = (balloon_sim_phase){.at_ms = 4001, .pages = 50000, .misses = 4000000};
    lab->guests[0].phase_count = 3;
    lab->guests[0].weight = 500;
    lab_run(lab, 3499);
    cr_assert_eq(lab_result(lab).misses, 3499000);
    lab_run(lab, 4000);
    cr_assert_eq(lab_result(lab).misses, 3500000 + 500 * 2000);
    lab_run(lab, 100000);
    cr_assert_eq(lab_result(lab).misses, 3500000 + 501 * 2000);
    cr_assert_eq(lab_result(lab).cost, (3500000 + 501 * 2000) / 2);
    lab_free(lab);
}

Test(sim, phases_start_over)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 1000, .pages = 50000, .misses = 2000000};
    lab->guests[0].phase_count = 2;
    lab->guests[0].repeat_ms = 3000;
    lab_run(lab, 30000);
    cr_assert_eq(lab_result(lab).misses, 10 * 1000 * 1000);
    lab_free(lab);
}

/* Going through all of them for each new one would take minutes. */
Test(sim, many_phases_are_no_work)
{
    enum { PHASES = 400000 };
    static balloon_sim_phase phases[PHASES];
    struct lab *lab = lab_new(1);

    for (uint32_t i = 0; i < PHASES; i++)
        phases[i] = (balloon_sim_phase){.at_ms = 2 * i, .pages = 1 + i, .misses = 1000};
    lab->guests[0].phases = phases;
    lab->guests[0].phase_count = PHASES;
    lab->guests[0].repeat_ms = 2 * PHASES;
    lab->scenario.duration_ms = 3 * PHASES;
    for (uint64_t at = 1; at < 3 * PHASES; at += 90001) {
        balloon_sim_truth truth;

        lab_run(lab, at);
        cr_assert_eq(balloon_sim_truth_get(lab->sim, 0, &truth), BALLOON_OK);
        cr_assert_eq(truth.curve.points[truth.curve.count - 1].pages, 1 + at / 2 % PHASES);
    }
    lab_free(lab);
}

Test(sim, files_are_read_again_not_swapped)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][0].file = 250;
    lab->guests[0].miss_us = 1000;
    lab_run(lab, 10000);
    cr_assert_eq(lab_guest(lab, 0).stall, 500000);
    cr_assert_eq(lab_result(lab).major_faults, 5000);
    cr_assert_eq(lab_result(lab).swap_ins, 3750);
    cr_assert_eq(lab_guest(lab, 0).swapped, 37500);
    lab_free(lab);
}

Test(sim, streams_miss_without_stall)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][0].flags = BALLOON_SIM_STREAM;
    lab->phases[0][0].file = 1000;
    lab_run(lab, 10000);
    cr_assert_eq(lab_result(lab).misses, 10000000);
    cr_assert_eq(lab_result(lab).stall_mean, 0);
    cr_assert_eq(lab_result(lab).major_faults, 10000);
    cr_assert_eq(lab_result(lab).swap_ins, 0);
    lab_free(lab);
}

/* --- movement --------------------------------------------------------------------------------- */

Test(sim, shrinks_and_grows_at_its_speed)
{
    static const struct order orders[] = {{1000, 0, 50000 - 25600}, {3000, 0, 50000}};
    struct lab *lab = lab_new(1);

    lab->phases[0][0].pages = 1000;
    lab_order(lab, orders, 2);
    lab_run(lab, 1099);
    cr_assert_eq(lab_guest(lab, 0).size, 50000);
    lab_run(lab, 1100);
    cr_assert_eq(lab_guest(lab, 0).size, 50000 - 2560);
    lab_run(lab, 1500);
    cr_assert_eq(lab_guest(lab, 0).size, 50000 - 12800);
    lab_run(lab, 1999);
    cr_assert_gt(lab_guest(lab, 0).size, 50000 - 25600);
    lab_run(lab, 2000);
    cr_assert_eq(lab_guest(lab, 0).size, 50000 - 25600);
    /* Eight times as fast: 125 ms. */
    lab_run(lab, 3124);
    cr_assert_lt(lab_guest(lab, 0).size, 50000);
    lab_run(lab, 3125);
    cr_assert_eq(lab_guest(lab, 0).size, 50000);
    cr_assert_eq(lab_result(lab).churn, 2 * 25600);
    lab_free(lab);
}

Test(sim, shrinks_slowly_when_nothing_is_free)
{
    static const struct order orders[] = {{1000, 0, 40000}};
    struct lab *lab = lab_new(1);

    lab->guests[0].inflate = 4000;
    lab_order(lab, orders, 1);
    lab_run(lab, 3000);
    cr_assert_eq(lab_guest(lab, 0).size, 50000 - 2000);
    lab_free(lab);
}

Test(sim, steps_may_be_finer)
{
    static const struct order orders[] = {{500, 0, 40000}};
    struct lab *lab = lab_new(1);

    lab->phases[0][0].pages = 1000;
    lab->config.step_ms = 1;
    lab->config.tick_ms = 500;
    lab->guests[0].period_ms = 100;
    lab->guests[0].inflate = 333;
    lab_order(lab, orders, 1);
    /* A third of a page each ms: nothing is lost in between. */
    lab_run(lab, 503);
    cr_assert_eq(lab_guest(lab, 0).size, 50000);
    lab_run(lab, 504);
    cr_assert_eq(lab_guest(lab, 0).size, 49999);
    lab_run(lab, 10500);
    cr_assert_eq(lab_guest(lab, 0).size, 50000 - 3330);
    lab_free(lab);
}

Test(sim, stays_above_its_floor)
{
    static const struct order orders[] = {{1000, 0, 2000}};
    struct lab *lab = lab_new(2);

    lab->phases[0][0].pages = 1000;
    lab->guests[0].floor = 30000;
    lab_order(lab, orders, 1);
    lab_run(lab, 3000);
    cr_assert_eq(lab_guest(lab, 0).size, 30000);
    /* The pool may give some back when it sees that there is no more to get. */
    lab_run(lab, 60000);
    cr_assert_geq(lab_guest(lab, 0).size, 30000);
    lab_free(lab);
}

Test(sim, gives_no_more_than_swap_takes)
{
    static const struct order orders[] = {{1000, 0, 2000}};
    struct lab *lab = lab_new(1);

    lab->phases[0][0] =
        (balloon_sim_phase){.pages = 30000, .cold = 10000, .misses = 1000, .file = 500};
    lab->guests[0].swap = 5000;
    lab_order(lab, orders, 1);
    lab->guests[0].inflate = 100000;
    lab_run(lab, 4000);
    /* 15000 of the working set and 10000 beside it are anonymous. */
    cr_assert_eq(lab_guest(lab, 0).size, 20000);
    lab_run(lab, 60000);
    cr_assert_eq(lab_result(lab).oom_kills, 0);
    lab_free(lab);
}

/* --- what the optimum needs ------------------------------------------------------------------- */

Test(sim, truth_changes_only_when_told)
{
    struct lab *lab = lab_new(3);
    static const uint64_t changes[] = {1500, 2000, 4000, 6000, 100000, 100000};
    balloon_sim_truth truth;

    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 1500, .pages = 50000, .misses = 10};
    lab->guests[0].phase_count = 2;
    lab->guests[1].arrive_ms = 2000;
    lab->guests[1].depart_ms = 6000;
    lab->guests[2].shares = 300;
    lab_event(lab, 3000, BALLOON_SIM_PIN, 0, 1);
    lab_event(lab, 4000, BALLOON_SIM_POOL, 0, 500000);
    lab_run(lab, 0);
    cr_assert_eq(balloon_sim_budget(lab->sim), 999500);
    cr_assert(balloon_sim_truth_get(lab->sim, 0, &truth) == BALLOON_OK);
    cr_assert_eq(truth.min, 1000);
    cr_assert_eq(truth.max, 100000);
    cr_assert_eq(truth.weight, 1000);
    cr_assert_eq(balloon_curve_at(&truth.curve, 25000), 1500000);
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        cr_assert_eq(balloon_sim_next_change(lab->sim), changes[i]);
        lab_run(lab, changes[i]);
    }
    cr_assert_eq(balloon_sim_budget(lab->sim), 499750);
    cr_assert(balloon_sim_truth_get(lab->sim, 2, &truth) == BALLOON_OK);
    cr_assert_eq(truth.weight, 300);
    cr_assert(balloon_sim_truth_get(lab->sim, 1, &truth) == BALLOON_OK);
    cr_assert_not(truth.present);
    cr_assert(balloon_sim_truth_get(lab->sim, 0, &truth) == BALLOON_OK);
    cr_assert_eq(balloon_curve_at(&truth.curve, 25000), 5);
    lab_free(lab);
}

/* --- running ---------------------------------------------------------------------------------- */

/* A busy lab: everything at once. */
static struct lab *busy(uint64_t seed)
{
    static const struct order orders[] = {{2000, 0, 20000},  {2000, 1, 70000}, {5000, 2, 30000},
                                          {9000, 0, 90000},  {9000, 1, 20000}, {15000, 2, 99000},
                                          {20000, 0, 10000}, {30000, 0, 80000}};
    struct lab *lab = lab_new(4);

    for (uint32_t i = 0; i < 4; i++) {
        lab->phases[i][0].file = 300;
        lab->phases[i][1] = (balloon_sim_phase){
            .at_ms = 3333 + i * 100, .pages = 30000, .cold = 20000, .misses = 3000000, .file = 700};
        lab->phases[i][2] =
            (balloon_sim_phase){.at_ms = 7777, .pages = 90000, .misses = 3000000, .file = 100};
        lab->guests[i].phase_count = 3;
        lab->guests[i].repeat_ms = 11111;
        lab->guests[i].refill = 8;
        lab->guests[i].cache = 1000;
        lab->guests[i].noise = 30;
        lab->guests[i].loss = 100;
        lab->guests[i].age_ms = i * 1000;
        lab->guests[i].jitter_ms = 2000;
        lab->guests[i].flags = BALLOON_SIM_HOST_ACTIVE | BALLOON_SIM_HOST_CURVE;
    }
    lab->guests[3].arrive_ms = 4444;
    lab->guests[3].depart_ms = 33333;
    lab_order(lab, orders, 8);
    lab->config.seed = seed;
    lab->config.records = lab->records;
    lab->config.record_count = 404;
    lab_run(lab, 0);
    return lab;
}

Test(sim, memory_is_conserved_at_each_step)
{
    struct lab *lab = busy(1);
    uint64_t ticks = 0;

    while (balloon_sim_step(lab->sim)) {
        const char *why = "";

        ticks++;
        cr_assert_eq(balloon_sim_now(lab->sim), ticks * 1000);
        cr_assert(balloon_sim_check(lab->sim, &why), "%s", why);
    }
    cr_assert_eq(ticks, 100);
    cr_assert_eq(lab_result(lab).decisions, 100);
    cr_assert_eq(balloon_sim_records(lab->sim), 101);
    lab_free(lab);
}

Test(sim, equal_seeds_give_equal_bytes)
{
    struct lab *a = busy(1), *b = busy(1), *c = busy(2);
    balloon_sim_result r[3];

    lab_run(a, 100000);
    lab_run(b, 100000);
    lab_run(c, 100000);
    r[0] = lab_result(a);
    r[1] = lab_result(b);
    r[2] = lab_result(c);
    cr_assert_eq(memcmp(&r[0], &r[1], sizeof(r[0])), 0);
    cr_assert_eq(memcmp(a->records, b->records, sizeof(a->records)), 0);
    /* The orders of this policy do not depend on statistics, but what arrives does on the seed. */
    cr_assert_neq(lab_guest(a, 0).last.value[BALLOON_STAT_AVAILABLE],
                  lab_guest(c, 0).last.value[BALLOON_STAT_AVAILABLE]);
    lab_free(a);
    lab_free(b);
    lab_free(c);
}

Test(sim, pieces_do_not_matter)
{
    struct lab *a = busy(1), *b = busy(1);
    balloon_sim_result r[2];

    lab_run(a, 100000);
    for (uint64_t at = 0; at < 100000; at += 37)
        balloon_sim_run(b->sim, at);
    lab_run(b, 100000);
    r[0] = lab_result(a);
    r[1] = lab_result(b);
    cr_assert_eq(memcmp(&r[0], &r[1], sizeof(r[0])), 0);
    cr_assert_eq(memcmp(a->records, b->records, sizeof(a->records)), 0);
    lab_free(a);
    lab_free(b);
}

Test(sim, the_past_and_the_end_are_harmless)
{
    struct lab *lab = lab_new(1);

    lab_run(lab, 5000);
    balloon_sim_run(lab->sim, 100);
    cr_assert_eq(balloon_sim_now(lab->sim), 5000);
    balloon_sim_run(lab->sim, UINT64_MAX);
    cr_assert_eq(balloon_sim_now(lab->sim), 100000);
    cr_assert_not(balloon_sim_step(lab->sim));
    cr_assert_eq(balloon_sim_now(lab->sim), 100000);
    cr_assert_eq(balloon_sim_next_change(lab->sim), 100000);
    lab_free(lab);
}

Test(sim, records_show_each_guest)
{
    static const struct order orders[] = {{3000, 0, 60000}};
    struct lab *lab = lab_new(2);
    const balloon_sim_record *r = lab->records;

    lab->guests[1].arrive_ms = 2500;
    lab->config.records = lab->records;
    lab->config.record_count = 9;
    lab->config.record_ms = 1500;
    lab->guests[0].deflate = 1000000;
    lab_order(lab, orders, 1);
    lab_run(lab, 0);
    cr_assert_eq(balloon_sim_records(lab->sim), 1);
    lab_run(lab, 20000);
    /* There is room for four rows. */
    cr_assert_eq(balloon_sim_records(lab->sim), 4);
    cr_assert_eq(r[0].size, 50000);
    cr_assert_eq(r[0].need, 100000);
    cr_assert_eq(r[0].misses, 1000000);
    cr_assert_eq(r[0].stall, 90909);
    cr_assert_eq(r[0].present, 1);
    cr_assert_eq(r[3].present, 0);
    cr_assert_eq(r[5].present, 1);
    /* The row at 3 s is written after the decision. */
    cr_assert_eq(r[4].size, 50000);
    cr_assert_eq(r[4].target, 60000);
    cr_assert_eq(r[6].size, 60000);
    cr_assert_eq(r[8].size, 0);
    lab_free(lab);
}

/* --- actuators -------------------------------------------------------------------------------- */

/* Moves in whole blocks of 512 pages, and adds a mark to statistics. */
struct blocks {
    uint64_t ram, size, inits;
};

static size_t blocks_bytes(uint64_t ram)
{
    return ram > 1000000 ? SIZE_MAX : sizeof(struct blocks);
}

static void blocks_init(void *state, uint64_t ram, balloon_time_t now)
{
    struct blocks *b = state;

    (void)now;
    b->ram = b->size = ram;
    b->inits++;
}

static uint64_t blocks_move(void *state, uint64_t size, balloon_time_t now)
{
    struct blocks *b = state;

    (void)now;
    b->size = (size + 511) / 512 * 512;
    return b->size;
}

static void blocks_sample(void *state, balloon_sample *sample, balloon_time_t now)
{
    struct blocks *b = state;

    (void)now;
    balloon_sample_set(sample, BALLOON_STAT_HUGE_FAIL, b->size);
}

Test(sim, actuators_decide_what_comes_of_it)
{
    static const struct order orders[] = {{1000, 0, 30000}};
    struct lab *lab = lab_new(1);
    balloon_sim_actuator blocks = {sizeof(blocks), "blocks",    blocks_bytes,
                                   blocks_init,    blocks_move, blocks_sample};

    lab->phases[0][0].pages = 1000;
    lab->guests[0].period_ms = 10;
    lab->config.actuator = &blocks;
    lab_event(lab, 20000, BALLOON_SIM_REBOOT, 0, 0);
    lab_order(lab, orders, 1);
    lab_run(lab, 0);
    cr_assert_eq(lab_guest(lab, 0).size, 98 * 512);
    lab_run(lab, 15000);
    cr_assert_eq(lab_guest(lab, 0).size, 59 * 512);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_HUGE_FAIL), 59 * 512);
    lab_run(lab, 20000);
    cr_assert_eq(lab_guest(lab, 0).size, 100000);
    lab_run(lab, 30000);
    cr_assert_eq(lab_guest(lab, 0).size, 59 * 512);
    lab_free(lab);

    lab = lab_new(1);
    lab->config.actuator = &blocks;
    lab->guests[0].max = 1000001;
    cr_assert(lab_try(lab) == BALLOON_ERR_INVALID);
    lab->guests[0].max = 100000;
    blocks.sample = NULL;
    cr_assert(lab_try(lab) == BALLOON_OK);
    lab_run(lab, 2000);
    blocks.move = NULL;
    cr_assert(lab_try(lab) == BALLOON_ERR_INVALID);
    lab_free(lab);
}
