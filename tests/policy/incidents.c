/* What went wrong with controllers elsewhere, played again: each test is an incident, with a bound
 * that any sound policy keeps with room to spare. incidents_guests.c has those about guests that
 * do not follow, or do not say what is. */
#include "incident_host.h"

/* A policy that is made for what a test asks, and how many seconds it may take. */
struct pace {
    const balloon_policy *policy;
    uint64_t seconds;
};

#define PACES(paces) (sizeof(paces) / sizeof(paces[0]))

/* --- relief ----------------------------------------------------------------------------------- */

/* A controller gave a guest a little at a time, less each time than it needed, and the guest stayed
 * at its target until it was dead. When there is room, all of it has to come at once. */
Test(incidents, partial_relief_pins_the_target)
{
    static const struct pace paces[] = {{&balloon_policy_waterline, 10},
                                        {&balloon_policy_proportional, 30},
                                        {&balloon_policy_shares, 30}};

    for (size_t i = 0; i < PACES(paces); i++) {
        struct host host = host_new(paces[i].policy, 6 * GIB, 3);
        uint64_t need = 5 * GIB / 2;

        for (uint32_t g = 0; g < 3; g++)
            host_guest(&host, g, 4 * GIB, 15 * GIB / 8, need);
        host.lab->guests[2].depart_ms = 300500;
        host_run(&host, 300000);
        cr_assert_lt(host.guests[0].size, need, "%s", paces[i].policy->name);
        cr_assert_lt(host.guests[1].size, need, "%s", paces[i].policy->name);
        host_run(&host, 300000 + paces[i].seconds * 1000);
        cr_assert_geq(host.guests[0].size, need, "%s", paces[i].policy->name);
        cr_assert_geq(host.guests[1].size, need, "%s", paces[i].policy->name);
        host_free(&host);
    }
}

/* The same where memory stays in the pool until somebody needs it: nobody has to give first. */
Test(incidents, partial_relief_out_of_a_full_pool)
{
    balloon_waterline_knobs knobs = {.size = sizeof(knobs), .proactive = true};
    struct host host = host_new(&balloon_policy_waterline, 10 * GIB, 2);

    host.lab->config.pool.knobs = &knobs;
    host_guest(&host, 0, 4 * GIB, GIB, GIB / 2);
    host_guest(&host, 1, 4 * GIB, GIB, GIB / 2);
    host_phase(&host, 0, 300500, 3 * GIB);
    host_run(&host, 300000);
    cr_assert_lt(host.guests[0].size, 3 * GIB / 2);
    cr_assert_leq(host_until(&host, 0, 3 * GIB, 30), 20);
    host_free(&host);
}

/* A controller computed the next target from what the guest had, not from what it had been
 * promised; while memory was on its way it took the promise back, each second. */
static void grow_slowly(const balloon_policy *policy, uint64_t pool, uint32_t sends)
{
    struct host host = host_new(policy, pool, 2);

    /* It needs 100 s for what it is given. */
    host_guest(&host, 0, 6 * GIB, GIB, GIB / 2)->deflate = 20 * MIB;
    host_guest(&host, 1, 4 * GIB, 4 * GIB, 4 * GIB);
    host.lab->guests[0].sends = host.lab->guests[1].sends = sends;
    host_phase(&host, 0, 200000, 3 * GIB);
    host_phase(&host, 1, 200000, 2 * GIB);
    host_run(&host, 200000);
    host.guests[0].need = 3 * GIB;
    host_run(&host, 300000);
    cr_assert_eq(host.guests[0].undone, 0, "%s", policy->name);
    host_free(&host);
}

Test(incidents, a_controller_undoes_its_own_deflation)
{
    for (size_t i = 0; nth_policy(i); i++) {
        const balloon_policy *policy = nth_policy(i);

        /* That one takes back all from everybody at that time. */
        if (policy == &turn)
            continue;
        grow_slowly(policy, 6 * GIB, BALLOON_SIM_SENDS_PSI);
        grow_slowly(policy, 12 * GIB, BALLOON_SIM_SENDS_PSI);
        /* Without stall times. The one that goes by committed memory only follows that up and down.
         */
        if (policy != &balloon_policy_buffer)
            grow_slowly(policy, 12 * GIB, BALLOON_SIM_SENDS_HYPERV);
    }
}

/* --- shrinking -------------------------------------------------------------------------------- */

/* One step from all to little pushed a guest into its swap before any statistics could tell. */
Test(incidents, one_full_size_step_spikes_pressure)
{
    static const balloon_policy *const gentle[] = {&balloon_policy_waterline, &balloon_policy_mom,
                                                   &balloon_policy_proxmox};

    for (size_t i = 0; i < sizeof(gentle) / sizeof(gentle[0]); i++) {
        struct host host = host_new(gentle[i], 18 * GIB, 2);
        uint64_t waits;

        host_guest(&host, 0, 16 * GIB, 14 * GIB, 3 * GIB);
        host_guest(&host, 1, 16 * GIB, 2 * GIB, 12 * GIB);
        waits = host_waits(&host, 0, 600000);
        cr_assert_leq(host.guests[0].size, 13 * GIB, "%s", gentle[i]->name);
        cr_assert_leq(host.guests[0].drop, 250, "%s", gentle[i]->name);
        cr_assert_leq(waits, 5, "%s", gentle[i]->name);
        host_free(&host);
    }
}

/* An idle guest of 16 GiB was shrunk to a fixed 128 MiB, whatever it used, and thrashed for 18
 * hours. It has to keep what it uses for an hour, and to be well a minute after it wakes. */
Test(incidents, idle_shrink_to_a_fixed_floor)
{
    static const balloon_policy *const careful[] = {&balloon_policy_waterline,
                                                    &balloon_policy_shares, &balloon_policy_stall};

    for (size_t i = 0; i < sizeof(careful) / sizeof(careful[0]); i++) {
        struct host host = host_new(careful[i], 18 * GIB, 2);
        uint64_t idle, awake;

        host_guest(&host, 0, 16 * GIB, 8 * GIB, 2 * GIB)->min = 128 * MIB;
        host_guest(&host, 1, 16 * GIB, 6 * GIB, 13 * GIB);
        host_phase(&host, 0, 3600000, 7 * GIB / 2);
        idle = host_waits(&host, 0, 3600000);
        cr_assert_leq(idle, 10, "%s", careful[i]->name);
        cr_assert_geq(host.guests[0].least, 18 * GIB / 10, "%s", careful[i]->name);
        host_run(&host, 3660000);
        awake = host_waits(&host, 0, 3960000);
        cr_assert_leq(awake, 50, "%s", careful[i]->name);
        host_free(&host);
    }
}

/* Memory was taken once, when another needed it, and never came back: each guest kept what it had
 * on its worst day. */
Test(incidents, inflate_once_and_never_give_back)
{
    static const struct pace paces[] = {{&balloon_policy_waterline, 30},
                                        {&balloon_policy_shares, 300}};

    for (size_t i = 0; i < PACES(paces); i++) {
        struct host host = host_new(paces[i].policy, 5 * GIB, 2);
        uint64_t waits, need = 5 * GIB / 2;

        host_guest(&host, 0, 4 * GIB, need, need);
        host_guest(&host, 1, 4 * GIB, 2 * GIB, GIB);
        host_phase(&host, 1, 300000, 4 * GIB);
        host_phase(&host, 1, 900000, GIB);
        host_run(&host, 900000);
        cr_assert_lt(host.guests[0].size, need, "%s", paces[i].policy->name);
        cr_assert_leq(host_until(&host, 0, need, 300), paces[i].seconds);
        waits = host_waits(&host, 0, 1500000);
        cr_assert_leq(waits, 10, "%s", paces[i].policy->name);
        host_free(&host);
    }
}

/* A guest that began at its minimum was shrunk, or kept there, while its driver was not there yet,
 * and could not even boot. */
Test(incidents, started_at_its_minimum_before_the_driver)
{
    static const struct pace paces[] = {{&balloon_policy_waterline, 10},
                                        {&balloon_policy_proportional, 30},
                                        {&balloon_policy_shares, 30},
                                        {&balloon_policy_balance, 30},
                                        {&balloon_policy_stall, 30}};

    for (size_t i = 0; i < PACES(paces); i++) {
        struct host host = host_new(paces[i].policy, 6 * GIB, 2);

        host_guest(&host, 0, 4 * GIB, GIB / 2, GIB)->boot_ms = 60000;
        host_guest(&host, 1, 4 * GIB, 4 * GIB, GIB);
        /* The driver has a grace of 10 s. */
        host_run(&host, 70000);
        cr_assert_leq(host_until(&host, 0, GIB, 300), paces[i].seconds, "%s",
                      paces[i].policy->name);
        host_free(&host);
    }
    for (size_t i = 0; nth_policy(i); i++) {
        struct host host = host_new(nth_policy(i), 6 * GIB, 2);

        host_guest(&host, 0, 4 * GIB, GIB, GIB / 2)->boot_ms = 60000;
        host_guest(&host, 1, 4 * GIB, GIB, 3 * GIB);
        host_run(&host, 69000);
        cr_assert_eq(host.guests[0].least, GIB, "%s", nth_policy(i)->name);
        cr_assert_geq(host.guests[0].target, GIB, "%s", nth_policy(i)->name);
        host_free(&host);
    }
}

/* Before a snapshot an embedder takes memory back by a lower maximum. A slow guest was called
 * failed, and what was taken stayed away afterwards. */
Test(incidents, reclaim_before_a_snapshot)
{
    for (size_t i = 0; nth_policy(i); i++) {
        struct host host = host_new(nth_policy(i), 8 * GIB, 2);
        balloon_pool_guest limits = {
            .size = sizeof(limits), .min = GIB / 2, .max = 3 * GIB / 2, .shares = 1000};
        balloon_pool *pool;

        host_guest(&host, 0, 4 * GIB, 3 * GIB, GIB)->manner = BALLOON_SIM_SLOW;
        host_guest(&host, 1, 4 * GIB, 3 * GIB, 3 * GIB);
        host_run(&host, 100000);
        /* The simulator has no such event; here the test is the embedder. */
        pool = (balloon_pool *)(uintptr_t)balloon_sim_pool(host.lab->sim);
        cr_assert_eq(balloon_pool_set_guest(pool, lab_guest(host.lab, 0).id, &limits), BALLOON_OK);
        /* At 15 MiB/s 2.5 GiB take 171 s. */
        for (uint64_t t = 101000; t <= 300000; t += 1000) {
            host_run(&host, t);
            cr_assert_eq(host_status(&host, 0).flags & BALLOON_GUEST_INACTIVE, 0, "%s after %d s",
                         nth_policy(i)->name, (int)(t / 1000));
        }
        cr_assert_leq(host.guests[0].size, limits.max + MIB, "%s", nth_policy(i)->name);
        limits.max = 4 * GIB;
        cr_assert_eq(balloon_pool_set_guest(pool, lab_guest(host.lab, 0).id, &limits), BALLOON_OK);
        if (nth_policy(i) == &balloon_policy_waterline)
            cr_assert_leq(host_until(&host, 0, 5 * GIB / 2, 200), 120);
        host_free(&host);
    }
}

/* Balancing stopped after something that had nothing to do with it, and nobody noticed for weeks. A
 * driver that goes and comes, a migration, a balloon that hangs, a reboot: whoever needs memory
 * afterwards gets it, and again when it is the other's turn. */
Test(incidents, balancing_silently_stops)
{
    struct host host = host_new(&balloon_policy_waterline, 8 * GIB, 2);

    for (uint32_t g = 0; g < 2; g++) {
        host_guest(&host, g, 6 * GIB, 3 * GIB, 2 * GIB);
        host_phase(&host, g, 1200000, g == 0 ? GIB : 11 * GIB / 2);
        host_phase(&host, g, 1500000, g == 1 ? GIB : 11 * GIB / 2);
    }
    lab_event(host.lab, 60000, BALLOON_SIM_DRIVER, 0, 0);
    lab_event(host.lab, 120000, BALLOON_SIM_DRIVER, 0, 1);
    lab_event(host.lab, 200000, BALLOON_SIM_PIN, 0, 1);
    lab_event(host.lab, 260000, BALLOON_SIM_PIN, 0, 0);
    lab_event(host.lab, 300000, BALLOON_SIM_MANNER, 0, BALLOON_SIM_STUCK);
    lab_event(host.lab, 420000, BALLOON_SIM_MANNER, 0, BALLOON_SIM_OBEDIENT);
    lab_event(host.lab, 600000, BALLOON_SIM_REBOOT, 1, 0);
    for (uint32_t g = 1; g < 2; g--) {
        host_run(&host, g == 1 ? 1200000 : 1500000);
        cr_assert_lt(host.guests[g].size, 5 * GIB);
        cr_assert_leq(host_until(&host, g, 21 * GIB / 4, 300), 60, "guest %d", (int)g);
    }
    host_free(&host);
}
