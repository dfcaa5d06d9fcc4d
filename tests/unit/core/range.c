#include <criterion/criterion.h>

#include <balloon/range.h>

#include "prng.h"

/* All expectations here ask for each page by itself whether it belongs, close to both ends of the
 * 64-bit space, where sums overflow. */
#define NEAR 24

static bool has_page(balloon_range range, uint64_t page)
{
    return page >= range.first && page - range.first < range.count && page != UINT64_MAX;
}

static uint64_t near_an_end(uint64_t i)
{
    return i < NEAR ? i : UINT64_MAX - (i - NEAR);
}

static const uint64_t granules[] = {0, 1, 2, 4, 8, 16};
#define GRANULES (sizeof(granules) / sizeof(granules[0]))

static uint64_t granule_start(uint64_t page, uint64_t granule)
{
    return granule == 0 ? page : page / granule * granule;
}

static uint64_t granule_last(uint64_t page, uint64_t granule)
{
    return granule == 0 ? page : granule_start(page, granule) + (granule - 1);
}

Test(range, end_is_cut_where_it_does_not_fit)
{
    cr_assert_eq(balloon_range_end((balloon_range){0, 0}), 0);
    cr_assert_eq(balloon_range_end((balloon_range){5, 7}), 12);
    cr_assert_eq(balloon_range_end((balloon_range){UINT64_MAX, 0}), UINT64_MAX);
    cr_assert_eq(balloon_range_end((balloon_range){UINT64_MAX, 1}), UINT64_MAX);
    cr_assert_eq(balloon_range_end((balloon_range){UINT64_MAX - 1, 1}), UINT64_MAX);
    cr_assert_eq(balloon_range_end((balloon_range){1, UINT64_MAX}), UINT64_MAX);
    cr_assert_eq(balloon_range_end((balloon_range){UINT64_MAX, UINT64_MAX}), UINT64_MAX);
}

Test(range, intersection_has_the_pages_of_both)
{
    for (uint64_t i = 0; i < 2 * NEAR; i += 3) {
        for (uint64_t j = 0; j < 2 * NEAR; j++) {
            for (uint64_t k = 0; k < 2 * NEAR; k += 5) {
                balloon_range a = {near_an_end(i), near_an_end(k)};
                balloon_range b = {near_an_end(j), 9};
                balloon_range both = balloon_range_intersect(a, b);
                balloon_range same = balloon_range_intersect(b, a);

                cr_assert_eq(both.first, same.first);
                cr_assert_eq(both.count, same.count);
                for (uint64_t p = 0; p < 2 * NEAR; p++) {
                    uint64_t page = near_an_end(p);

                    cr_assert_eq(has_page(both, page), has_page(a, page) && has_page(b, page),
                                 "page %#llx of {%#llx, %#llx} and {%#llx, 9}",
                                 (unsigned long long)page, (unsigned long long)a.first,
                                 (unsigned long long)a.count, (unsigned long long)b.first);
                }
            }
        }
    }
}

Test(range, inward_has_the_pages_whose_granule_is_inside)
{
    for (size_t g = 0; g < GRANULES; g++) {
        for (uint64_t i = 0; i < 2 * NEAR; i++) {
            for (uint64_t j = 0; j < 2 * NEAR; j++) {
                balloon_range range = {near_an_end(i), near_an_end(j)};
                balloon_range result = balloon_range_inward(range, granules[g]);

                for (uint64_t p = 0; p < 2 * NEAR; p++) {
                    uint64_t page = near_an_end(p);
                    bool whole = has_page(range, granule_start(page, granules[g])) &&
                                 has_page(range, granule_last(page, granules[g]));

                    cr_assert_eq(has_page(result, page), whole,
                                 "page %#llx of {%#llx, %#llx} by %llu", (unsigned long long)page,
                                 (unsigned long long)range.first, (unsigned long long)range.count,
                                 (unsigned long long)granules[g]);
                }
            }
        }
    }
}

Test(range, outward_has_the_pages_whose_granule_is_touched)
{
    for (size_t g = 0; g < GRANULES; g++) {
        for (uint64_t i = 0; i < 2 * NEAR; i++) {
            for (uint64_t j = 0; j < 2 * NEAR; j++) {
                balloon_range range = {near_an_end(i), near_an_end(j)};
                balloon_range result = balloon_range_outward(range, granules[g]);

                for (uint64_t p = 0; p < 2 * NEAR; p++) {
                    uint64_t page = near_an_end(p);
                    uint64_t start = granule_start(page, granules[g]);
                    uint64_t last = granule_last(page, granules[g]);
                    bool touched = false;

                    for (uint64_t k = 0; k <= last - start; k++)
                        touched = touched || has_page(range, start + k);
                    if (last == UINT64_MAX)
                        touched = false; /* The last granule is cut off. */
                    cr_assert_eq(has_page(result, page), touched,
                                 "page %#llx of {%#llx, %#llx} by %llu", (unsigned long long)page,
                                 (unsigned long long)range.first, (unsigned long long)range.count,
                                 (unsigned long long)granules[g]);
                }
            }
        }
    }
}

Test(range, outward_keeps_an_empty_range_empty)
{
    cr_assert_eq(balloon_range_outward((balloon_range){5, 0}, 16).count, 0);
    cr_assert_eq(balloon_range_outward((balloon_range){16, 0}, 16).count, 0);
}

Test(range, rounding_holds_for_random_ranges_and_all_granules)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0);

    for (int i = 0; i < 100000; i++) {
        uint64_t granule = (uint64_t)1 << prng_below(&prng, 64);
        balloon_range range = {prng_next(&prng) >> prng_below(&prng, 64),
                               prng_next(&prng) >> prng_below(&prng, 64)};
        balloon_range in = balloon_range_inward(range, granule);
        balloon_range out = balloon_range_outward(range, granule);

        cr_assert(in.count == 0 || (in.first >= range.first &&
                                    balloon_range_end(in) <= balloon_range_end(range) &&
                                    in.first % granule == 0 && in.count % granule == 0 &&
                                    in.first - range.first < granule &&
                                    balloon_range_end(range) - balloon_range_end(in) < granule),
                  "seed %llu, case %d", (unsigned long long)seed, i);
        cr_assert(range.count == 0 ||
                      (out.first <= range.first && out.first % granule == 0 &&
                       out.count % granule == 0 && range.first - out.first < granule &&
                       out.count <= UINT64_MAX - out.first),
                  "seed %llu, case %d", (unsigned long long)seed, i);
    }
}

/* A wrong granule is the caller's mistake, but it must not cost anybody's page. */
Test(range, inward_stays_inside_for_any_granule)
{
    for (uint64_t granule = 0; granule < 40; granule++) {
        for (uint64_t first = 0; first < 50; first++) {
            for (uint64_t count = 0; count < 50; count++) {
                balloon_range range = {first, count};
                balloon_range in = balloon_range_inward(range, granule);

                cr_assert(in.count == 0 ||
                          (in.first >= first && in.first + in.count <= first + count));
            }
        }
    }
}

Test(range, bytes_give_whole_pages_only)
{
    static const struct {
        uint64_t address, bytes, first, count;
    } cases[] = {
        {0, 0, 0, 0},
        {0, 4095, 0, 0},
        {0, 4096, 0, 1},
        {1, 4096, 1, 0},
        {1, 8191, 1, 1},
        {1, 8190, 1, 0},
        {4095, 4097, 1, 1},
        {4096, 8192, 1, 2},
        {0x10000000, 0x200000, 0x10000, 512},
        {0, UINT64_MAX, 0, 0xfffffffffffff},
        {UINT64_MAX - 4095, 4096, 0xfffffffffffff, 1},
        {UINT64_MAX - 4095, 4095, 0xfffffffffffff, 0},
        {UINT64_MAX - 4095, UINT64_MAX, 0xfffffffffffff, 1},
        {UINT64_MAX - 4094, 4095, 0, 0},
        {UINT64_MAX, UINT64_MAX, 0, 0},
        {UINT64_MAX - 8192, UINT64_MAX, 0xffffffffffffe, 2},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        balloon_range range = balloon_range_from_bytes(cases[i].address, cases[i].bytes);

        cr_assert_eq(range.count, cases[i].count, "case %zu", i);
        if (range.count != 0)
            cr_assert_eq(range.first, cases[i].first, "case %zu", i);
    }
}

Test(range, pages_of_random_bytes_lie_inside_of_them)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 1);

    for (int i = 0; i < 100000; i++) {
        uint64_t address = prng_next(&prng) >> prng_below(&prng, 64);
        uint64_t bytes = prng_next(&prng) >> prng_below(&prng, 64);
        balloon_range range;
        uint64_t first;
        uint64_t last;

        if (prng_one_in(&prng, 2))
            address = UINT64_MAX - address;
        range = balloon_range_from_bytes(address, bytes);
        if (range.count == 0) {
            cr_assert_lt(bytes > UINT64_MAX - address ? UINT64_MAX - address : bytes, 2 * 4096 - 1,
                         "seed %llu, case %d", (unsigned long long)seed, i);
            continue;
        }
        first = range.first << BALLOON_PAGE_SHIFT;
        last = (range.first + range.count - 1) << BALLOON_PAGE_SHIFT | 4095;
        cr_assert(first >= address && first - address < 4096 && last > first &&
                      last - address < bytes,
                  "seed %llu, case %d", (unsigned long long)seed, i);
    }
}
