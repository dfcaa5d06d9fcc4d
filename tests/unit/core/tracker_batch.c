/* Batches of page numbers by their shape, in each version of their code, and what stands in line
 * between two of them. */
#include "../../../lib/core/tracker_batch_p.h"
#include "tracker_support.h"

static void sound(void)
{
    const char *why = NULL;

    cr_assert(balloon_tracker_check(tracker, &why), "broken: %s", why);
}

static size_t inflate_many(const uint32_t *pfns, size_t count, uint64_t changed, uint64_t unchanged,
                           uint64_t outside)
{
    balloon_tally tally = {0};

    balloon_tracker_inflate(tracker, pfns, count, &tally);
    cr_assert_eq(tally.changed, changed);
    cr_assert_eq(tally.unchanged, unchanged);
    cr_assert_eq(tally.outside, outside);
    return (size_t)balloon_tracker_pending(tracker);
}

/* Every third page from 1 on, in an order without any pattern. */
static void scatter(uint32_t *v, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        v[i] = 1 + 3 * (i * 89 % count);
}

/* The same in each version: a batch goes in and is taken, comes out, and all agrees. */
static void each_version(void (*test)(void))
{
    for (unsigned i = 0; bl_batch_version(i); i++) {
        bl_batch_use(bl_batch_version(i));
        make();
        test();
        drop();
    }
}

static void goes_in_and_out(const uint32_t *v, uint32_t count, size_t runs, uint32_t first,
                            uint32_t pages)
{
    static balloon_run run[257];
    balloon_tally tally = {0};

    for (int gather = 0; gather < 2; gather++) {
        balloon_tracker_set_gather(tracker, gather);
        inflate_many(v, count, count, 0, 0);
        cr_assert_eq(balloon_tracker_pending(tracker), count);
        cr_assert_eq(balloon_tracker_ready(tracker), count);
        cr_assert_eq(balloon_tracker_take(tracker, run, 257), runs);
        cr_assert_eq(run[0].range.first, first);
        cr_assert_eq(run[0].range.count, pages);
        cr_assert_eq(balloon_tracker_returned(tracker), count);
        /* All of it is there already. */
        inflate_many(v, count, 0, count, 0);
        cr_assert_eq(balloon_tracker_pending(tracker), 0);
        sound();
        tally = (balloon_tally){0};
        balloon_tracker_deflate(tracker, v, count, &tally);
        cr_assert_eq(tally.changed, count);
        cr_assert_eq(balloon_tracker_held(tracker), 0);
        cr_assert_eq(balloon_tracker_returned(tracker), 0);
        tally = (balloon_tally){0};
        balloon_tracker_deflate(tracker, v, count, &tally);
        cr_assert_eq(tally.unchanged, count);
        sound();
    }
}

static void shapes(void)
{
    uint32_t v[256];

    for (uint32_t n = 1; n <= 256; n = n < 9 ? n + 1 : n < 200 ? n * 2 - 1 : n + 25) {
        for (uint32_t i = 0; i < n; i++)
            v[i] = 1000 + i;
        goes_in_and_out(v, n, 1, 1000, n);
        for (uint32_t i = 0; i < n; i++)
            v[i] = 1000 + n - 1 - i;
        goes_in_and_out(v, n, 1, 1000, n);
        scatter(v, n);
        goes_in_and_out(v, n, n, 1, 1);
        /* In one block, some next to each other. */
        for (uint32_t i = 0; i < n; i++)
            v[i] = 512 + (i * 89 % n) * 3 / 2;
        goes_in_and_out(v, n, (n + 1) / 2, 512, n > 1 ? 2 : 1);
        /* Runs of eight, the highest first, up and down. */
        for (uint32_t i = 0; i < n; i++)
            v[i] = 3000 - i / 8 * 64 + i % 8;
        goes_in_and_out(v, n, (n + 7) / 8, 3000 - (n - 1) / 8 * 64, (n - 1) % 8 + 1);
        for (uint32_t i = 0; i < n; i++)
            v[i] = 3000 - i / 8 * 64 - i % 8;
        goes_in_and_out(v, n, (n + 7) / 8, 3000 - (n - 1) / 8 * 64 - (n - 1) % 8, (n - 1) % 8 + 1);
    }
}

Test(tracker_batch, shapes_go_in_and_out)
{
    each_version(shapes);
}

static void duplicates(void)
{
    uint32_t v[256];

    /* Within a batch: all over memory, in one block, and runs that overlap. */
    scatter(v, 256);
    v[7] = v[200];
    v[90] = v[200];
    inflate_many(v, 256, 254, 2, 0);
    cr_assert_eq(balloon_tracker_pending(tracker), 254);
    balloon_tracker_reset(tracker);
    for (uint32_t i = 0; i < 256; i++)
        v[i] = i * 7 % 100;
    inflate_many(v, 256, 100, 156, 0);
    check_take(RUNS({0, 0, {0, 100}}));
    balloon_tracker_reset(tracker);
    for (uint32_t i = 0; i < 256; i++)
        v[i] = 500 + i / 32 * 16 + i % 32;
    inflate_many(v, 256, 144, 112, 0);
    check_take(RUNS({0, 0, {500, 144}}));
    balloon_tracker_reset(tracker);
    for (uint32_t i = 0; i < 256; i++)
        v[i] = 2000 + i % 2 * 1000 + i % 32 / 2;
    inflate_many(v, 256, 32, 224, 0);
    check_take(RUNS({0, 0, {2000, 16}}, {0, 0, {3000, 16}}));
    /* And of pages of an earlier one. */
    for (uint32_t i = 0; i < 256; i++)
        v[i] = 1990 + i;
    inflate_many(v, 256, 240, 16, 0);
    check_take(RUNS({0, 0, {1990, 10}}, {0, 0, {2016, 230}}));
}

Test(tracker_batch, duplicates_count_once)
{
    each_version(duplicates);
}

static void one_wrong_page(void)
{
    static const uint32_t wrong[] = {UINT32_MAX, 4096, 5000, 20000};
    uint32_t v[256];

    for (int k = 0; k < 4; k++) {
        for (uint32_t at = 0; at < 256; at += 85) {
            scatter(v, 256);
            v[at] = wrong[k];
            inflate_many(v, 256, 255, 0, 1);
            balloon_tracker_reset(tracker);
            for (uint32_t i = 0; i < 256; i++)
                v[i] = 600 + i;
            v[at] = wrong[k];
            inflate_many(v, 256, 255, 0, 1);
            balloon_tracker_deflate(tracker, v, 256, NULL);
            cr_assert_eq(balloon_tracker_held(tracker), 0);
            balloon_tracker_reset(tracker);
        }
    }
}

Test(tracker_batch, a_page_outside_does_not_hide_the_others)
{
    each_version(one_wrong_page);
}

static void across_regions(void)
{
    uint32_t v[256];

    for (uint32_t i = 0; i < 256; i++)
        v[i] = i % 2 ? 8192 + i : 10 * i;
    inflate_many(v, 256, 256, 0, 0);
    cr_assert_eq(balloon_tracker_ready(tracker), 128);
    sound();
    for (uint32_t i = 0; i < 256; i++)
        v[i] = i % 2 ? 8192 + i - 1 : 4000 - i;
    inflate_many(v, 256, 256, 0, 0);
    cr_assert_eq(balloon_tracker_ready(tracker), 512);
}

Test(tracker_batch, pages_of_several_regions)
{
    each_version(across_regions);
}

/* Two regions of single pages without a gap: no run lies in both, whatever brings its pages. */
static void neighbours(void)
{
    balloon_region next = {4096, 2048, 0};
    uint32_t v[256];

    cr_assert_eq(balloon_tracker_add_region(tracker, &next, NULL), BALLOON_OK);
    for (uint32_t i = 0; i < 256; i++)
        v[i] = 4096 - 128 + i * 89 % 256;
    inflate_many(v, 256, 256, 0, 0);
    sound();
    check_take(RUNS({0, 0, {3968, 128}}, {2, 0, {4096, 128}}));
    balloon_tracker_reset(tracker);
    inflate_many(v, 256, 256, 0, 0);
    check_take(RUNS({0, 0, {3968, 128}}, {2, 0, {4096, 128}}));
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(4096, 4097), NULL);
    balloon_tracker_inflate(tracker, PFNS(4095, 4094), NULL);
    check_take(RUNS({0, 0, {4094, 2}}, {2, 0, {4096, 2}}));
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(4094, 4095), NULL);
    balloon_tracker_inflate(tracker, PFNS(4096, 4097), NULL);
    check_take(RUNS({0, 0, {4094, 2}}, {2, 0, {4096, 2}}));
}

Test(tracker_batch, no_run_lies_in_two_regions)
{
    each_version(neighbours);
}

/* The last number of 32 bits is followed by none, even where both ends are guest memory. */
Test(tracker_batch, runs_do_not_wrap)
{
    balloon_region all = {0, UINT64_C(1) << 32, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = all.count};
    uint32_t v[64];

    if (SIZE_MAX <= UINT32_MAX)
        return; /* such a guest has no room on such a host */
    for (unsigned k = 0; bl_batch_version(k); k++) {
        bl_batch_use(bl_batch_version(k));
        cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
        cr_assert_eq(balloon_tracker_add_region(tracker, &all, NULL), BALLOON_OK);
        for (int down = 0; down < 2; down++) {
            for (uint32_t i = 0; i < 64; i++)
                v[i] = i < 32 ? 1000 + i : (down ? 47 - i : i - 48);
            inflate_many(v, 64, 64, 0, 0);
            check_take(
                RUNS({0, 0, {0, 16}}, {0, 0, {1000, 32}}, {0, 0, {(UINT64_C(1) << 32) - 16, 16}}));
            balloon_tracker_deflate(tracker, v, 64, NULL);
            cr_assert_eq(balloon_tracker_held(tracker), 0);
            /* One after the other, too. */
            inflate_many(v + (down ? 48 : 32), 16, 16, 0, 0);
            inflate_many(v + (down ? 32 : 48), 16, 16, 0, 0);
            check_take(RUNS({0, 0, {0, 16}}, {0, 0, {(UINT64_C(1) << 32) - 16, 16}}));
            balloon_tracker_deflate(tracker, v, 64, NULL);
            /* Nothing else. */
            inflate_many(v + 32, 32, 32, 0, 0);
            check_take(RUNS({0, 0, {0, 16}}, {0, 0, {(UINT64_C(1) << 32) - 16, 16}}));
            balloon_tracker_deflate(tracker, v + 32, 32, NULL);
            cr_assert_eq(balloon_tracker_held(tracker), 0);
        }
        balloon_tracker_destroy(tracker);
    }
}

/* --- in line --------------------------------------------------------------------------------- */

static void buffers_that_meet(void)
{
    balloon_tracker_inflate(tracker, PFNS(100, 101), NULL);
    balloon_tracker_inflate(tracker, PFNS(102, 103), NULL); /* up */
    balloon_tracker_inflate(tracker, PFNS(99, 98), NULL);   /* down */
    balloon_tracker_inflate(tracker, PFNS(200), NULL);      /* behind */
    cr_assert_eq(balloon_tracker_pending(tracker), 7);
    check_take(RUNS({0, 0, {98, 6}}, {0, 0, {200, 1}}));
    balloon_tracker_inflate(tracker, PFNS(300, 301), NULL);
    balloon_tracker_inflate(tracker, PFNS(250), NULL); /* before */
    balloon_tracker_inflate(tracker, PFNS(302, 299), NULL);
    check_take(RUNS({0, 0, {250, 1}}, {0, 0, {299, 4}}));
    cr_assert_eq(balloon_tracker_returned(tracker), 12);
}

Test(tracker_batch, buffers_that_wait_become_common_runs)
{
    each_version(buffers_that_meet);
}

/* Buffers of 24 runs of two pages, one behind the other, above or between those before; more than
 * find room in line. The last one fills gaps. */
static void runs_that_meet(void)
{
    static balloon_run run[400];
    uint32_t v[48], each[] = {2, 0, 1, 4, 3, 7, 5, 6, 9, 8, 11, 10};
    uint64_t pages = 0;

    for (int gap = 0; gap < 2; gap++) {
        for (uint32_t b = 0; b < 12; b++) {
            for (uint32_t i = 0; i < 48; i++)
                v[i] = (i / 2 * 12 + each[b]) * 12 + i % 2 + (gap ? 2 : 0);
            inflate_many(v, 48, 48, 0, 0);
            pages += 48;
        }
        cr_assert_eq(balloon_tracker_pending(tracker), pages);
    }
    cr_assert_eq(balloon_tracker_take(tracker, run, 400), 288);
    for (uint32_t i = 0; i < 288; i++)
        cr_assert(run[i].range.first == 12 * i && run[i].range.count == 4);
    /* So it is with few, and in parts. */
    balloon_tracker_reset(tracker);
    for (uint32_t b = 0; b < 3; b++) {
        for (uint32_t i = 0; i < 48; i++)
            v[i] = (i / 2 * 3 + each[b]) * 12 + i % 2;
        inflate_many(v, 48, 48, 0, 0);
    }
    cr_assert_eq(balloon_tracker_take(tracker, run, 10), 10);
    balloon_tracker_inflate(tracker, PFNS(122, 123), NULL);
    cr_assert_eq(balloon_tracker_take(tracker, run + 10, 100), 62);
    for (uint32_t i = 0; i < 72; i++)
        cr_assert(run[i].range.first == 12 * i && run[i].range.count == (i == 10 ? 4 : 2));
    cr_assert_eq(balloon_tracker_returned(tracker), 146);
}

Test(tracker_batch, runs_of_buffers_that_wait_are_sorted)
{
    each_version(runs_that_meet);
}

static void some_taken(void)
{
    balloon_run run;

    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    cr_assert_eq(balloon_tracker_take(tracker, &run, 1), 1);
    cr_assert_eq(run.range.first, 1);
    cr_assert_eq(balloon_tracker_returned(tracker), 1);
    cr_assert_eq(balloon_tracker_pending(tracker), 2);
    /* A run before what is left in line. */
    balloon_tracker_inflate(tracker, PFNS(4), NULL);
    sound();
    check_take(RUNS({0, 0, {4, 2}}, {0, 0, {9, 1}}));
    balloon_tracker_inflate(tracker, PFNS(19, 15, 11), NULL);
    cr_assert_eq(balloon_tracker_take(tracker, &run, 1), 1);
    balloon_tracker_settle(tracker);
    check_take(0, NULL);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    cr_assert_eq(balloon_tracker_returned(tracker), 5);
    cr_assert_eq(balloon_tracker_held(tracker), 7);
}

Test(tracker_batch, a_line_may_be_taken_in_parts)
{
    each_version(some_taken);
}

/* What looks at pending pages, or changes them, finds those in line. */
static void all_else(void)
{
    const balloon_range all = {0, 16384};
    balloon_run run, one = {0, 0, {5, 1}};
    balloon_tally tally = {0};
    uint8_t bits[512] = {0};

    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    cr_assert_eq(balloon_tracker_count(tracker, BALLOON_SET_PENDING, all), 3);
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    cr_assert(balloon_tracker_next(tracker, BALLOON_SET_PENDING, (balloon_range){2, 100}, &run));
    cr_assert_eq(run.range.first, 5);
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    cr_assert_eq(balloon_tracker_export(tracker, BALLOON_SET_PENDING, (balloon_range){0, 4096},
                                        bits, sizeof(bits)),
                 BALLOON_OK);
    cr_assert_eq(bits[0], 1 << 5 | 1 << 1);
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    balloon_tracker_deflate(tracker, PFNS(5, 6), &tally);
    cr_assert_eq(tally.cancelled, 1);
    check_take(RUNS({0, 0, {1, 1}}, {0, 0, {9, 1}}));
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    deflate(0, 6);
    check_take(RUNS({0, 0, {9, 1}}));
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    inflate(6, 3);
    check_take(RUNS({0, 0, {1, 1}}, {0, 0, {5, 5}}));
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    balloon_tracker_report(tracker, (balloon_range){10, 2}, NULL);
    check_take(RUNS({0, 0, {1, 1}}, {0, 0, {5, 1}}, {0, 0, {9, 3}}));
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(9, 5, 1), NULL);
    balloon_tracker_set_gather(tracker, true);
    cr_assert_eq(balloon_tracker_pending(tracker), 3);
    balloon_tracker_set_gather(tracker, false);
    balloon_tracker_reset(tracker);
    balloon_tracker_inflate(tracker, PFNS(5), NULL);
    check_take(RUNS({0, 0, {5, 1}}));
    balloon_tracker_inflate(tracker, PFNS(9, 1), NULL);
    cr_assert_eq(balloon_tracker_put_back(tracker, &one), 0);
    cr_assert_eq(balloon_tracker_returned(tracker), 0);
    check_take(RUNS({0, 0, {1, 1}}, {0, 0, {9, 1}}));
    cr_assert_eq(balloon_tracker_returned(tracker), 2);
    balloon_tracker_inflate(tracker, PFNS(3), NULL);
    cr_assert_eq(balloon_tracker_remove_region(tracker, 1), BALLOON_OK);
    check_take(RUNS({0, 0, {3, 1}}));
    balloon_tracker_inflate(tracker, PFNS(4), NULL);
    cr_assert_eq(balloon_tracker_remove_region(tracker, 0), BALLOON_OK);
    cr_assert_eq(balloon_tracker_pending(tracker), 0);
    cr_assert_eq(balloon_tracker_returned(tracker), 0);
}

Test(tracker_batch, what_is_in_line_is_pending_for_all_others)
{
    each_version(all_else);
}

/* A line lies in the pending bits, of which a small guest has few: as many runs as can be, of one
 * block or of all, and nothing beside them is written. Every second page of those is there already
 * when all come again. */
Test(tracker_batch, lines_of_small_guests)
{
    static const uint32_t counts[] = {1, 2, 7, 8, 9, 10, 17, 18, 25, 26, 33, 100, 255, 256};
    static balloon_run run[257];

    for (unsigned version = 0; bl_batch_version(version); version++) {
        bl_batch_use(bl_batch_version(version));
        for (uint32_t blocks = 1; blocks < 40; blocks++) {
            balloon_tracker_config config = {
                .size = sizeof(config), .max_pages = blocks * 512, .max_regions = 1};
            balloon_region ram = {0, blocks * 512, 1};

            cr_assert_eq(balloon_tracker_create(&config, &tracker), BALLOON_OK);
            cr_assert_eq(balloon_tracker_add_region(tracker, &ram, NULL), BALLOON_OK);
            for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
                uint32_t n = counts[i], v[256], step = i % 2 ? 2 : blocks * 2;

                for (uint32_t k = 0; k < n; k++)
                    v[k] = k * 89 % n * step;
                inflate_many(v, n, n, 0, 0);
                cr_assert_eq(balloon_tracker_take(tracker, run, 257), n);
                for (uint32_t k = 0; k < n; k++)
                    cr_assert(run[k].range.first == k * step && run[k].range.count == 1);
                for (uint32_t k = 0; k < n; k += 2)
                    deflate(v[k], 1);
                inflate_many(v, n, (n + 1) / 2, n / 2, 0);
                cr_assert_eq(balloon_tracker_take(tracker, run, 257), (n + 1) / 2);
                for (uint32_t k = 0; k < (n + 1) / 2; k++)
                    cr_assert_eq(run[k].range.count, 1);
                inflate_many(v, n, 0, n, 0);
                balloon_tracker_deflate(tracker, v, n, NULL);
                inflate_many(v, n, n, 0, 0);
                sound();
                balloon_tracker_reset(tracker);
            }
            balloon_tracker_destroy(tracker);
        }
    }
}
