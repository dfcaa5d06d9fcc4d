/* Incidents with guests that do not follow, or do not say what is: see incidents.c. What the pool
 * promises holds for every policy, so most are played with all of them, and with some that no
 * embedder would use. */
#include "incident_host.h"
#include "pool_rig.h"

/* --- guests that do not follow ---------------------------------------------------------------- */

/* An hour of a guest that uses all it has, without swap, on a host where another wants more. */
static struct host spinning(const balloon_policy *policy)
{
    struct host host = host_new(policy, 6 * GIB, 2);

    host_guest(&host, 0, 4 * GIB, 3 * GIB, 3 * GIB)->swap = 0;
    host_guest(&host, 1, 4 * GIB, 2 * GIB, 4 * GIB);
    host.lab->phases[0][0].file = 0;
    host.lab->guests[0].flags = BALLOON_SIM_DEFLATES_ON_OOM;
    host_run(&host, 600000);
    host_forget(&host, 0);
    host_run(&host, 4200000);
    return host;
}

/* A guest took back at once what it was asked for, since it would have had to kill otherwise; host
 * and guest went round at full speed. It is to be left alone for most of the time. */
Test(incidents_guests, deflate_on_oom_spin)
{
    for (size_t i = 0; nth_policy(i); i++) {
        struct host host = spinning(nth_policy(i));

        cr_assert_leq(host.guests[0].pressed, 3600 / 3, "%s", nth_policy(i)->name);
        cr_assert_leq(host.guests[0].changes, 6 * 60, "%s", nth_policy(i)->name);
        host_free(&host);
    }
}

/* And it is tried less and less often: after 30 s, then 60, and so on. */
Test(incidents_guests, deflate_on_oom_is_tried_less_and_less_often)
{
    for (size_t i = 0; nth_policy(i); i++) {
        struct host host = spinning(nth_policy(i));

        cr_assert_leq(host.guests[0].pressed, 3600 / 20, "%s: asked in vain for %u of 3600 s",
                      nth_policy(i)->name, host.guests[0].pressed);
        host_free(&host);
    }
}

/* Guests that stopped 1 MiB before their target, as drivers round, were all called uncooperative,
 * and nothing was balanced any more. */
Test(incidents_guests, one_mib_off_and_everyone_is_uncooperative)
{
    uint64_t target = GIB / 2, size = target;

    pool_rig_make(GIB, NULL);
    pool_rig_add(0, GIB, size);
    for (uint64_t second = 1; second < 1200; second++) {
        balloon_pool_guest_status status;

        /* Down, down, and up again. */
        if (second % 20 == 0)
            target = second / 20 % 3 ? target - 20 * MIB : target + 30 * MIB;
        pool_rig_wish(1, target, BALLOON_WHY_SHARE, 0);
        pool_rig_size(1, size, second * RIG_SECOND);
        pool_rig_sample(1, second * RIG_SECOND, BALLOON_STAT_AVAILABLE, size / 2, -1);
        pool_rig_decide(second * RIG_SECOND + 1);
        status = pool_rig_guest(1);
        cr_assert_eq(status.flags & BALLOON_GUEST_INACTIVE, 0, "after %d s", (int)second);
        cr_assert_eq(status.flagged, 0, "after %d s", (int)second);
        cr_assert_eq(status.target, target);
        size = size > target ? target + MIB : target - MIB;
    }
    cr_assert_eq(pool_rig_counters().inactive, 0);
    pool_rig_drop();
}

/* A shrink that failed half way was taken back as a whole, so the next try began where the first
 * did, and failed as well. */
Test(incidents_guests, a_failed_shrink_keeps_its_progress)
{
    struct host host = host_new(&crush, 10 * GIB, 1);
    uint64_t best = 8 * GIB;

    host_guest(&host, 0, 8 * GIB, 8 * GIB, GIB / 2)->manner = BALLOON_SIM_HALF;
    for (uint64_t second = 1; second <= 3600; second++) {
        host_run(&host, second * 1000);
        /* A guest that could not give all gets a little back, to live. */
        cr_assert_leq(host.guests[0].size, best + 128 * MIB, "after %d s", (int)second);
        if (host.guests[0].size < best)
            best = host.guests[0].size;
    }
    cr_assert_leq(best, 2 * GIB);
    host_free(&host);
}

/* --- limits ----------------------------------------------------------------------------------- */

/* What all guests had above their minimums was divided by the sum of their ranges, which was 0. */
Test(incidents_guests, gamma_with_a_range_of_zero)
{
    for (size_t i = 0; nth_policy(i); i++) {
        for (uint32_t movable = 0; movable < 2; movable++) {
            struct host host = host_new(nth_policy(i), 6 * GIB, 3);

            for (uint32_t g = 0; g < 3; g++)
                host_guest(&host, g, 3 * GIB / 2, 3 * GIB / 2, GIB + g * GIB / 2)->min =
                    3 * GIB / 2;
            if (movable)
                host.lab->guests[2].min = GIB / 2;
            /* Then the host is short, too. */
            lab_event(host.lab, 300000, BALLOON_SIM_POOL, 0, 19 * GIB / 4);
            host_run(&host, 600000);
            for (uint32_t g = 0; g < 3 - movable; g++) {
                cr_assert_eq(host.guests[g].changes, 0, "%s", nth_policy(i)->name);
                cr_assert_eq(host.guests[g].size, 3 * GIB / 2, "%s", nth_policy(i)->name);
            }
            host_free(&host);
        }
    }
}

/* --- what is not known ------------------------------------------------------------------------ */

/* Statistics stood still when a guest thrashed most, and the last good ones went on counting.
 * While they are old a guest keeps what it has; when they come again, so does balancing. */
Test(incidents_guests, stale_statistics)
{
    for (size_t i = 0; nth_policy(i); i++) {
        const balloon_policy *policy = nth_policy(i);
        struct host host = host_new(policy, 8 * GIB, 2);

        host_guest(&host, 0, 6 * GIB, 7 * GIB / 2, GIB);
        host_guest(&host, 1, 6 * GIB, 7 * GIB / 2, GIB);
        host_phase(&host, 1, 100000, 5 * GIB);
        host_phase(&host, 1, 500000, GIB);
        host_phase(&host, 0, 500000, 5 * GIB);
        host.guests[0].flags = BALLOON_GUEST_STALE;
        lab_event(host.lab, 50000, BALLOON_SIM_FORGE, 0, BALLOON_SIM_SILENT);
        lab_event(host.lab, 400000, BALLOON_SIM_FORGE, 0, BALLOON_SIM_HONEST);
        host_run(&host, 400000);
        cr_assert_eq(host.guests[0].unfair, 0, "%s", policy->name);
        if (policy == &balloon_policy_waterline) {
            host_run(&host, 500000);
            cr_assert_lt(host.guests[0].size, 9 * GIB / 2);
            cr_assert_leq(host_until(&host, 0, 9 * GIB / 2, 200), 60);
        }
        host_free(&host);
    }
}

/* A guest without driver was asked all the same: commands piled up, and others were promised what
 * it could not give. */
Test(incidents_guests, no_driver)
{
    for (size_t i = 0; nth_policy(i); i++) {
        struct host host = host_new(nth_policy(i), 8 * GIB, 3);
        balloon_pool_status pool;

        host_guest(&host, 0, 4 * GIB, 3 * GIB, GIB)->flags = BALLOON_SIM_NO_DRIVER;
        host_guest(&host, 1, 6 * GIB, 2 * GIB, 5 * GIB);
        host_guest(&host, 2, 6 * GIB, 2 * GIB, 5 * GIB);
        lab_event(host.lab, 300500, BALLOON_SIM_POOL, 0, 6 * GIB);
        host_run(&host, 300000);
        cr_assert_eq(lab_result(host.lab).overrun, 0, "%s", nth_policy(i)->name);
        host_run(&host, 600000);
        cr_assert_eq(host.guests[0].changes, 0, "%s", nth_policy(i)->name);
        cr_assert_eq(host.guests[0].size, 3 * GIB, "%s", nth_policy(i)->name);
        pool = host_pool(&host);
        cr_assert_eq(pool.used, 3 * GIB + host.guests[1].size + host.guests[2].size);
        cr_assert_leq(host.guests[1].target + host.guests[2].target, pool.budget - 3 * GIB, "%s",
                      nth_policy(i)->name);
        host_free(&host);
    }
}

/* A guest that never sent statistics was taken for one that needs nothing. It keeps what it has
 * while there is enough, and a newcomer gets in all the same without anybody passing the budget. */
Test(incidents_guests, silent_guest)
{
    for (size_t i = 0; nth_policy(i); i++) {
        const balloon_policy *policy = nth_policy(i);
        struct host host = host_new(policy, 8 * GIB, 3);

        host_guest(&host, 0, 4 * GIB, 3 * GIB, 5 * GIB / 2)->sends = BALLOON_SIM_SENDS_NONE;
        host_guest(&host, 1, 6 * GIB, 3 * GIB, 4 * GIB);
        host_guest(&host, 2, 4 * GIB, 2 * GIB, GIB)->arrive_ms = 300500;
        host.guests[0].flags = BALLOON_GUEST_STALE;
        host_run(&host, 300000);
        cr_assert_eq(host.guests[0].unfair, 0, "%s", policy->name);
        host_run(&host, 600000);
        cr_assert_eq(host.guests[0].unfair, 0, "%s", policy->name);
        cr_assert(lab_guest(host.lab, 2).present, "%s", policy->name);
        cr_assert_leq(lab_result(host.lab).waiting_ms, 180000, "%s", policy->name);
        cr_assert_eq(lab_result(host.lab).overrun, 0, "%s", policy->name);
        host_free(&host);
    }
}

/* The same where all have enough: a neighbour's wish for more than it needs is no reason to take
 * from a guest that cannot tell what that costs it. */
Test(incidents_guests, silent_guest_keeps_what_it_needs_when_there_is_enough)
{
    struct host host = host_new(&balloon_policy_waterline, 8 * GIB, 2);

    host_guest(&host, 0, 4 * GIB, 3 * GIB, 5 * GIB / 2)->sends = BALLOON_SIM_SENDS_NONE;
    host_guest(&host, 1, 6 * GIB, 3 * GIB, 4 * GIB);
    host_run(&host, 600000);
    cr_assert_geq(host.guests[0].least, 5 * GIB / 2, "it has %d MiB and needs 2560",
                  (int)(host.guests[0].least / MIB));
    host_free(&host);
}

/* --- what is forged --------------------------------------------------------------------------- */

/* A guest said that it needed all there was, and got it. Without a forger nobody of these four
 * waits for more than 1 % of the time. With one the others keep two thirds of their share and wait
 * for no more than 10 %, and it gets no more than twice its own. */
Test(incidents_guests, forged_statistics)
{
    for (uint32_t f = BALLOON_SIM_HONEST; f <= BALLOON_SIM_NOISE; f++) {
        struct host host = host_new(&balloon_policy_waterline, 8 * GIB, 4);
        uint64_t waits;

        /* Each needs nearly its share of 1.9 GiB. */
        for (uint32_t g = 0; g < 4; g++)
            host_guest(&host, g, 8 * GIB, 15 * GIB / 8, 7 * GIB / 4)->min = GIB / 4;
        host.lab->guests[0].forgery = f;
        host_run(&host, 300000);
        waits = host_waits(&host, 1, 1500000);
        cr_assert_leq(waits, f == BALLOON_SIM_HONEST ? 10 : 100, "forgery %u", f);
        cr_assert_leq(lab_of(host.lab, 0).size_mean, 15 * GIB / 4, "forgery %u", f);
        for (uint32_t g = 1; g < 4; g++)
            cr_assert_geq(lab_of(host.lab, g).size_mean, 5 * GIB / 4, "forgery %u", f);
        host_free(&host);
    }
}
