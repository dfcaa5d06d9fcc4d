/* Guests that disobey, lie or fail do exactly what their mode says. */
#include <criterion/criterion.h>

#include "sim_lab.h"

static const struct order shrink[] = {{2000, 0, 30000}};

/* A guest that has free memory and is asked for 20000 pages at 2 s. */
static struct lab *asked(void)
{
    struct lab *lab = lab_new(2);

    lab->phases[0][0].pages = 10000;
    lab->guests[0].period_ms = 100;
    lab_order(lab, shrink, 1);
    return lab;
}

static uint64_t size_at(struct lab *lab, uint64_t until)
{
    lab_run(lab, until);
    return lab_guest(lab, 0).size;
}

/* --- balloons --------------------------------------------------------------------------------- */

Test(sim_modes, a_stuck_balloon_never_moves)
{
    struct lab *lab = asked();

    lab->guests[0].manner = BALLOON_SIM_STUCK;
    cr_assert_eq(size_at(lab, 2000), 50000);
    cr_assert_eq(lab_guest(lab, 0).target, 30000);
    cr_assert_eq(size_at(lab, 60000), 50000);
    lab_free(lab);
}

Test(sim_modes, a_balloon_gets_stuck_and_loose)
{
    struct lab *lab = asked();

    lab_event(lab, 2350, BALLOON_SIM_MANNER, 0, BALLOON_SIM_STUCK);
    lab_event(lab, 3000, BALLOON_SIM_MANNER, 0, BALLOON_SIM_OBEDIENT);
    cr_assert_eq(size_at(lab, 2400), 50000 - 2560 * 3);
    cr_assert_eq(size_at(lab, 3000), 50000 - 2560 * 3);
    cr_assert_eq(size_at(lab, 3500), 30000);
    lab_free(lab);
}

Test(sim_modes, a_slow_balloon_does_15_mib_a_second)
{
    struct lab *lab = asked();

    lab->guests[0].manner = BALLOON_SIM_SLOW;
    cr_assert_eq(size_at(lab, 3000), 50000 - 15 * 256);
    cr_assert_eq(size_at(lab, 4000), 50000 - 30 * 256);
    lab_free(lab);
}

Test(sim_modes, a_half_obedient_guest_stops_half_way)
{
    struct lab *lab = asked();

    lab->guests[0].manner = BALLOON_SIM_HALF;
    cr_assert_eq(size_at(lab, 2900), 40000);
    cr_assert_geq(size_at(lab, 60000), 40000);
    lab_free(lab);
}

Test(sim_modes, a_half_obedient_guest_grows_all_the_way)
{
    static const struct order orders[] = {{2000, 0, 70000}};
    struct lab *lab = asked();

    lab->guests[0].manner = BALLOON_SIM_HALF;
    lab_order(lab, orders, 1);
    cr_assert_eq(size_at(lab, 3000), 70000);
    lab_free(lab);
}

Test(sim_modes, a_thief_takes_back_what_it_uses)
{
    struct lab *lab = asked();

    lab->phases[0][0].cold = 5000;
    lab->phases[0][1] =
        (balloon_sim_phase){.at_ms = 10000, .pages = 60000, .cold = 10000, .misses = 1000};
    lab->phases[0][2] = (balloon_sim_phase){.at_ms = 20000, .pages = 200000, .misses = 1000};
    lab->guests[0].phase_count = 3;
    lab->guests[0].manner = BALLOON_SIM_THIEF;
    cr_assert_eq(size_at(lab, 5000), 30000);
    cr_assert_eq(size_at(lab, 11000), 70000);
    cr_assert_eq(lab_guest(lab, 0).target, 30000);
    /* Nobody has more than his RAM. */
    cr_assert_eq(size_at(lab, 21000), 100000);
    lab_free(lab);
}

Test(sim_modes, without_a_driver_nothing_moves_or_speaks)
{
    struct lab *lab = asked();

    lab->guests[0].flags = BALLOON_SIM_NO_DRIVER;
    lab_event(lab, 10000, BALLOON_SIM_DRIVER, 0, 1);
    lab_event(lab, 30000, BALLOON_SIM_DRIVER, 0, 0);
    lab_event(lab, 31000, BALLOON_SIM_REBOOT, 0, 0);
    cr_assert_eq(size_at(lab, 9999), 50000);
    cr_assert_eq(lab_guest(lab, 0).target, 50000);
    cr_assert_not(lab_guest(lab, 0).sampled);
    cr_assert_eq(size_at(lab, 20000), 30000);
    cr_assert(lab_guest(lab, 0).sampled);
    cr_assert_eq(size_at(lab, 30999), 30000);
    cr_assert_eq(size_at(lab, 60000), 100000);
    cr_assert_leq(lab_guest(lab, 0).last.time, 30000000000u);
    lab_free(lab);
}

Test(sim_modes, a_driver_that_stays_goes_on_as_before)
{
    struct lab *lab = asked(), *plain = asked();

    lab_event(lab, 10050, BALLOON_SIM_DRIVER, 0, 1);
    cr_assert_eq(size_at(lab, 20000), size_at(plain, 20000));
    cr_assert_eq(lab_guest(lab, 0).last.time, lab_guest(plain, 0).last.time);
    lab_free(lab);
    lab_free(plain);
}

Test(sim_modes, a_late_driver_comes_after_boot)
{
    struct lab *lab = asked();

    lab->guests[0].boot_ms = 10000;
    cr_assert_eq(size_at(lab, 10000), 50000);
    cr_assert_eq(size_at(lab, 20000), 30000);
    lab_free(lab);
}

Test(sim_modes, a_pinned_guest_is_left_alone)
{
    struct lab *lab = asked();

    lab_event(lab, 1000, BALLOON_SIM_PIN, 0, 1);
    lab_event(lab, 10000, BALLOON_SIM_PIN, 0, 0);
    cr_assert_eq(size_at(lab, 9999), 50000);
    cr_assert_eq(size_at(lab, 15000), 30000);
    lab_free(lab);
}

Test(sim_modes, events_of_absent_guests_are_missed)
{
    struct lab *lab = asked();

    lab->guests[0].arrive_ms = 1000;
    lab_event(lab, 500, BALLOON_SIM_MANNER, 0, BALLOON_SIM_STUCK);
    cr_assert_eq(size_at(lab, 500), 0);
    lab->orders.count = 0;
    cr_assert_eq(size_at(lab, 1000), 50000);
    lab_free(lab);
}

/* --- running out ------------------------------------------------------------------------------ */

/* From 5 s on, 60000 pages are needed of which swap takes 5000. */
static struct lab *hungry(void)
{
    struct lab *lab = lab_new(1);

    lab->phases[0][0].pages = 10000;
    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 5000, .pages = 60000, .misses = 1000};
    lab->guests[0].phase_count = 2;
    lab->guests[0].swap = 5000;
    lab->guests[0].sends = BALLOON_SIM_SENDS_LINUX;
    return lab;
}

Test(sim_modes, short_guests_kill_every_ten_seconds)
{
    struct lab *lab = hungry();
    uint64_t kills = 0;

    lab_run(lab, 4999);
    cr_assert_eq(lab_result(lab).oom_kills, 0);
    lab_run(lab, 5000);
    cr_assert_eq(lab_result(lab).oom_kills, 1);
    lab_run(lab, 34999);
    cr_assert_eq(lab_result(lab).oom_kills, 3);
    cr_assert_eq(lab_of(lab, 0).oom_kills, 3);
    balloon_sim_guest_status s = lab_guest(lab, 0);
    cr_assert(balloon_sample_get(&s.last, BALLOON_STAT_OOM_KILL, &kills));
    cr_assert_eq(kills, 3);
    lab_free(lab);
}

Test(sim_modes, deflating_on_oom_saves)
{
    struct lab *lab = hungry();
    uint64_t total = 0;

    lab->guests[0].flags = BALLOON_SIM_DEFLATES_ON_OOM;
    lab_run(lab, 4000);
    balloon_sim_guest_status s = lab_guest(lab, 0);
    /* Such a guest does not take its balloon off its total. */
    cr_assert(balloon_sample_get(&s.last, BALLOON_STAT_TOTAL, &total));
    cr_assert_eq(total, (uint64_t)100000 << 12);
    cr_assert_geq(size_at(lab, 6000), 55000);
    lab_run(lab, 100000);
    cr_assert_eq(lab_result(lab).oom_kills, 0);
    lab_free(lab);
}

Test(sim_modes, a_stuck_balloon_cannot_deflate_on_oom)
{
    struct lab *lab = hungry();

    lab->guests[0].flags = BALLOON_SIM_DEFLATES_ON_OOM;
    lab->guests[0].manner = BALLOON_SIM_STUCK;
    lab_run(lab, 14999);
    cr_assert_eq(lab_result(lab).oom_kills, 0);
    lab_run(lab, 15000);
    cr_assert_eq(lab_result(lab).oom_kills, 1);
    lab_free(lab);
}

/* --- statistics ------------------------------------------------------------------------------- */

static balloon_sample sample_at(struct lab *lab, uint64_t until)
{
    balloon_sim_guest_status s;

    lab_run(lab, until);
    s = lab_guest(lab, 0);
    cr_assert(s.sampled);
    return s.last;
}

/* A guest that stalls, asked each 100 ms. */
static struct lab *watched(uint32_t forgery)
{
    struct lab *lab = lab_new(1);

    lab->guests[0].period_ms = 100;
    lab->guests[0].forgery = forgery;
    return lab;
}

static uint64_t counter_at(const balloon_sample *s, balloon_stat which)
{
    uint64_t value = 0;

    cr_assert(balloon_sample_get(s, which, &value));
    return value;
}

Test(sim_modes, forged_free_memory_is_more_than_there_is)
{
    struct lab *lab = watched(BALLOON_SIM_FORGES_FREE);
    balloon_sample s = sample_at(lab, 5000);

    cr_assert_eq(counter_at(&s, BALLOON_STAT_FREE), (uint64_t)400000 << 12);
    cr_assert_eq(counter_at(&s, BALLOON_STAT_AVAILABLE), (uint64_t)400000 << 12);
    lab_free(lab);
}

Test(sim_modes, forged_stall_is_all_of_the_time)
{
    struct lab *lab = watched(BALLOON_SIM_FORGES_STALL);
    balloon_sample a = sample_at(lab, 5000), b = sample_at(lab, 9000);
    uint64_t us = (b.time - a.time) / 1000;

    cr_assert_eq(counter_at(&b, BALLOON_STAT_STALL_SOME) - counter_at(&a, BALLOON_STAT_STALL_SOME),
                 us);
    cr_assert_gt(counter_at(&b, BALLOON_STAT_MAJOR_FAULTS),
                 counter_at(&a, BALLOON_STAT_MAJOR_FAULTS) + 300000);
    lab_free(lab);
}

Test(sim_modes, forged_need_leaves_nothing)
{
    struct lab *lab = watched(BALLOON_SIM_HONEST);
    balloon_sample s;

    lab->phases[0][0].pages = 1000;
    lab_event(lab, 2500, BALLOON_SIM_FORGE, 0, BALLOON_SIM_FORGES_NEED);
    s = sample_at(lab, 2500);
    cr_assert_eq(counter_at(&s, BALLOON_STAT_FREE), (uint64_t)49000 << 12);
    s = sample_at(lab, 3000);
    cr_assert_eq(counter_at(&s, BALLOON_STAT_FREE), 0);
    cr_assert_eq(counter_at(&s, BALLOON_STAT_AVAILABLE), 0);
    lab_free(lab);
}

Test(sim_modes, silent_guests_send_nothing)
{
    struct lab *lab = watched(BALLOON_SIM_SILENT);
    balloon_pool_guest_status s;

    lab_run(lab, 60000);
    cr_assert_not(lab_guest(lab, 0).sampled);
    cr_assert(balloon_pool_guest_get(balloon_sim_pool(lab->sim), 1, &s) == BALLOON_OK);
    cr_assert(s.flags & BALLOON_GUEST_STALE);
    lab_free(lab);
}

Test(sim_modes, frozen_values_arrive_again_and_again)
{
    struct lab *lab = watched(BALLOON_SIM_FROZEN);
    balloon_sample a = sample_at(lab, 2000), b = sample_at(lab, 50000);

    cr_assert_gt(b.time, a.time);
    cr_assert_eq(memcmp(a.value, b.value, sizeof(a.value)), 0);
    lab_free(lab);
}

Test(sim_modes, counters_reset_each_minute)
{
    struct lab *lab = watched(BALLOON_SIM_RESETS);
    balloon_sample a = sample_at(lab, 59000), b = sample_at(lab, 62000);

    cr_assert_gt(counter_at(&a, BALLOON_STAT_MAJOR_FAULTS), 50000);
    cr_assert_lt(counter_at(&b, BALLOON_STAT_MAJOR_FAULTS), 3000);
    cr_assert_gt(counter_at(&b, BALLOON_STAT_MAJOR_FAULTS), 0);
    lab_free(lab);
}

Test(sim_modes, noise_is_anything)
{
    struct lab *lab = watched(BALLOON_SIM_NOISE);
    balloon_sample a = sample_at(lab, 5000), b = sample_at(lab, 6000);

    for (int i = 0; i < BALLOON_STAT_OOM_KILL; i++) {
        uint64_t x = 0, y = 0;

        if (balloon_sample_get(&a, (balloon_stat)i, &x) &&
            balloon_sample_get(&b, (balloon_stat)i, &y))
            cr_assert_neq(x, y);
    }
    lab_free(lab);
}

Test(sim_modes, gauges_are_off_by_their_noise_and_counters_are_not)
{
    struct lab *lab = watched(BALLOON_SIM_HONEST);
    uint64_t least = UINT64_MAX, most = 0, free = (uint64_t)49000 << 12;

    lab->phases[0][0].pages = 1000;
    lab->guests[0].noise = 30;
    for (uint64_t at = 1000; at <= 100000; at += 100) {
        balloon_sample s = sample_at(lab, at);
        uint64_t value = counter_at(&s, BALLOON_STAT_FREE);

        least = value < least ? value : least;
        most = value > most ? value : most;
        cr_assert_eq(counter_at(&s, BALLOON_STAT_TOTAL), (uint64_t)50000 << 12);
    }
    cr_assert_geq(least, free / 1000 * 970);
    cr_assert_lt(least, free / 1000 * 973);
    cr_assert_leq(most, free / 1000 * 1031);
    cr_assert_gt(most, free / 1000 * 1027);
    lab_free(lab);
}

Test(sim_modes, some_statistics_are_lost)
{
    struct lab *lab = watched(BALLOON_SIM_HONEST);
    balloon_pool_counters c;

    lab->guests[0].loss = 300;
    lab_run(lab, 100000);
    balloon_pool_counters_get(balloon_sim_pool(lab->sim), &c);
    cr_assert_gt(c.samples, 650);
    cr_assert_lt(c.samples, 750);
    lab_free(lab);
}

Test(sim_modes, guests_send_what_they_have)
{
    static const uint32_t sends[] = {0,
                                     BALLOON_SIM_SENDS_LINUX,
                                     BALLOON_SIM_SENDS_WINDOWS,
                                     BALLOON_SIM_SENDS_PSI,
                                     BALLOON_SIM_SENDS_HYPERV,
                                     BALLOON_SIM_SENDS_ALL,
                                     1u << BALLOON_STAT_DIRECT_SCAN};

    for (size_t i = 0; i < sizeof(sends) / sizeof(*sends); i++) {
        struct lab *lab = watched(BALLOON_SIM_HONEST);

        lab->guests[0].sends = sends[i];
        cr_assert_eq(sample_at(lab, 2000).present, sends[i] ? sends[i] : BALLOON_SIM_SENDS_PSI);
        lab_free(lab);
    }

    struct lab *lab = watched(BALLOON_SIM_HONEST);

    lab->guests[0].sends = BALLOON_SIM_SENDS_NONE;
    lab_run(lab, 20000);
    cr_assert_not(lab_guest(lab, 0).sampled);
    lab_free(lab);
}

Test(sim_modes, sets_of_statistics_are_as_named)
{
    uint32_t linux_sends = 0;

    for (int i = 0; i <= BALLOON_STAT_CACHES; i++)
        linux_sends |= 1u << i;
    linux_sends |= 1u << BALLOON_STAT_OOM_KILL;
    cr_assert_eq(BALLOON_SIM_SENDS_LINUX, linux_sends);
    cr_assert_eq(BALLOON_SIM_SENDS_PSI, linux_sends | 1u << BALLOON_STAT_STALL_SOME);
    cr_assert_eq(BALLOON_SIM_SENDS_ALL, BALLOON_SIM_SENDS_PSI | 1u << BALLOON_STAT_COMMITTED);
    cr_assert_eq(BALLOON_SIM_SENDS_WINDOWS, (1u << (BALLOON_STAT_HUGE_FAIL + 1)) - 1);
    cr_assert_eq(BALLOON_SIM_SENDS_HYPERV, 1u << BALLOON_STAT_FREE | 1u << BALLOON_STAT_AVAILABLE |
                                               1u << BALLOON_STAT_COMMITTED);
}

/* --- what the host measures ------------------------------------------------------------------- */

/* What a policy saw last. */
static uint64_t seen_active, seen_misses;
static uint32_t seen_known;

static void watch(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    (void)wishes;
    seen_active = view->guests[0].active;
    seen_known = view->guests[0].known;
    seen_misses = balloon_curve_at(&view->guests[0].curve, 25000);
}

static const balloon_policy watcher = {.size = sizeof(watcher), .name = "watcher", .decide = watch};

Test(sim_modes, the_host_measures_working_sets)
{
    struct lab *lab = watched(BALLOON_SIM_HONEST);

    lab->config.pool.policy = &watcher;
    lab->config.pool.knobs = NULL;
    lab->phases[0][0].pages = 20000;
    lab->guests[0].flags = BALLOON_SIM_HOST_ACTIVE;
    lab->guests[0].noise = 30;
    lab_run(lab, 9000);
    cr_assert_not(seen_known & BALLOON_KNOWS_ACTIVE);
    lab_run(lab, 20000);
    cr_assert(seen_known & BALLOON_KNOWS_ACTIVE);
    cr_assert_geq(seen_active, 19400);
    cr_assert_leq(seen_active, 20600);
    lab_free(lab);
}

Test(sim_modes, the_host_measures_curves_after_a_while)
{
    struct lab *lab = watched(BALLOON_SIM_HONEST);

    lab->config.pool.policy = &watcher;
    lab->config.pool.knobs = NULL;
    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 40000, .pages = 50000, .misses = 1000};
    lab->guests[0].phase_count = 2;
    lab->guests[0].flags = BALLOON_SIM_HOST_CURVE;
    lab_run(lab, 29000);
    cr_assert_not(seen_known & BALLOON_KNOWS_CURVE);
    lab_run(lab, 69000);
    cr_assert(seen_known & BALLOON_KNOWS_CURVE);
    cr_assert_eq(seen_misses, 1500000);
    lab_run(lab, 70000);
    cr_assert_eq(seen_misses, 500);
    lab_free(lab);
}
