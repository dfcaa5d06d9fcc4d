/* What is in a guest's memory, what its statistics say of it, and how guests come and go. */
#include <criterion/criterion.h>

#include "sim_lab.h"

/* --- memory ----------------------------------------------------------------------------------- */

Test(sim_memory, free_memory_goes_first_then_cache_then_cold)
{
    static const struct order orders[] = {
        {2000, 0, 44000}, {4000, 0, 34000}, {6000, 0, 24000}, {8000, 0, 10000}};
    struct lab *lab = lab_new(1);
    balloon_sim_guest_status s;

    lab->phases[0][0] = (balloon_sim_phase){.pages = 20000, .cold = 10000, .misses = 2000000};
    lab->guests[0].cache = 10000;
    lab->guests[0].inflate = 1000000;
    lab_order(lab, orders, 4);
    lab_run(lab, 1000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot, 20000);
    cr_assert_eq(s.cold, 10000);
    cr_assert_eq(s.cache, 10000);
    cr_assert_eq(s.free, 10000);
    cr_assert_eq(s.available, 20000);
    /* The cache leaves a 64th free. */
    lab_run(lab, 2000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.free, 50000 / 64);
    lab_run(lab, 4000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot + s.cold, 30000);
    cr_assert_eq(s.cache + s.free, 14000);
    lab_run(lab, 6000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot + s.cold, 30000);
    cr_assert_eq(s.swapped, 0);
    lab_run(lab, 8000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot, 20000);
    cr_assert_eq(s.cold, 4000);
    cr_assert_eq(s.cache, 0);
    cr_assert_eq(s.swapped, 6000);
    cr_assert_eq(lab_result(lab).misses, 0);
    lab_run(lab, 10000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot, 10000);
    cr_assert_eq(s.cold, 0);
    cr_assert_eq(s.swapped, 20000);
    cr_assert_eq(s.misses, 1000000);
    lab_free(lab);
}

Test(sim_memory, working_set_comes_back_by_misses)
{
    static const struct order orders[] = {{1000, 0, 100000}};
    struct lab *lab = lab_new(1);
    uint64_t hot = 50000, misses;

    lab->guests[0].refill = 4;
    lab->guests[0].deflate = 500000;
    lab_order(lab, orders, 1);
    lab_run(lab, 1100);
    cr_assert_eq(lab_guest(lab, 0).size, 100000);
    cr_assert_eq(lab_guest(lab, 0).hot, 50000);
    misses = lab_result(lab).misses;
    cr_assert_eq(misses, 1100000);
    /* Each second 909 faults are made, of 4 pages each. */
    lab_run(lab, 2099);
    cr_assert_eq(lab_guest(lab, 0).hot, hot);
    lab_run(lab, 2100);
    cr_assert_eq(lab_guest(lab, 0).hot, hot + 3636);
    cr_assert_eq(lab_result(lab).swap_ins, 1000 + 3636);
    cr_assert_eq(lab_guest(lab, 0).misses, 2000000 - 20 * (hot + 3636));
    lab_run(lab, 100000);
    cr_assert_gt(lab_guest(lab, 0).hot, 95000);
    cr_assert_gt(lab_result(lab).misses, misses + 1000000);
    lab_free(lab);
}

Test(sim_memory, refilling_pushes_cold_memory_out)
{
    static const struct order orders[] = {{1000, 0, 20000}, {5000, 0, 50000}};
    struct lab *lab = lab_new(1);

    lab->phases[0][0] = (balloon_sim_phase){.pages = 40000, .cold = 0, .misses = 20000000};
    lab->phases[0][1] =
        (balloon_sim_phase){.at_ms = 5500, .pages = 40000, .cold = 30000, .misses = 20000000};
    lab->guests[0].phase_count = 2;
    lab->guests[0].refill = 8;
    lab->guests[0].inflate = 1000000;
    lab_order(lab, orders, 2);
    lab_run(lab, 5500);
    cr_assert_eq(lab_guest(lab, 0).hot + lab_guest(lab, 0).cold, 50000);
    lab_run(lab, 60000);
    cr_assert_eq(lab_guest(lab, 0).hot, 40000);
    cr_assert_eq(lab_guest(lab, 0).cold, 10000);
    cr_assert_eq(lab_guest(lab, 0).swapped, 20000);
    lab_free(lab);
}

Test(sim_memory, growing_at_once_pushes_cold_memory_out_of_nowhere)
{
    static const struct order orders[] = {{1000, 0, 20000}, {5000, 0, 50000}};
    struct lab *lab = lab_new(1);

    lab->phases[0][0] = (balloon_sim_phase){.pages = 40000, .cold = 10000, .misses = 20000000};
    lab->guests[0].inflate = 1000000;
    lab_order(lab, orders, 2);
    lab_run(lab, 5000);
    cr_assert_eq(lab_guest(lab, 0).hot, 20000);
    cr_assert_eq(lab_guest(lab, 0).swapped, 30000);
    lab_run(lab, 6000);
    /* Cold memory stays out. */
    cr_assert_eq(lab_guest(lab, 0).hot, 40000);
    cr_assert_eq(lab_guest(lab, 0).cold, 0);
    cr_assert_eq(lab_guest(lab, 0).free, 10000);
    lab_free(lab);
}

Test(sim_memory, files_of_an_earlier_phase_become_idle_cache)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][0] = (balloon_sim_phase){.pages = 40000, .misses = 1, .file = 500};
    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 1000, .pages = 10000, .misses = 1};
    lab->guests[0].phase_count = 2;
    lab_run(lab, 1000);
    cr_assert_eq(lab_guest(lab, 0).hot, 10000);
    cr_assert_eq(lab_guest(lab, 0).cache, 15000);
    cr_assert_eq(lab_guest(lab, 0).free, 25000);
    lab_free(lab);
}

Test(sim_memory, small_working_sets_have_coarse_curves)
{
    static const balloon_curve_point points[] = {
        {0, 60000}, {100, 50000}, {200, 40000}, {65536, 0}};
    static const balloon_curve curve = {points, 4};
    struct lab *lab = lab_new(1);
    balloon_sim_truth truth;

    lab->scenario.curves = &curve;
    lab->phases[0][0].pages = 10;
    lab->phases[0][0].misses = 65536;
    lab_run(lab, 0);
    cr_assert(balloon_sim_truth_get(lab->sim, 0, &truth) == BALLOON_OK);
    cr_assert_eq(truth.curve.count, 2);
    cr_assert_eq(truth.curve.points[0].pages, 0);
    cr_assert_eq(truth.curve.points[0].misses, 40000);
    cr_assert_eq(truth.curve.points[1].pages, 10);
    lab_free(lab);
}

/* --- statistics ------------------------------------------------------------------------------- */

Test(sim_memory, statistics_tell_the_state)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][0] =
        (balloon_sim_phase){.pages = 100000, .cold = 1000, .misses = 2000000, .file = 500};
    lab->guests[0].sends = BALLOON_SIM_SENDS_ALL;
    lab->guests[0].period_ms = 1;
    lab_run(lab, 10000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_FREE), 0);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_TOTAL), 50000 << 12);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_AVAILABLE), 25000 << 12);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_CACHES), 25000 << 12);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_COMMITTED), (51000 + 50000) << 12);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_MAJOR_FAULTS), 9090);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_MINOR_FAULTS), 9090 + 10000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_STALL_SOME), 909090);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_SWAP_IN), 4545 << 12);
    /* What is out is what went out less what came in. */
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_SWAP_OUT), (26000 + 4545) << 12);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_OOM_KILL), 0);
    cr_assert_eq(lab_guest(lab, 0).swapped, 26000);
    lab_free(lab);
}

Test(sim_memory, statistics_are_as_old_as_they_should_be)
{
    static const struct order orders[] = {{4000, 0, 60000}};
    struct lab *lab = lab_new(1);
    balloon_sim_guest_status s;

    lab->guests[0].age_ms = 3000;
    lab->guests[0].period_ms = 1;
    lab->guests[0].deflate = 1000000;
    lab_order(lab, orders, 1);
    lab_run(lab, 2999);
    cr_assert_not(lab_guest(lab, 0).sampled);
    lab_run(lab, 3000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.last.time, 3000000000u);
    /* The next one is measured at 3 s, before the guest grows, and the one after it at 6 s. */
    lab_run(lab, 6000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_TOTAL), 50000 << 12);
    lab_run(lab, 9000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_TOTAL), 60000 << 12);
    lab_free(lab);
}

Test(sim_memory, jitter_spreads_ages)
{
    struct lab *lab = lab_new(1);
    uint64_t least = UINT64_MAX, most = 0, last = 0;

    lab->guests[0].age_ms = 100;
    lab->guests[0].jitter_ms = 200;
    lab->guests[0].period_ms = 1;
    lab_run(lab, 0);
    for (uint64_t at = 1; at <= 100000; at++) {
        uint64_t time;

        balloon_sim_run(lab->sim, at);
        time = lab_guest(lab, 0).last.time;
        if (time == last)
            continue;
        if (last) {
            least = time - last < least ? time - last : least;
            most = time - last > most ? time - last : most;
        }
        last = time;
    }
    cr_assert_geq(least, 100000000);
    cr_assert_lt(least, 120000000);
    cr_assert_leq(most, 300000000);
    cr_assert_gt(most, 280000000);
    lab_free(lab);
}

/* --- coming and going ------------------------------------------------------------------------- */

Test(sim_memory, guests_wait_until_they_fit)
{
    struct lab *lab = lab_new(2);
    balloon_sim_truth truth;

    lab->scenario.pages = 100000;
    lab->guests[1].arrive_ms = 2500;
    lab->guests[1].start = 60000;
    lab->guests[1].boot_ms = 1000;
    lab->guests[0].inflate = 100000;
    lab_run(lab, 2000);
    cr_assert(balloon_sim_truth_get(lab->sim, 1, &truth) == BALLOON_OK);
    cr_assert_not(truth.present);
    lab_run(lab, 2500);
    cr_assert_not(lab_guest(lab, 1).present);
    cr_assert(balloon_sim_truth_get(lab->sim, 1, &truth) == BALLOON_OK);
    cr_assert(truth.present);
    /* It misses as at its minimum. */
    cr_assert_eq(lab_guest(lab, 1).misses, 2000000 - 20 * 1000);
    lab_run(lab, 20000);
    cr_assert(lab_guest(lab, 1).present);
    cr_assert_eq(lab_guest(lab, 1).size, 60000);
    /* 49500 pages are there at first. The decision at 3 s makes room, the one at 4 s uses it. */
    cr_assert_eq(lab_of(lab, 1).waiting_ms, 1500);
    cr_assert_eq(lab_of(lab, 1).time_ms + lab_of(lab, 1).waiting_ms, 17500);
    cr_assert_eq(lab_result(lab).waiting_ms, lab_of(lab, 1).waiting_ms);
    lab_free(lab);
}

Test(sim_memory, two_that_wait_are_let_in_one_by_one)
{
    struct lab *lab = lab_new(4);
    balloon_pool_status pool;

    lab->scenario.pages = 100000;
    lab->guests[0].manner = BALLOON_SIM_STUCK;
    lab->guests[0].depart_ms = 9000;
    lab->guests[1].start = 2000;
    lab->guests[2].arrive_ms = 2000;
    lab->guests[2].start = 60000;
    lab->guests[2].manner = BALLOON_SIM_STUCK;
    lab->guests[3].arrive_ms = 2000;
    lab->guests[3].start = 60000;
    lab->guests[3].depart_ms = 20000;
    lab_run(lab, 8000);
    cr_assert_not(lab_guest(lab, 2).present);
    cr_assert_not(lab_guest(lab, 3).present);
    lab_run(lab, 10000);
    cr_assert_not(lab_guest(lab, 0).present);
    cr_assert(lab_guest(lab, 2).present);
    cr_assert_not(lab_guest(lab, 3).present);
    balloon_pool_status_get(balloon_sim_pool(lab->sim), &pool);
    cr_assert_eq(pool.reserved, 60000);
    /* Who gives up takes the reservation along. */
    lab_run(lab, 21000);
    cr_assert_eq(lab_of(lab, 3).time_ms, 0);
    cr_assert_eq(lab_of(lab, 3).waiting_ms, 18000);
    balloon_pool_status_get(balloon_sim_pool(lab->sim), &pool);
    cr_assert_eq(pool.reserved, 0);
    lab_free(lab);
}

/* A large guest, and small ones after it that would fit into what is set aside for it: it is stuck
 * behind a guest that goes at 9 s. */
Test(sim_memory, small_guests_do_not_pass_a_large_one_that_waits)
{
    struct lab *lab = lab_new(4);

    lab->scenario.pages = 100000;
    lab->guests[0].manner = BALLOON_SIM_STUCK;
    lab->guests[0].depart_ms = 9000;
    lab->guests[1].arrive_ms = 2000;
    lab->guests[1].start = 60000;
    for (int i = 2; i < 4; i++) {
        lab->guests[i].arrive_ms = (uint64_t)i * 1500;
        lab->guests[i].start = 10000;
    }
    lab_run(lab, 8900);
    for (uint32_t i = 1; i < 4; i++)
        cr_assert_not(lab_guest(lab, i).present, "guest %u", i);
    lab_run(lab, 9000);
    for (uint32_t i = 1; i < 4; i++)
        cr_assert(lab_guest(lab, i).present, "guest %u", i);
    cr_assert_eq(lab_of(lab, 1).waiting_ms, 7000);
    lab_free(lab);
}

/* More than the host has: nobody waits for that one. */
Test(sim_memory, who_can_never_be_let_in_holds_up_nobody)
{
    struct lab *lab = lab_new(3);

    lab->scenario.pages = 80000;
    lab->guests[1].arrive_ms = 2000;
    lab->guests[1].start = 100000;
    lab->guests[2].arrive_ms = 3000;
    lab->guests[2].start = 10000;
    lab_run(lab, 9000);
    cr_assert_not(lab_guest(lab, 1).present);
    cr_assert(lab_guest(lab, 2).present);
    lab_free(lab);
}

Test(sim_memory, guests_depart)
{
    struct lab *lab = lab_new(2);

    lab->guests[0].depart_ms = 3000;
    lab_run(lab, 10000);
    cr_assert_not(lab_guest(lab, 0).present);
    cr_assert_eq(lab_guest(lab, 0).size, 0);
    cr_assert_eq(lab_guest(lab, 0).swapped, 0);
    cr_assert_eq(lab_of(lab, 0).time_ms, 3000);
    cr_assert_eq(lab_result(lab).misses, 13000000);
    cr_assert_eq(lab_of(lab, 0).size_mean, 50000);
    lab_free(lab);
}

Test(sim_memory, a_reboot_empties_balloon_and_counters)
{
    static const struct order orders[] = {{7000, 0, 40000}};
    struct lab *lab = lab_new(1);

    lab->phases[0][0].pages = 70000;
    lab->guests[0].boot_ms = 2000;
    lab->guests[0].period_ms = 1;
    lab->guests[0].age_ms = 7;
    lab_event(lab, 5000, BALLOON_SIM_REBOOT, 0, 0);
    lab_order(lab, orders, 1);
    lab_run(lab, 1999);
    cr_assert_not(lab_guest(lab, 0).sampled);
    lab_run(lab, 4999);
    cr_assert_gt(lab_stat(lab, BALLOON_STAT_MAJOR_FAULTS), 1000);
    cr_assert_eq(lab_guest(lab, 0).swapped, 20000);
    lab_run(lab, 5000);
    cr_assert_eq(lab_guest(lab, 0).size, 100000);
    cr_assert_eq(lab_guest(lab, 0).hot, 70000);
    cr_assert_eq(lab_guest(lab, 0).swapped, 0);
    lab_run(lab, 6999);
    cr_assert_eq(lab_guest(lab, 0).size, 100000);
    lab_run(lab, 7500);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_MAJOR_FAULTS), 0);
    cr_assert_lt(lab_guest(lab, 0).size, 100000);
    lab_free(lab);
}
