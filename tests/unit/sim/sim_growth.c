/* Working sets that grow page by page, and what is left when they end. */
#include <criterion/criterion.h>

#include "sim_lab.h"

/* Half of 50000 pages is used, and from 1 s on 10000 a second more, up to so many. */
static struct lab *growing(uint64_t pages)
{
    struct lab *lab = lab_new(1);

    lab->guests[0].refill = 8;
    lab->phases[0][0] = (balloon_sim_phase){.pages = 25000, .misses = 2000000};
    lab->phases[0][1] =
        (balloon_sim_phase){.at_ms = 1000, .pages = pages, .misses = 2000000, .grow = 10000};
    lab->guests[0].phase_count = 2;
    lab->config.record_ms = 100;
    lab->config.records = lab->records;
    lab->config.record_count = 1001;
    return lab;
}

Test(sim_growth, is_as_fast_as_told_where_nothing_holds_it_up)
{
    struct lab *lab = growing(45000);

    lab_run(lab, 3000);
    for (uint64_t i = 0; i < 30; i++)
        cr_assert_eq(lab->records[i].need, i <= 10 ? 25000 : 25000 + (i - 10) * 1000, "%u",
                     (unsigned)i);
    cr_assert_eq(lab_guest(lab, 0).hot, 45000);
    lab_run(lab, 10000);
    cr_assert_eq(lab_guest(lab, 0).hot, 45000);
    cr_assert_eq(lab_result(lab).misses, 0);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_SWAP_OUT), 0);
    lab_free(lab);
}

/* A rate that is no multiple of ten steps a second. */
Test(sim_growth, loses_no_part_of_a_page)
{
    struct lab *lab = growing(45000);

    lab->phases[0][1].grow = 7;
    lab_run(lab, 11000);
    cr_assert_eq(lab->records[110].need, 25070);
    lab_free(lab);
}

/* From 5000 pages below the end of what fits on, each new page pushes one out, cache first. */
Test(sim_growth, pushes_out_what_does_not_fit)
{
    struct lab *lab = growing(60000);
    balloon_sim_guest_status s;

    lab->guests[0].cache = 1000000;
    lab->guests[0].miss_us = 1;
    lab->phases[0][1].misses = 0;
    lab_run(lab, 3000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot, 45000);
    cr_assert_eq(s.swapped, 0);
    cr_assert_gt(s.cache, 4000);
    lab_run(lab, 20000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot, 50000);
    cr_assert_eq(s.cache, 0);
    cr_assert_eq(s.swapped, 10000);
    cr_assert_eq(lab_stat(lab, BALLOON_STAT_SWAP_OUT), 10000 * 4096);
    lab_free(lab);
}

/* Eight pages are written in the 1000 us of a miss: 10000 a second take 1.25 s, so the stall is
 * 5/9, and 4444 a second remain. Files cost nothing. */
Test(sim_growth, waits_for_pages_to_be_written)
{
    for (uint32_t file = 0; file <= 1000; file += 1000) {
        struct lab *lab = growing(90000);
        uint64_t grown;

        lab->guests[0].miss_us = 1000;
        lab->phases[0][0].file = lab->phases[0][1].file = file;
        lab->phases[0][1].misses = 0;
        lab_run(lab, 3500);
        cr_assert_eq(lab->records[35].need, 50000);
        cr_assert_eq(lab_guest(lab, 0).stall, file ? 0 : 555555);
        lab_run(lab, 5500);
        grown = lab->records[55].need - lab->records[35].need;
        cr_assert_eq(grown, file ? 20000 : 8888, "%u", (unsigned)grown);
        lab_free(lab);
    }
}

/* What has not been touched cannot be missed. Cost counts all of it from the beginning, as the
 * truth does: 12500 of 62500 pages do not fit. */
Test(sim_growth, faults_are_of_what_was_touched_and_cost_of_all)
{
    struct lab *lab = growing(62500);
    balloon_sim_truth truth;

    lab_run(lab, 999);
    cr_assert_eq(lab_result(lab).misses, 0);
    lab_run(lab, 3500);
    cr_assert_eq(balloon_sim_truth_get(lab->sim, 0, &truth), BALLOON_OK);
    cr_assert_eq(truth.curve.points[truth.curve.count - 1].pages, 62500);
    cr_assert_eq(balloon_sim_next_change(lab->sim), 100000);
    cr_assert_eq(lab_guest(lab, 0).misses, 400000);
    cr_assert_eq(lab_result(lab).misses, 2500 * 400000 / 1000);
    cr_assert_eq(lab_of(lab, 0).major_faults, 0);
    lab_run(lab, 50000);
    cr_assert_eq(lab->records[500].need, 62500);
    cr_assert_eq(lab_guest(lab, 0).misses, 400000);
    cr_assert_gt(lab_of(lab, 0).major_faults, 10000);
    lab_free(lab);
}

/* A program ends while it grows and has pages on swap: both are free, nothing was read. */
Test(sim_growth, ends_without_a_trace)
{
    struct lab *lab = growing(90000);
    balloon_sim_guest_status s;
    uint64_t in;

    lab->phases[0][2] = (balloon_sim_phase){.at_ms = 5000, .pages = 10000};
    lab->guests[0].phase_count = 3;
    lab_run(lab, 4999);
    in = lab_of(lab, 0).swap_ins;
    cr_assert_gt(lab_guest(lab, 0).swapped, 5000);
    lab_run(lab, 5000);
    s = lab_guest(lab, 0);
    cr_assert_eq(s.hot, 10000);
    cr_assert_eq(s.free, 40000);
    cr_assert_eq(s.swapped, 0);
    lab_run(lab, 30000);
    cr_assert_eq(lab_of(lab, 0).swap_ins, in);
    cr_assert_eq(lab->records[300].need, 10000);
    lab_free(lab);
}

/* Nothing grows in a guest that starts, or downwards. */
Test(sim_growth, is_for_growing_only)
{
    struct lab *lab = growing(45000);

    lab->phases[0][0].grow = 1;
    lab->phases[0][1].pages = 20000;
    lab_run(lab, 1100);
    cr_assert_eq(lab->records[0].need, 25000);
    cr_assert_eq(lab->records[11].need, 20000);
    lab_free(lab);
}
