/* What the Hyper-V codec knows beside the layout of messages: ranges, versions, directions, the
 * meaning of answers. */
#include <criterion/criterion.h>

#include <string.h>

#include <balloon/hyperv.h>

#include "prng.h"

#define LIMIT BALLOON_HYPERV_PFN_LIMIT
#define FULL  ((uint64_t)BALLOON_HYPERV_RANGE_PAGES_MAX)

static void put_word(unsigned char *bytes, uint64_t word)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(word >> 8 * i);
}

/* --- Packed ranges --------------------------------------------------------------------------- */

Test(hyperv_ranges, all_bits_of_a_range_are_kept)
{
    static const struct {
        uint64_t word;
        balloon_range range;
    } cases[] = {
        {0, {0, 0}},
        {0x000001ffffffffff, {LIMIT - 1, 1}},
        {0xffffff0000000000, {0, FULL}},
        {UINT64_MAX, {LIMIT - 1, FULL}},
        {0x8000000000000000, {0, 0x800000}},
        {0x0000018000000000, {(uint64_t)1 << 39, 1}},
        {0x123456789abcdef0, {0x789abcdef0, 0x123456}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unsigned char bytes[9];
        balloon_hyperv_ranges list = {bytes + 1, 1, false};
        balloon_range range;

        put_word(bytes + 1, cases[i].word);
        cr_assert_eq(balloon_hyperv_read_ranges(&list, 0, &range, 1), 1);
        cr_assert_eq(range.first, cases[i].range.first, "case %zu", i);
        cr_assert_eq(range.count, cases[i].range.count, "case %zu", i);
    }
}

Test(hyperv_ranges, reading_in_parts_gives_the_same_ranges)
{
    unsigned char bytes[8 * 13];
    balloon_hyperv_ranges list = {bytes, 13, false};

    for (unsigned i = 0; i < 13; i++)
        put_word(bytes + i * 8, i + 1 + ((uint64_t)i << 40));
    for (size_t max = 1; max <= 15; max++) {
        for (size_t first = 0; first <= 15; first++) {
            size_t expected = first >= 13 ? 0 : 13 - first < max ? 13 - first : max;
            balloon_range ranges[16];

            memset(ranges, 0xee, sizeof(ranges));
            cr_assert_eq(balloon_hyperv_read_ranges(&list, first, ranges, max), expected);
            for (size_t i = 0; i < expected; i++) {
                cr_assert_eq(ranges[i].first, first + i + 1);
                cr_assert_eq(ranges[i].count, first + i);
            }
            cr_assert_eq(ranges[expected].first, 0xeeeeeeeeeeeeeeee);
        }
    }
    cr_assert_eq(balloon_hyperv_read_ranges(&list, SIZE_MAX, NULL, SIZE_MAX), 0);
    cr_assert_eq(balloon_hyperv_read_ranges(&list, 0, NULL, 0), 0);
}

static void check_pack(const balloon_range *given, size_t count, const balloon_range *expected,
                       size_t expected_count)
{
    unsigned char packed[8 * 8];
    balloon_hyperv_ranges list = {packed, 0, false};
    balloon_range ranges[8];

    for (size_t i = 0; i < count; i++) {
        balloon_range range = given[i];

        cr_assert_eq(balloon_hyperv_pack(&range, packed, &list.count, 8), BALLOON_OK);
        cr_assert_eq(range.count, 0);
    }
    cr_assert_eq(balloon_hyperv_read_ranges(&list, 0, ranges, 8), expected_count);
    for (size_t i = 0; i < expected_count; i++) {
        cr_assert_eq(ranges[i].first, expected[i].first, "range %zu", i);
        cr_assert_eq(ranges[i].count, expected[i].count, "range %zu", i);
    }
}

Test(hyperv_ranges, ranges_that_follow_each_other_are_joined)
{
    check_pack((balloon_range[]){{10, 5}, {15, 5}}, 2, (balloon_range[]){{10, 10}}, 1);
    check_pack((balloon_range[]){{10, 5}, {16, 5}}, 2, (balloon_range[]){{10, 5}, {16, 5}}, 2);
    check_pack((balloon_range[]){{15, 5}, {10, 5}}, 2, (balloon_range[]){{15, 5}, {10, 5}}, 2);
    check_pack((balloon_range[]){{10, 5}, {10, 5}}, 2, (balloon_range[]){{10, 5}, {10, 5}}, 2);
    check_pack((balloon_range[]){{10, 0}, {UINT64_MAX, 0}}, 2, NULL, 0);
}

Test(hyperv_ranges, ranges_are_cut_where_one_is_full)
{
    check_pack((balloon_range[]){{10, FULL}}, 1, (balloon_range[]){{10, FULL}}, 1);
    check_pack((balloon_range[]){{10, FULL + 1}}, 1, (balloon_range[]){{10, FULL}, {10 + FULL, 1}},
               2);
    check_pack((balloon_range[]){{10, FULL - 1}, {9 + FULL, 3}}, 2,
               (balloon_range[]){{10, FULL}, {10 + FULL, 2}}, 2);
    check_pack((balloon_range[]){{10, FULL}, {10 + FULL, 3}, {13 + FULL, 2}}, 3,
               (balloon_range[]){{10, FULL}, {10 + FULL, 5}}, 2);
    check_pack(
        (balloon_range[]){{LIMIT - 3 * FULL, 3 * FULL}}, 1,
        (balloon_range[]){{LIMIT - 3 * FULL, FULL}, {LIMIT - 2 * FULL, FULL}, {LIMIT - FULL, FULL}},
        3);
}

Test(hyperv_ranges, pages_that_cannot_be_named)
{
    static const balloon_range bad[] = {{LIMIT, 1},      {LIMIT - 1, 2},           {0, LIMIT + 1},
                                        {UINT64_MAX, 1}, {UINT64_MAX, UINT64_MAX}, {1, UINT64_MAX}};
    unsigned char packed[16] = {0};
    unsigned char untouched[16] = {0};
    uint32_t count = 1;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        balloon_range range = bad[i];

        cr_assert_eq(balloon_hyperv_pack(&range, packed, &count, 2), BALLOON_ERR_RANGE);
        cr_assert_eq(range.first, bad[i].first);
        cr_assert_eq(range.count, bad[i].count);
    }
    cr_assert_eq(count, 1);
    cr_assert_eq(memcmp(packed, untouched, sizeof(packed)), 0);
    check_pack((balloon_range[]){{LIMIT - 1, 1}}, 1, (balloon_range[]){{LIMIT - 1, 1}}, 1);
}

/* Any number of pages is sent in lists of any length, and what arrives is what was given. */
Test(hyperv_ranges, what_is_packed_is_read_again)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (int i = 0; i < 20000; i++) {
        unsigned char packed[8 * 8];
        uint32_t max = 1 + (uint32_t)prng_below(&prng, 8);
        balloon_range range = {prng_next(&prng) >> (24 + prng_below(&prng, 40)),
                               prng_next(&prng) >> (35 + prng_below(&prng, 29))};
        uint64_t next = range.first;
        uint64_t end;
        balloon_status status;

        if (range.count > LIMIT - range.first)
            range.count = LIMIT - range.first;
        end = range.first + range.count;
        do {
            balloon_hyperv_ranges list = {packed, 0, false};
            balloon_range ranges[8];

            status = balloon_hyperv_pack(&range, packed, &list.count, max);
            cr_assert_eq(status, range.count > 0 ? BALLOON_ERR_NOSPACE : BALLOON_OK);
            cr_assert(list.count == max || status == BALLOON_OK);
            cr_assert_eq(balloon_hyperv_read_ranges(&list, 0, ranges, 8), list.count);
            for (size_t k = 0; k < list.count; k++) {
                cr_assert_eq(ranges[k].first, next, "seed %llu, case %d", (unsigned long long)seed,
                             i);
                cr_assert(ranges[k].count == FULL || (k + 1 == list.count && status == BALLOON_OK));
                next += ranges[k].count;
            }
            cr_assert_eq(range.first, next);
        } while (status != BALLOON_OK);
        cr_assert_eq(next, end);
    }
}

Test(hyperv_ranges, a_full_list_takes_what_its_last_range_can)
{
    unsigned char packed[8];
    balloon_hyperv_ranges list = {packed, 0, false};
    balloon_range range = {100, FULL - 2};
    balloon_range read;

    cr_assert_eq(balloon_hyperv_pack(&range, packed, &list.count, 1), BALLOON_OK);
    range.count = 5;
    cr_assert_eq(balloon_hyperv_pack(&range, packed, &list.count, 1), BALLOON_ERR_NOSPACE);
    cr_assert_eq(range.first, 100 + FULL);
    cr_assert_eq(range.count, 3);
    cr_assert_eq(list.count, 1);
    cr_assert_eq(balloon_hyperv_read_ranges(&list, 0, &read, 1), 1);
    cr_assert_eq(read.count, FULL);
}

/* --- Versions and directions ----------------------------------------------------------------- */

Test(hyperv_ranges, versions_are_offered_from_the_highest_down)
{
    cr_assert_eq(balloon_hyperv_version_below(UINT32_MAX), 0x20000);
    cr_assert_eq(balloon_hyperv_version_below(0x20000), 0x10000);
    cr_assert_eq(balloon_hyperv_version_below(0x10000), 3);
    cr_assert_eq(balloon_hyperv_version_below(3), 0);
    cr_assert_eq(balloon_hyperv_version_below(0), 0);
    /* Others, which a guest could have tried, too. */
    cr_assert_eq(balloon_hyperv_version_below(0x30000), 0x20000);
    cr_assert_eq(balloon_hyperv_version_below(0x10001), 0x10000);
    cr_assert_eq(balloon_hyperv_version_below(4), 3);
}

Test(hyperv_ranges, three_versions_are_known)
{
    static const uint32_t others[] = {0,       1,       2,       4,       0x30003,   0xffff,
                                      0x10001, 0x1ffff, 0x20001, 0x30000, 0xffffffff};

    cr_assert(balloon_hyperv_version_known(3));
    cr_assert(balloon_hyperv_version_known(0x10000));
    cr_assert(balloon_hyperv_version_known(0x20000));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        cr_assert_not(balloon_hyperv_version_known(others[i]), "%#x", others[i]);
}

Test(hyperv_ranges, who_may_send_what)
{
    static const char *const senders = "-GHGHGHGHGHGHHG"; /* By type: guest or host. */
    static const uint32_t versions[] = {0, 3, 0x10000, 0x20000};

    for (unsigned type = 0; type <= 40; type++) {
        char sender = type < BALLOON_HYPERV_TYPES ? senders[type] : '-';
        uint32_t since = type < 12 ? 0 : type == 12 ? 0x10000 : 0x20000;

        for (size_t i = 0; i < 4; i++) {
            bool known = versions[i] >= since;

            cr_assert_eq(balloon_hyperv_may_send((uint16_t)type, true, versions[i]),
                         sender == 'G' && known, "guest, type %u, version %#x", type, versions[i]);
            cr_assert_eq(balloon_hyperv_may_send((uint16_t)type, false, versions[i]),
                         sender == 'H' && known, "host, type %u, version %#x", type, versions[i]);
        }
    }
    cr_assert_not(balloon_hyperv_may_send(UINT16_MAX, true, 0x20000));
}

/* --- Hot-add and pressure -------------------------------------------------------------------- */

Test(hyperv_ranges, alignment_from_1_mib_to_32_gib)
{
    for (unsigned alignment = 0; alignment <= 15; alignment++) {
        balloon_hyperv_capabilities capabilities = {.alignment = (uint8_t)alignment};

        cr_assert_eq(balloon_hyperv_alignment_pages(&capabilities) << BALLOON_PAGE_SHIFT,
                     ((uint64_t)1 << 20) << alignment);
    }
}

Test(hyperv_ranges, hot_add_requests_that_make_sense)
{
    static const struct {
        balloon_hyperv_hot_add request;
        bool valid;
    } cases[] = {
        {{{100, 10}, {0, 0}, false}, true},
        {{{100, 0}, {0, 0}, false}, false},
        {{{100, 10}, {200, 10}, false}, true}, /* No region, whatever lies there. */
        {{{LIMIT - 10, 10}, {0, 0}, false}, true},
        {{{LIMIT - 10, 11}, {0, 0}, false}, false},
        {{{LIMIT, 1}, {0, 0}, false}, false},
        {{{UINT64_MAX, 1}, {0, 0}, false}, false},
        {{{0, FULL}, {0, 0}, false}, true},
        {{{0, FULL + 1}, {0, 0}, false}, false},
        {{{100, 10}, {100, 10}, true}, true},
        {{{100, 10}, {0, FULL}, true}, true},
        {{{100, 10}, {101, 10}, true}, false},
        {{{100, 10}, {100, 9}, true}, false},
        {{{100, 10}, {99, 10}, true}, false},
        {{{100, 10}, {99, 11}, true}, true},
        {{{100, 10}, {0, 0}, true}, true}, /* In a region that was named before. */
        {{{100, 0}, {100, 10}, true}, false},
        {{{LIMIT - 1, 1}, {LIMIT - 1, 1}, true}, true},
        {{{LIMIT - 1, 1}, {LIMIT - 1, 2}, true}, false},
        {{{100, 10}, {0, FULL + 1}, true}, false},
        {{{100, 10}, {UINT64_MAX - 5, 200}, true}, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(balloon_hyperv_hot_add_valid(&cases[i].request), cases[i].valid, "case %zu",
                     i);
}

Test(hyperv_ranges, answers_to_hot_add)
{
    static const struct {
        balloon_hyperv_hot_added answer;
        uint32_t pages;
        balloon_hyperv_outcome outcome;
    } cases[] = {
        {{1000, 1}, 1000, BALLOON_HYPERV_ADDED},
        {{999, 1}, 999, BALLOON_HYPERV_ADDED_PART},
        {{1, 1}, 1, BALLOON_HYPERV_ADDED_PART},
        {{0, 1}, 0, BALLOON_HYPERV_NEVER},
        {{0, 0}, 0, BALLOON_HYPERV_TRY_LATER},
        {{1001, 1}, 1000, BALLOON_HYPERV_ADDED},
        {{UINT32_MAX, UINT32_MAX}, 1000, BALLOON_HYPERV_ADDED},
        {{1000, 0}, 0, BALLOON_HYPERV_TRY_LATER},
        {{7, 2}, 7, BALLOON_HYPERV_ADDED_PART},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t pages = 99;

        cr_assert_eq(balloon_hyperv_hot_add_result(&cases[i].answer, 1000, &pages),
                     cases[i].outcome, "case %zu", i);
        cr_assert_eq(pages, cases[i].pages, "case %zu", i);
        cr_assert_eq(balloon_hyperv_hot_add_result(&cases[i].answer, 1000, NULL), cases[i].outcome);
    }
}

Test(hyperv_ranges, floor_of_linux)
{
    /* In MiB; at each bend the lines meet. */
    static const struct {
        uint64_t total;
        uint64_t floor;
    } points[] = {{0, 8},      {16, 16},    {32, 24},      {128, 72},       {512, 168},
                  {2048, 360}, {8192, 744}, {32768, 1512}, {1 << 20, 33256}};
    uint64_t before = balloon_hyperv_floor(0);

    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++)
        cr_assert_eq(balloon_hyperv_floor(points[i].total << 8), points[i].floor << 8, "%llu MiB",
                     (unsigned long long)points[i].total);
    cr_assert_eq(balloon_hyperv_floor(4096 << 8), 488 << 8);
    cr_assert_eq(balloon_hyperv_floor((128 << 8) - 1), (72 << 8) - 1);
    for (uint64_t pages = 0; pages < 10000 << 8; pages += 37) {
        uint64_t floor = balloon_hyperv_floor(pages);

        cr_assert_geq(floor, before);
        cr_assert_leq(floor - before, 37);
        before = floor;
    }
    cr_assert_eq(balloon_hyperv_floor(UINT64_MAX), (488 << 8) + (UINT64_MAX >> 5));
}
