/* What guests say of themselves, and what is made of it: each trap by itself. */
#include <criterion/criterion.h>
#include <string.h>

#include "pool_rig.h"

#define POOL          UINT64_C(1600000)
#define S             RIG_SECOND
#define RAM           UINT64_C(262144) /* 1 GiB */
#define SIZE          UINT64_C(200000)
#define P(n)          UINT64_C(n)
#define STOP          -1
#define KNOWN(signal) ((pool_rig_seen(guest)->known & (signal)) != 0)

static uint64_t guest;

static void make(void)
{
    pool_rig_make(POOL, NULL);
    guest = pool_rig_add(0, RAM, SIZE);
}

TestSuite(pool_sample, .init = make, .fini = pool_rig_drop);

/* --- ages ------------------------------------------------------------------------------------- */

Test(pool_sample, a_silent_guest_is_stale_and_unknown)
{
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->flags, BALLOON_GUEST_STALE);
    cr_assert_eq(pool_rig_seen(guest)->age, BALLOON_TIME_NEVER);
    cr_assert_eq(pool_rig_seen(guest)->sample, 0);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
}

Test(pool_sample, statistics_grow_old)
{
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_AVAILABLE, P(100), STOP);
    pool_rig_decide(5 * S);
    cr_assert_eq(pool_rig_seen(guest)->age, 3 * S);
    cr_assert_eq(pool_rig_seen(guest)->sample, 1);
    pool_rig_decide(17 * S);
    cr_assert_eq(pool_rig_seen(guest)->flags, 0);
    cr_assert_eq(pool_rig_seen(guest)->available, 100);
    pool_rig_decide(17 * S + 1);
    cr_assert_eq(pool_rig_seen(guest)->flags, BALLOON_GUEST_STALE);
    cr_assert_eq(pool_rig_seen(guest)->age, 15 * S + 1);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
    cr_assert_eq(pool_rig_seen(guest)->available, 0);
}

Test(pool_sample, the_same_statistics_are_not_news)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, P(100), STOP);
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, P(200), STOP);
    /* Nor older ones. */
    pool_rig_sample(guest, S - 1, BALLOON_STAT_AVAILABLE, P(300), STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->available, 100);
    cr_assert_eq(pool_rig_seen(guest)->sample, 1);
    cr_assert_eq(pool_rig_counters().samples, 1);
    cr_assert_eq(pool_rig_counters().samples_odd, 0);
    pool_rig_sample(guest, S + 1, BALLOON_STAT_AVAILABLE, P(400), STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->available, 400);
    cr_assert_eq(pool_rig_seen(guest)->sample, 2);
}

Test(pool_sample, statistics_from_the_future_are_of_now)
{
    balloon_sample sample = {.time = BALLOON_TIME_NEVER};

    for (int i = 0; i < 3; i++)
        cr_assert_eq(balloon_pool_sample(pool_rig.pool, guest, &sample, (5 + (uint64_t)i) * S),
                     BALLOON_OK);
    cr_assert_eq(pool_rig_counters().samples, 1);
    cr_assert_eq(pool_rig_counters().samples_odd, 1);
    pool_rig_decide(8 * S);
    cr_assert_eq(pool_rig_seen(guest)->age, 3 * S);
    /* The next ones are not shut out. */
    pool_rig_sample(guest, 9 * S, BALLOON_STAT_AVAILABLE, P(100), STOP);
    pool_rig_decide(9 * S);
    cr_assert_eq(pool_rig_seen(guest)->available, 100);
    cr_assert_eq(balloon_pool_sample(pool_rig.pool, guest, NULL, 9 * S), BALLOON_ERR_INVALID);
}

/* --- amounts ---------------------------------------------------------------------------------- */

Test(pool_sample, amounts_are_taken)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, P(1000), BALLOON_STAT_FREE, P(300),
                    BALLOON_STAT_CACHES, P(500), STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->known,
                 BALLOON_KNOWS_AVAILABLE | BALLOON_KNOWS_FREE | BALLOON_KNOWS_CACHES);
    cr_assert_eq(pool_rig_seen(guest)->available, 1000);
    cr_assert_eq(pool_rig_seen(guest)->free, 300);
    cr_assert_eq(pool_rig_seen(guest)->caches, 500);
}

Test(pool_sample, what_is_missing_is_unknown_and_what_went_missing_too)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, P(1000), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_FREE, P(300), STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->known, BALLOON_KNOWS_FREE);
    cr_assert_eq(pool_rig_seen(guest)->available, 0);
    cr_assert_eq(pool_rig_seen(guest)->free, 300);
}

Test(pool_sample, all_ones_mean_unknown)
{
    balloon_sample sample = {.time = S};

    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, UINT64_MAX);
    balloon_sample_set(&sample, BALLOON_STAT_COMMITTED, UINT64_MAX);
    balloon_sample_set(&sample, BALLOON_STAT_SWAP_IN, UINT64_MAX);
    balloon_sample_set(&sample, BALLOON_STAT_SWAP_OUT, UINT64_MAX);
    cr_assert_eq(balloon_pool_sample(pool_rig.pool, guest, &sample, S), BALLOON_OK);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
    cr_assert_eq(pool_rig_counters().samples_odd, 0);
}

Test(pool_sample, more_than_the_ram_is_odd)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, RAM + 1, BALLOON_STAT_FREE, P(300),
                    BALLOON_STAT_CACHES, UINT64_C(1) << 51, STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->known, BALLOON_KNOWS_FREE);
    cr_assert_eq(pool_rig_seen(guest)->available, 0);
    cr_assert_eq(pool_rig_seen(guest)->free, 300);
    cr_assert_eq(pool_rig_seen(guest)->caches, 0);
    cr_assert_eq(pool_rig_counters().samples_odd, 1);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_FREE, RAM + 1, STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
    cr_assert_eq(pool_rig_counters().samples_odd, 2);
}

Test(pool_sample, more_than_the_size_may_just_be_older)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, RAM, BALLOON_STAT_FREE, RAM - 1,
                    BALLOON_STAT_CACHES, RAM - 2, STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->available, SIZE);
    cr_assert_eq(pool_rig_seen(guest)->free, SIZE);
    cr_assert_eq(pool_rig_seen(guest)->caches, SIZE);
    /* And its size can change afterwards. */
    pool_rig_size(guest, 1000, 2 * S);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->available, 1000);
    cr_assert_eq(pool_rig_seen(guest)->free, 1000);
    cr_assert_eq(pool_rig_counters().samples_odd, 0);
}

Test(pool_sample, free_and_available_are_not_ordered_in_linux)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, P(900), BALLOON_STAT_FREE, P(1000), STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->available, 900);
    cr_assert_eq(pool_rig_seen(guest)->free, 900);
    cr_assert_eq(pool_rig_counters().samples_odd, 0);
}

Test(pool_sample, total_is_not_believed)
{
    /* It has the balloon in it or not, as the driver pleases. */
    pool_rig_sample(guest, S, BALLOON_STAT_TOTAL, P(10), BALLOON_STAT_AVAILABLE, P(1000), STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->available, 1000);
    cr_assert_eq(pool_rig_seen(guest)->size, SIZE);
}

Test(pool_sample, committed_memory_is_without_the_balloon)
{
    pool_rig_sample(guest, S, BALLOON_STAT_COMMITTED, RAM - SIZE + 5000, STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->known, BALLOON_KNOWS_COMMITTED);
    cr_assert_eq(pool_rig_seen(guest)->committed, 5000);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_COMMITTED, P(5), STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->committed, 0);
    /* Programs may have been promised more than there is. */
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_COMMITTED, UINT64_C(1) << 50, STOP);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_seen(guest)->committed, RAM);
    cr_assert_eq(pool_rig_counters().samples_odd, 0);
}

/* --- swap ------------------------------------------------------------------------------------- */

Test(pool_sample, what_is_out_on_swap_is_known)
{
    pool_rig_sample(guest, S, BALLOON_STAT_SWAP_IN, P(100), BALLOON_STAT_SWAP_OUT, P(700), STOP);
    pool_rig_decide(S);
    cr_assert(KNOWN(BALLOON_KNOWS_SWAP));
    cr_assert_eq(pool_rig_seen(guest)->swapped, 600);
    cr_assert_eq(pool_rig_seen(guest)->swap_in_rate, 0);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_SWAP_IN, P(300), BALLOON_STAT_SWAP_OUT, P(700),
                    STOP);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 400);
    cr_assert_eq(pool_rig_seen(guest)->swap_in_rate, 100);
}

Test(pool_sample, swap_has_bounds)
{
    pool_rig_sample(guest, S, BALLOON_STAT_SWAP_IN, P(700), BALLOON_STAT_SWAP_OUT, P(100), STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 0);
    pool_rig_sample(guest, S + 1, BALLOON_STAT_SWAP_IN, UINT64_C(1) << 45, BALLOON_STAT_SWAP_OUT,
                    UINT64_C(1) << 50, STOP);
    pool_rig_decide(S + 1);
    cr_assert_eq(pool_rig_seen(guest)->swapped, SIZE);
    cr_assert_eq(pool_rig_seen(guest)->swap_in_rate, RAM);
    /* One of the two says nothing. */
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_SWAP_OUT, UINT64_C(1) << 50, STOP);
    pool_rig_decide(2 * S);
    cr_assert_not(KNOWN(BALLOON_KNOWS_SWAP));
    cr_assert_eq(pool_rig_seen(guest)->swapped, 0);
}

/* Whoever swapped it out may have ended: no counter says so. What nobody asks for in a second is an
 * eighth less, and after 8 s without statistics it is forgotten. */
Test(pool_sample, what_does_not_come_back_from_swap_is_forgotten)
{
    pool_rig_sample(guest, S, BALLOON_STAT_SWAP_IN, P(0), BALLOON_STAT_SWAP_OUT, P(6400), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_SWAP_IN, P(0), BALLOON_STAT_SWAP_OUT, P(6400), STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 5600);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_SWAP_IN, P(1), BALLOON_STAT_SWAP_OUT, P(6400), STOP);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 5599);
    pool_rig_sample(guest, 4 * S, BALLOON_STAT_SWAP_IN, P(1), BALLOON_STAT_SWAP_OUT, P(6401), STOP);
    pool_rig_decide(4 * S);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 5600);
    pool_rig_sample(guest, 12 * S, BALLOON_STAT_SWAP_IN, P(1), BALLOON_STAT_SWAP_OUT, P(6401),
                    STOP);
    pool_rig_decide(12 * S);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 0);
}

/* --- growth ----------------------------------------------------------------------------------- */

/* What it uses grows; that it was made larger, or smaller, is no use. */
Test(pool_sample, growth_is_of_use_not_of_size)
{
    pool_rig_sample(guest, S, BALLOON_STAT_AVAILABLE, P(100000), BALLOON_STAT_TOTAL, SIZE, STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->growth, 0);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_AVAILABLE, P(90000), BALLOON_STAT_TOTAL, SIZE, STOP);
    pool_rig_decide(2 * S);
    cr_assert_eq(pool_rig_seen(guest)->growth, 10000);
    /* Its size has changed since it was asked. */
    pool_rig_size(guest, SIZE + 20000, 2 * S);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_AVAILABLE, P(90000), BALLOON_STAT_TOTAL, SIZE, STOP);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_seen(guest)->growth, 0);
    pool_rig_sample(guest, 4 * S, BALLOON_STAT_AVAILABLE, P(110000), BALLOON_STAT_TOTAL,
                    SIZE + 20000, STOP);
    pool_rig_decide(4 * S);
    cr_assert_eq(pool_rig_seen(guest)->growth, 0);
    /* A guest that deflates on OOM counts its balloon as used. */
    pool_rig_size(guest, SIZE, 4 * S);
    pool_rig_sample(guest, 5 * S, BALLOON_STAT_AVAILABLE, P(90000), BALLOON_STAT_TOTAL,
                    SIZE + 20000, STOP);
    pool_rig_decide(5 * S);
    cr_assert_eq(pool_rig_seen(guest)->growth, 0);
    /* Ten times a second it is the same. */
    for (uint64_t i = 1; i <= 20; i++)
        pool_rig_sample(guest, 5 * S + i * S / 10, BALLOON_STAT_AVAILABLE, 90000 - 1000 * i, STOP);
    pool_rig_decide(7 * S);
    cr_assert_geq(pool_rig_seen(guest)->growth, 8500);
    cr_assert_leq(pool_rig_seen(guest)->growth, 10500);
}

/* --- stall ------------------------------------------------------------------------------------ */

static uint32_t stall(balloon_time_t now)
{
    pool_rig_decide(now);
    cr_assert(KNOWN(BALLOON_KNOWS_STALL));
    cr_assert_neq(pool_rig_seen(guest)->stall_sample, 0);
    cr_assert_eq(pool_rig_guest(guest).stall, pool_rig_seen(guest)->stall);
    return pool_rig_seen(guest)->stall;
}

Test(pool_sample, stall_needs_two_samples)
{
    pool_rig_sample(guest, S, BALLOON_STAT_STALL_SOME, P(5000000), STOP);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
    cr_assert_eq(pool_rig_seen(guest)->stall_sample, 0);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_STALL_SOME, P(5100000), STOP);
    cr_assert_eq(stall(3 * S), 50000);
}

Test(pool_sample, stall_is_new_once)
{
    pool_rig_sample(guest, S, BALLOON_STAT_STALL_SOME, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_STALL_SOME, P(1000), STOP);
    cr_assert_eq(stall(2 * S), 1000);
    cr_assert_eq(pool_rig_seen(guest)->stall_sample, 1);
    pool_rig_decide(3 * S);
    cr_assert_eq(pool_rig_seen(guest)->stall_sample, 1);
    cr_assert_eq(pool_rig_seen(guest)->stall, 1000);
    /* Also when several came since. */
    pool_rig_sample(guest, 4 * S, BALLOON_STAT_STALL_SOME, P(1000), STOP);
    pool_rig_sample(guest, 5 * S, BALLOON_STAT_STALL_SOME, P(3000), STOP);
    cr_assert_eq(stall(5 * S), 2000);
    cr_assert_eq(pool_rig_seen(guest)->stall_sample, 3);
}

/* The same, however often the guest is asked: 2 faults each tenth of a second, 20 each second. */
Test(pool_sample, stall_is_of_the_last_second)
{
    uint64_t faults = 0;

    pool_rig_sample(guest, S, BALLOON_STAT_MAJOR_FAULTS, P(0), STOP);
    for (uint64_t i = 1; i <= 30; i++)
        pool_rig_sample(guest, S + i * S / 10, BALLOON_STAT_MAJOR_FAULTS, faults += 2, STOP);
    cr_assert_geq(stall(4 * S), 1850);
    cr_assert_leq(pool_rig_seen(guest)->stall, 2100);
    pool_rig_sample(guest, 5 * S, BALLOON_STAT_MAJOR_FAULTS, faults += 20, STOP);
    cr_assert_eq(stall(5 * S), 2000);
    /* A single fault is little, however short the time. */
    pool_rig_sample(guest, 7 * S, BALLOON_STAT_MAJOR_FAULTS, faults, STOP);
    pool_rig_sample(guest, 7 * S + S / 50, BALLOON_STAT_MAJOR_FAULTS, faults += 1, STOP);
    cr_assert_eq(stall(8 * S), 100);
}

/* More decisions do not change what the policy is shown. */
Test(pool_sample, stall_stays_until_it_is_measured_again)
{
    pool_rig_sample(guest, S, BALLOON_STAT_STALL_SOME, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_STALL_SOME, P(1000), STOP);
    for (uint64_t i = 0; i < 10; i++) {
        cr_assert_eq(stall(2 * S + i * S / 10), 1000);
        cr_assert_eq(pool_rig_seen(guest)->stall_sample, 1);
    }
}

Test(pool_sample, stall_of_more_than_all_time_is_all_time)
{
    pool_rig_sample(guest, S, BALLOON_STAT_STALL_SOME, P(0), STOP);
    pool_rig_sample(guest, S + 1, BALLOON_STAT_STALL_SOME, (uint64_t)INT64_MAX, STOP);
    cr_assert_eq(stall(2 * S), 1000000);
}

Test(pool_sample, stall_is_guessed_from_faults_and_swap)
{
    pool_rig_sample(guest, S, BALLOON_STAT_MAJOR_FAULTS, P(10), BALLOON_STAT_SWAP_IN, P(20),
                    BALLOON_STAT_ALLOC_STALL, P(30), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_MAJOR_FAULTS, P(110), BALLOON_STAT_SWAP_IN, P(70),
                    BALLOON_STAT_ALLOC_STALL, P(33), STOP);
    /* What is swapped in are major faults, too. */
    cr_assert_eq(stall(2 * S), 100 * 100 + 3 * 1000);
    /* Without some of them it is still a guess: eight pages come with a fault. */
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_SWAP_IN, P(87), STOP);
    cr_assert_eq(stall(3 * S), 300);
    pool_rig_sample(guest, 4 * S, BALLOON_STAT_ALLOC_STALL, P(40), STOP);
    pool_rig_sample(guest, 5 * S, BALLOON_STAT_ALLOC_STALL, P(41), STOP);
    cr_assert_eq(stall(5 * S), 1000);
    pool_rig_sample(guest, 6 * S, BALLOON_STAT_MAJOR_FAULTS, P(0), STOP);
    pool_rig_sample(guest, 8 * S, BALLOON_STAT_MAJOR_FAULTS, P(1), STOP);
    cr_assert_eq(stall(8 * S), 50);
}

/* Linux counts no major fault for what comes from swap when a file in memory (tmpfs) is read or
 * written: two faults a second, and 16,000 pages from swap. */
Test(pool_sample, swapping_without_faults_is_waiting)
{
    pool_rig_sample(guest, S, BALLOON_STAT_MAJOR_FAULTS, P(0), BALLOON_STAT_SWAP_IN, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_MAJOR_FAULTS, P(2), BALLOON_STAT_SWAP_IN, P(16000),
                    STOP);
    cr_assert_eq(stall(2 * S), 2000 * 100);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_MAJOR_FAULTS, P(2002), BALLOON_STAT_SWAP_IN,
                    P(32000), STOP);
    cr_assert_eq(stall(3 * S), 2000 * 100);
}

Test(pool_sample, measured_stall_goes_before_a_guess)
{
    pool_rig_sample(guest, S, BALLOON_STAT_MAJOR_FAULTS, P(0), BALLOON_STAT_STALL_SOME, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_MAJOR_FAULTS, P(9999), BALLOON_STAT_STALL_SOME, P(7),
                    STOP);
    cr_assert_eq(stall(2 * S), 7);
}

Test(pool_sample, huge_claims_do_not_run_over)
{
    const uint64_t huge = INT64_MAX;
    balloon_sample sample = {.time = S};

    pool_rig_sample(guest, 1, BALLOON_STAT_MAJOR_FAULTS, P(0), BALLOON_STAT_SWAP_IN, P(0),
                    BALLOON_STAT_SWAP_OUT, P(0), BALLOON_STAT_ALLOC_STALL, P(0), STOP);
    for (int i = 0; i < BALLOON_STAT_COUNT; i++)
        if (i != BALLOON_STAT_OOM_KILL && i != BALLOON_STAT_STALL_SOME)
            balloon_sample_set(&sample, (balloon_stat)i, huge);
    cr_assert_eq(balloon_pool_sample(pool_rig.pool, guest, &sample, S), BALLOON_OK);
    cr_assert_eq(stall(S), 1000000);
    cr_assert_eq(pool_rig_seen(guest)->swap_in_rate, RAM);
    cr_assert_eq(pool_rig_seen(guest)->swapped, 0);
    cr_assert_eq(pool_rig_counters().samples_odd, 1);
}

Test(pool_sample, huge_counts_do_not_come_round_to_small_ones)
{
    /* Times 100 it is 0, modulo 2^64. */
    pool_rig_sample(guest, S, BALLOON_STAT_MAJOR_FAULTS, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_MAJOR_FAULTS, UINT64_C(1) << 62, STOP);
    cr_assert_eq(stall(2 * S), 1000000);
}

Test(pool_sample, stalls_inside_a_cgroup_do_not_count)
{
    pool_rig_sample(guest, S, BALLOON_STAT_ALLOC_STALL, P(0), BALLOON_STAT_DIRECT_SCAN, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_ALLOC_STALL, P(100), BALLOON_STAT_DIRECT_SCAN, P(99),
                    STOP);
    cr_assert_eq(stall(2 * S), 0);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_ALLOC_STALL, P(200), BALLOON_STAT_DIRECT_SCAN,
                    P(199), STOP);
    cr_assert_eq(stall(3 * S), 100000);
}

Test(pool_sample, an_oom_kill_is_the_worst)
{
    pool_rig_sample(guest, S, BALLOON_STAT_OOM_KILL, P(4), BALLOON_STAT_STALL_SOME, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_OOM_KILL, P(5), BALLOON_STAT_STALL_SOME, P(0), STOP);
    cr_assert_eq(stall(2 * S), 1000000);
    pool_rig_sample(guest, 3 * S, BALLOON_STAT_OOM_KILL, P(5), BALLOON_STAT_STALL_SOME, P(9), STOP);
    cr_assert_eq(stall(3 * S), 9);
    /* That there was none says nothing of stall. */
    pool_rig_sample(guest, 4 * S, BALLOON_STAT_OOM_KILL, P(5), STOP);
    pool_rig_decide(4 * S);
    cr_assert_not(KNOWN(BALLOON_KNOWS_STALL));
    cr_assert_eq(pool_rig_seen(guest)->stall, 0);
}

Test(pool_sample, stale_stall_is_not_new)
{
    pool_rig_sample(guest, S, BALLOON_STAT_STALL_SOME, P(0), STOP);
    pool_rig_sample(guest, 2 * S, BALLOON_STAT_STALL_SOME, P(1000), STOP);
    pool_rig_decide(30 * S);
    cr_assert_eq(pool_rig_seen(guest)->stall, 0);
    cr_assert_eq(pool_rig_seen(guest)->stall_sample, 0);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
}

/* With a quarter of it free for a while a guest waits for something else: a limit of a container, a
 * disk. What is free at once after it grew is no such sign. */
Test(pool_sample, waiting_with_much_memory_free_does_not_count)
{
    for (uint64_t i = 0; i < 8; i++) {
        pool_rig_sample(guest, (1 + i) * S, BALLOON_STAT_STALL_SOME, 50000 * i, BALLOON_STAT_FREE,
                        P(50000), STOP);
        if (i)
            cr_assert_eq(stall((1 + i) * S), i < 3 ? 50000 : 0, "%d", (int)i);
    }
    pool_rig_sample(guest, 9 * S, BALLOON_STAT_STALL_SOME, P(400000), BALLOON_STAT_FREE, P(24999),
                    STOP);
    cr_assert_eq(stall(9 * S), 50000);
    /* A small guest has some that programs cannot have. */
    pool_rig_size(guest, 30000, 9 * S);
    for (uint64_t i = 0; i < 8; i++)
        pool_rig_sample(guest, (10 + i) * S, BALLOON_STAT_STALL_SOME, 450000 + 50000 * i,
                        BALLOON_STAT_FREE, P(16383), STOP);
    cr_assert_eq(stall(17 * S), 50000);
}

/* Windows counts reading of files as both. */
Test(pool_sample, reading_files_is_no_waiting)
{
    balloon_sample sample = {.time = S};

    for (uint64_t i = 0; i < 3; i++) {
        sample = (balloon_sample){.time = (1 + i) * S};
        balloon_sample_set(&sample, BALLOON_STAT_SWAP_IN, i << 20);
        balloon_sample_set(&sample, BALLOON_STAT_MAJOR_FAULTS, i * 1000);
        sample.present |= BALLOON_SAMPLE_READS;
        cr_assert_eq(balloon_pool_sample(pool_rig.pool, guest, &sample, (1 + i) * S), BALLOON_OK);
    }
    pool_rig_decide(3 * S);
    cr_assert_not(KNOWN(BALLOON_KNOWS_STALL));
}

/* A query that failed in Windows is -1 pages. */
Test(pool_sample, less_than_nothing_is_unknown)
{
    balloon_sample sample = {.time = S};

    for (int i = 0; i < BALLOON_STAT_COUNT; i++)
        balloon_sample_set(&sample, (balloon_stat)i, 0 - UINT64_C(4096));
    cr_assert_eq(balloon_pool_sample(pool_rig.pool, guest, &sample, S), BALLOON_OK);
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->known, 0);
    cr_assert_eq(pool_rig_counters().samples_odd, 0);
    cr_assert_eq(pool_rig_counters().reboots, 0);
}

/* --- reboots ---------------------------------------------------------------------------------- */

Test(pool_sample, a_counter_that_goes_back_is_a_reboot)
{
    static const balloon_stat counters[] = {BALLOON_STAT_SWAP_IN,      BALLOON_STAT_SWAP_OUT,
                                            BALLOON_STAT_MAJOR_FAULTS, BALLOON_STAT_MINOR_FAULTS,
                                            BALLOON_STAT_OOM_KILL,     BALLOON_STAT_ALLOC_STALL,
                                            BALLOON_STAT_DIRECT_SCAN,  BALLOON_STAT_STALL_SOME};
    balloon_time_t now = S;

    for (uint64_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        bool itself = counters[i] == BALLOON_STAT_STALL_SOME;

        pool_rig_sample(guest, now += S, BALLOON_STAT_STALL_SOME, 1000 * i, counters[i],
                        itself ? 1000 * i : P(100), STOP);
        cr_assert_eq(pool_rig_counters().reboots, i);
        /* Others have grown, which must not count all the same. */
        pool_rig_sample(guest, now += S, BALLOON_STAT_STALL_SOME, 1000 * i + 100, counters[i],
                        itself ? 1000 * i - 1 : P(99), STOP);
        cr_assert_eq(pool_rig_counters().reboots, i + 1, "%d", (int)i);
        pool_rig_decide(now);
        cr_assert_not(KNOWN(BALLOON_KNOWS_STALL));
        cr_assert_eq(pool_rig_seen(guest)->stall, 0);
        cr_assert_eq(pool_rig_seen(guest)->swap_in_rate, 0);
        /* From there it goes on. */
        pool_rig_sample(guest, now += S, BALLOON_STAT_STALL_SOME,
                        itself ? 1000 * i + 19 : 1000 * i + 120, STOP);
        cr_assert_eq(stall(now), 20);
    }
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        pool_rig_sample(guest, now += S, counters[i], P(5), STOP);
        pool_rig_sample(guest, now += S, counters[i], P(4), STOP);
        cr_assert_eq(pool_rig_counters().reboots, 8 + i + 1, "%zu", i);
    }
}

/* --- what the host measures ------------------------------------------------------------------- */

Test(pool_sample, a_working_set_counts_for_a_while)
{
    cr_assert_eq(balloon_pool_set_active(pool_rig.pool, guest, 1234, S), BALLOON_OK);
    pool_rig_decide(61 * S - 1);
    cr_assert(KNOWN(BALLOON_KNOWS_ACTIVE));
    cr_assert_eq(pool_rig_seen(guest)->active, 1234);
    pool_rig_decide(61 * S);
    cr_assert_not(KNOWN(BALLOON_KNOWS_ACTIVE));
    cr_assert_eq(pool_rig_seen(guest)->active, 0);
    cr_assert_eq(balloon_pool_set_active(pool_rig.pool, guest, UINT64_MAX, 61 * S), BALLOON_OK);
    pool_rig_decide(62 * S);
    cr_assert_eq(pool_rig_seen(guest)->active, SIZE);
}

Test(pool_sample, a_curve_is_copied_and_stays)
{
    balloon_curve_point points[BALLOON_CURVE_POINTS_MAX + 1];
    balloon_curve curve = {points, BALLOON_CURVE_POINTS_MAX};

    for (uint64_t i = 0; i <= BALLOON_CURVE_POINTS_MAX; i++)
        points[i] = (balloon_curve_point){i * 100, 1000 - 10 * i};
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_OK);
    points[1].misses = 5;
    pool_rig_decide(S);
    cr_assert(KNOWN(BALLOON_KNOWS_CURVE));
    cr_assert_eq(pool_rig_seen(guest)->curve.count, BALLOON_CURVE_POINTS_MAX);
    cr_assert_neq(pool_rig_seen(guest)->curve.points, points);
    cr_assert_eq(pool_rig_seen(guest)->curve.points[1].misses, 990);
    cr_assert_eq(pool_rig_seen(guest)->curve.points[31].pages, 3100);

    curve.count = 0;
    curve.points = NULL;
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_OK);
    pool_rig_decide(2 * S);
    cr_assert_not(KNOWN(BALLOON_KNOWS_CURVE));
}

Test(pool_sample, curves_that_cannot_be_are_refused)
{
    balloon_curve_point points[BALLOON_CURVE_POINTS_MAX + 1] = {{10, 9}, {20, 9}, {30, 1}};
    balloon_curve curve = {points, 3};

    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_OK);
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, NULL), BALLOON_ERR_INVALID);
    points[2].misses = 10;
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_ERR_INVALID);
    points[2] = (balloon_curve_point){20, 1};
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_ERR_INVALID);
    for (uint64_t i = 0; i <= BALLOON_CURVE_POINTS_MAX; i++)
        points[i].pages = i, points[i].misses = 0;
    curve.count = BALLOON_CURVE_POINTS_MAX + 1;
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_ERR_INVALID);
    curve.points = NULL;
    curve.count = 1;
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, guest, &curve), BALLOON_ERR_INVALID);
    /* The good one stays. */
    pool_rig_decide(S);
    cr_assert_eq(pool_rig_seen(guest)->curve.count, 3);
    cr_assert_eq(pool_rig_seen(guest)->curve.points[2].pages, 30);
}
