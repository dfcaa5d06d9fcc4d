/* What the host sees of guests, by profile. */
#include <criterion/criterion.h>

#include "sim_lab.h"

/* A policy that changes nothing, and remembers what it was shown. */
static struct {
    uint32_t known[LAB_GUESTS];
} seen;

static void watch(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    (void)wishes;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        seen.known[i] |= g->known;
    }
}

static const balloon_policy watcher = {
    .size = sizeof(balloon_policy), .name = "watcher", .decide = watch};

static struct lab *lab_of_profile(uint32_t guests, uint32_t profile)
{
    struct lab *lab = lab_new(guests);

    memset(&seen, 0, sizeof(seen));
    lab->config.profile = profile;
    lab->config.pool.policy = &watcher;
    lab->config.pool.knobs = NULL;
    return lab;
}

/* --- what is known ---------------------------------------------------------------------------- */

#define OF_VIRTIO                                                                                  \
    ((uint32_t)BALLOON_KNOWS_AVAILABLE | (uint32_t)BALLOON_KNOWS_FREE |                            \
     (uint32_t)BALLOON_KNOWS_CACHES | (uint32_t)BALLOON_KNOWS_STALL |                              \
     (uint32_t)BALLOON_KNOWS_SWAP)

Test(sim_profiles, say_what_a_policy_knows)
{
    static const struct {
        uint32_t profile, known, sent;
    } table[] = {
        {BALLOON_SIM_VIRTIO, OF_VIRTIO, BALLOON_SIM_SENDS_VIRTIO},
        {BALLOON_SIM_VIRTIO_PSI, OF_VIRTIO,
         BALLOON_SIM_SENDS_VIRTIO | 1u << BALLOON_STAT_STALL_SOME},
        {BALLOON_SIM_MEASURED, OF_VIRTIO | BALLOON_KNOWS_ACTIVE, BALLOON_SIM_SENDS_PSI},
        {BALLOON_SIM_CURVES, OF_VIRTIO | BALLOON_KNOWS_ACTIVE | BALLOON_KNOWS_CURVE,
         BALLOON_SIM_SENDS_PSI},
        {BALLOON_SIM_AS_SET, OF_VIRTIO, BALLOON_SIM_SENDS_PSI},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct lab *lab = lab_of_profile(1, table[i].profile);

        lab_run(lab, 60000);
        cr_assert_eq(seen.known[0], table[i].known, "row %zu: %#x", i, seen.known[0]);
        cr_assert_eq(lab_guest(lab, 0).last.present, table[i].sent, "row %zu", i);
        lab_free(lab);
    }
}

/* Not even of a scenario that says so. */
Test(sim_profiles, no_virtio_host_measures)
{
    for (uint32_t p = BALLOON_SIM_AS_SET; p <= BALLOON_SIM_VIRTIO_PSI; p++) {
        const uint32_t both = (uint32_t)BALLOON_KNOWS_ACTIVE | (uint32_t)BALLOON_KNOWS_CURVE;
        struct lab *lab = lab_of_profile(1, p);

        lab->guests[0].flags = (uint32_t)BALLOON_SIM_HOST_ACTIVE | (uint32_t)BALLOON_SIM_HOST_CURVE;
        lab_run(lab, 60000);
        cr_assert_eq(seen.known[0] & both, p == BALLOON_SIM_AS_SET ? both : 0);
        lab_free(lab);
    }
}

Test(sim_profiles, other_guests_stay_what_they_are)
{
    static const uint32_t table[][2] = {
        {BALLOON_SIM_SENDS_WINDOWS, BALLOON_SIM_SENDS_WINDOWS},
        {BALLOON_SIM_SENDS_HYPERV, 1u << BALLOON_STAT_FREE | 1u << BALLOON_STAT_AVAILABLE},
        {BALLOON_SIM_SENDS_LINUX, BALLOON_SIM_SENDS_VIRTIO},
        {BALLOON_SIM_SENDS_ALL, BALLOON_SIM_SENDS_VIRTIO},
        {BALLOON_SIM_SENDS_NONE, 0},
        {1u << BALLOON_STAT_COMMITTED, 0},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);

        lab->guests[0].sends = table[i][0];
        lab_run(lab, 5000);
        cr_assert_eq(lab_guest(lab, 0).last.present, table[i][1], "row %zu", i);
        cr_assert_eq(lab_guest(lab, 0).sampled, table[i][1] != 0, "row %zu", i);
        lab_free(lab);
    }
}

Test(sim_profiles, have_names)
{
    cr_assert_str_eq(balloon_sim_profile_name(BALLOON_SIM_AS_SET), "as-set");
    cr_assert_str_eq(balloon_sim_profile_name(BALLOON_SIM_VIRTIO), "virtio");
    cr_assert_str_eq(balloon_sim_profile_name(BALLOON_SIM_VIRTIO_PSI), "virtio+psi");
    cr_assert_str_eq(balloon_sim_profile_name(BALLOON_SIM_MEASURED), "measured");
    cr_assert_str_eq(balloon_sim_profile_name(BALLOON_SIM_CURVES), "curves");
    cr_assert_str_eq(balloon_sim_profile_name(5), "unknown");
}

/* --- when ------------------------------------------------------------------------------------- */

/* How many statistics of a guest come until then, and whether all times of them are whole seconds.
 */
static uint32_t count_samples(struct lab *lab, uint32_t guest, uint64_t until, bool *whole)
{
    uint64_t last = 0;
    uint32_t count = 0;

    *whole = true;
    for (uint64_t at = lab->sim ? balloon_sim_now(lab->sim) : 0; at <= until; at += 10) {
        balloon_sim_guest_status s;

        lab_run(lab, at);
        s = lab_guest(lab, guest);
        if (!s.sampled || s.last.time == last)
            continue;
        last = s.last.time;
        *whole = *whole && last % 1000000000 == 0;
        count++;
    }
    return count;
}

/* Where nobody asks, one or five seconds apart, whatever the scenario says. */
Test(sim_profiles, virtio_statistics_bear_whole_seconds)
{
    for (uint32_t g = 0; g < 2; g++) {
        struct lab *lab = lab_of_profile(2, BALLOON_SIM_VIRTIO);
        uint32_t count;
        bool whole;

        lab->config.tick_ms = 60000;
        lab->guests[g].period_ms = 300;
        lab->guests[g].age_ms = 7000;
        count = count_samples(lab, g, 59000, &whole);
        cr_assert(whole);
        /* Two may fall into one second. */
        cr_assert_geq(count, g ? 11 : 45);
        cr_assert_leq(count, g ? 12 : 59);
        lab_free(lab);
    }
}

/* One that waits is asked at each beat that finds it with no answer under way; one that is fine,
 * about once a second. */
Test(sim_profiles, virtio_hosts_ask_whom_the_pool_wants)
{
    struct lab *lab = lab_of_profile(2, BALLOON_SIM_VIRTIO);
    uint32_t waits, fine;
    bool whole;

    lab->phases[1][0].pages = 30000;
    waits = count_samples(lab, 0, 20000, &whole);
    cr_assert_not(whole);
    cr_assert_geq(waits, 20 * 4);
    cr_assert_leq(waits, 20 * 10);
    lab_free(lab);
    lab = lab_of_profile(2, BALLOON_SIM_VIRTIO);
    lab->phases[1][0].pages = 30000;
    fine = count_samples(lab, 1, 20000, &whole);
    cr_assert_not(whole);
    cr_assert_geq(fine, 15);
    cr_assert_leq(fine, 27);
    lab_free(lab);
}

/* Only the rest follow a beat of their own. */
Test(sim_profiles, other_hosts_do_not_ask)
{
    struct lab *lab = lab_of_profile(1, BALLOON_SIM_MEASURED);
    bool whole;

    lab->guests[0].period_ms = 3000;
    cr_assert_leq(count_samples(lab, 0, 30000, &whole), 10);
    lab_free(lab);
}

/* Ten times a second while somebody waits, once when all is calm, and as told. */
Test(sim_profiles, the_pool_says_when_to_decide)
{
    static const struct {
        uint32_t profile, tick_ms, pages, least, most;
    } table[] = {
        {BALLOON_SIM_VIRTIO, 0, 100000, 190, 1000}, {BALLOON_SIM_VIRTIO, 0, 30000, 20, 42},
        {BALLOON_SIM_VIRTIO, 500, 100000, 40, 40},  {BALLOON_SIM_MEASURED, 0, 100000, 190, 1000},
        {BALLOON_SIM_MEASURED, 0, 30000, 20, 22},   {BALLOON_SIM_AS_SET, 0, 100000, 20, 20},
        {BALLOON_SIM_AS_SET, 500, 100000, 40, 40},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct lab *lab = lab_of_profile(1, table[i].profile);
        uint64_t decisions, steps = 0;

        lab->config.tick_ms = table[i].tick_ms;
        lab->phases[0][0].pages = table[i].pages;
        lab->scenario.duration_ms = 20000;
        cr_assert_eq(lab_try(lab), BALLOON_OK);
        while (balloon_sim_step(lab->sim))
            cr_assert_eq(lab_result(lab).decisions, ++steps, "row %zu", i);
        decisions = lab_result(lab).decisions;
        cr_assert_eq(balloon_sim_now(lab->sim), 20000);
        cr_assert_geq(decisions, table[i].least, "row %zu: %llu", i, (unsigned long long)decisions);
        cr_assert_leq(decisions, table[i].most, "row %zu: %llu", i, (unsigned long long)decisions);
        lab_free(lab);
    }
}

/* The first page that the guest loses is told of no earlier than 30 ms after, with all that was
 * before: what arrives is as old as its way was long. */
Test(sim_profiles, virtio_statistics_take_30_to_200_ms)
{
    struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);
    uint64_t least = UINT64_MAX, most = 0;

    lab->scenario.duration_ms = 200000;
    for (uint64_t at = 1, faults = 0; at < 200000; at++) {
        uint64_t now;

        lab_run(lab, at);
        if (!lab_guest(lab, 0).sampled ||
            (now = lab_stat(lab, BALLOON_STAT_MAJOR_FAULTS)) == faults)
            continue;
        faults = now;
        /* 909.09 faults in a second. */
        uint64_t age = at - faults * 1100 / 1000;

        least = age < least ? age : least;
        most = age > most ? age : most;
    }
    cr_assert_geq(least, 28);
    cr_assert_leq(least, 40);
    cr_assert_leq(most, 201);
    cr_assert_geq(most, 180);
    lab_free(lab);
}

/* --- memory ----------------------------------------------------------------------------------- */

/* min_free_kbytes of such guests is 2508, 26214, 45056 and 67584. */
Test(sim_profiles, a_kernel_keeps_some_memory_free)
{
    static const struct {
        uint64_t ram, kib;
    } table[] = {
        {384 * BALLOON_SIM_MIB, 2508 * 3 / 2 + 3072},
        {512 * BALLOON_SIM_MIB, 26212 * 3 / 2 + 3072},
        {1024 * BALLOON_SIM_MIB, 45056 * 3 / 2 + 3072},
        {16384 * BALLOON_SIM_MIB, 67584 * 3 / 2 + 3072},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        for (uint32_t p = BALLOON_SIM_AS_SET; p <= BALLOON_SIM_VIRTIO; p++) {
            struct lab *lab = lab_of_profile(1, p);
            uint64_t kept = p == BALLOON_SIM_VIRTIO ? table[i].kib * 1024 : 0, free;

            lab->scenario.pages = 8 * table[i].ram;
            lab->guests[0].max = table[i].ram;
            lab->guests[0].start = table[i].ram / 2;
            lab->phases[0][0].pages = table[i].ram;
            lab_run(lab, 10000);
            free = lab_stat(lab, BALLOON_STAT_FREE);
            cr_assert_leq(free, kept, "row %zu: %llu", i, (unsigned long long)free);
            cr_assert_geq(free + 8192, kept, "row %zu: %llu", i, (unsigned long long)free);
            cr_assert_eq(lab_stat(lab, BALLOON_STAT_AVAILABLE), 0);
            lab_free(lab);
        }
    }
}

/* What is free beyond that is available, and the cache but for half of that at most. */
Test(sim_profiles, available_is_what_linux_says)
{
    struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);
    uint64_t kept = (627 + 627 / 2 + 768) * 4096;

    lab->guests[0].max = 98304;
    lab->phases[0][0] = (balloon_sim_phase){.pages = 20000, .misses = 1000, .file = 400};
    lab_run(lab, 5000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_FREE), 30000 * 4096);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_CACHES), 8000 * 4096);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_AVAILABLE), 38000 * 4096 - kept - kept / 8192 * 4096);
    lab_free(lab);
}

/* --- counters --------------------------------------------------------------------------------- */

/* A program that has pages on swap ends: they are gone, and nobody has read them. */
Test(sim_profiles, what_is_out_stays_counted_when_its_owner_exits)
{
    struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);
    uint64_t in, out;

    lab->guests[0].refill = 8;
    lab->phases[0][0].misses = 0;
    lab->phases[0][1] = (balloon_sim_phase){.at_ms = 20000, .pages = 1000};
    lab->guests[0].phase_count = 2;
    lab_run(lab, 19999);
    cr_assert_eq(lab_guest(lab, 0).swapped, 50000);
    in = lab_stat(lab, BALLOON_STAT_SWAP_IN);
    out = lab_stat(lab, BALLOON_STAT_SWAP_OUT);
    cr_assert_eq(out - in, (uint64_t)50000 * 4096);
    lab_run(lab, 40000);
    cr_assert_eq(lab_guest(lab, 0).swapped, 0);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_SWAP_IN), in);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_SWAP_OUT), out);
    lab_free(lab);
}

/* An eighth of what a full guest reclaims, allocators do themselves, 32 pages at a time. */
Test(sim_profiles, reclaim_is_counted)
{
    static const struct order orders[] = {{10000, 0, 42000}};
    struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);

    lab->config.pool.policy = &orders_policy;
    lab->config.pool.knobs = &lab->orders;
    lab_order(lab, orders, 1);
    lab->phases[0][0] = (balloon_sim_phase){.pages = 42000, .cold = 8000};
    lab_run(lab, 9000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_ASYNC_SCAN), 0);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_ALLOC_STALL), 0);
    lab_run(lab, 20000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_ASYNC_RECLAIM), 7000 * 4096);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_DIRECT_RECLAIM), 1000 * 4096);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_ASYNC_SCAN), 14000 * 4096);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_DIRECT_SCAN), 2000 * 4096);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_ALLOC_STALL), 1000 / 32);
    lab_free(lab);
}

/* Each page read takes the place of another where all is full. Misses do not depend on memory here:
 * 2000 in a second. */
static const balloon_curve_point level_points[] = {{65536, 65536}};
static const balloon_curve level_curves[] = {{level_points, 1}};

Test(sim_profiles, misses_reclaim_in_a_full_guest)
{
    for (uint64_t spare = 0; spare <= 2000; spare += 2000) {
        struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);

        lab->guests[0].max = 200000;
        lab->scenario.curves = level_curves;
        lab->phases[0][0].pages = 50000 - spare;
        lab_run(lab, 20000);
        if (spare)
            cr_assert_eq(lab_stat(lab, BALLOON_STAT_ASYNC_RECLAIM), 0);
        else
            cr_assert_geq(lab_stat(lab, BALLOON_STAT_ASYNC_RECLAIM), 20000 * 4096);
        cr_assert_geq(lab_stat(lab, BALLOON_STAT_MAJOR_FAULTS), 30000);
        lab_free(lab);
    }
}

/* A config of before there were profiles ends earlier. */
Test(sim_profiles, a_shorter_config_has_none)
{
    struct lab *lab = lab_of_profile(1, BALLOON_SIM_VIRTIO);

    lab->config.size = offsetof(balloon_sim_config, profile);
    lab_run(lab, 5000);
    cr_assert_eq(lab_guest(lab, 0).last.present, BALLOON_SIM_SENDS_PSI);
    lab_free(lab);
    lab = lab_of_profile(1, BALLOON_SIM_CURVES + 1);
    cr_assert_eq(lab_try(lab), BALLOON_ERR_INVALID);
    lab->config.size = offsetof(balloon_sim_config, profile);
    cr_assert_eq(lab_try(lab), BALLOON_OK);
    lab_free(lab);
}
