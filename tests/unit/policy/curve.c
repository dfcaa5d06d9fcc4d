#include <criterion/criterion.h>

#include "policy_desk.h"

#define CURVE(points) points, sizeof(points) / sizeof((points)[0])

Test(curve, is_straight_between_points_and_level_outside)
{
    static const balloon_curve_point points[] = {{100, 1000}, {200, 500}, {300, 500}, {400, 0}};
    balloon_curve curve = {CURVE(points)};

    cr_assert_eq(balloon_curve_at(&curve, 0), 1000);
    cr_assert_eq(balloon_curve_at(&curve, 100), 1000);
    cr_assert_eq(balloon_curve_at(&curve, 101), 995);
    cr_assert_eq(balloon_curve_at(&curve, 150), 750);
    cr_assert_eq(balloon_curve_at(&curve, 199), 505);
    cr_assert_eq(balloon_curve_at(&curve, 200), 500);
    cr_assert_eq(balloon_curve_at(&curve, 250), 500);
    cr_assert_eq(balloon_curve_at(&curve, 300), 500);
    cr_assert_eq(balloon_curve_at(&curve, 399), 5);
    cr_assert_eq(balloon_curve_at(&curve, 400), 0);
    cr_assert_eq(balloon_curve_at(&curve, UINT64_MAX), 0);
}

Test(curve, nothing_known_is_no_misses)
{
    balloon_curve curve = {NULL, 0};

    cr_assert_eq(balloon_curve_at(&curve, 0), 0);
    cr_assert_eq(balloon_curve_at(&curve, 5), 0);
}

Test(curve, one_point_is_level)
{
    static const balloon_curve_point points[] = {{100, 7}};
    balloon_curve curve = {CURVE(points)};

    cr_assert_eq(balloon_curve_at(&curve, 99), 7);
    cr_assert_eq(balloon_curve_at(&curve, 100), 7);
    cr_assert_eq(balloon_curve_at(&curve, 101), 7);
}

/* What a page saves is rounded down: 10 - 10 * 1 / 3 is 7. */
Test(curve, rounds_misses_up)
{
    static const balloon_curve_point points[] = {{0, 10}, {3, 0}};
    balloon_curve curve = {CURVE(points)};

    cr_assert_eq(balloon_curve_at(&curve, 1), 7);
    cr_assert_eq(balloon_curve_at(&curve, 2), 4);
}

Test(curve, large_numbers_do_not_run_over)
{
    static const balloon_curve_point points[] = {{0, UINT64_MAX}, {UINT64_C(1) << 40, 0}};
    balloon_curve curve = {CURVE(points)};

    cr_assert_eq(balloon_curve_at(&curve, UINT64_C(1) << 39), UINT64_C(1) << 63);
    cr_assert_eq(balloon_curve_at(&curve, (UINT64_C(1) << 40) - 1), UINT64_C(1) << 24);
}

Test(curve, never_rises)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0xca);

    for (int round = 0; round < 200; round++) {
        balloon_curve_point points[BALLOON_CURVE_POINTS_MAX];
        balloon_curve curve = {points, (uint32_t)(1 + prng_below(&prng, BALLOON_CURVE_POINTS_MAX))};
        uint64_t pages = prng_below(&prng, 10), misses = prng_below(&prng, 1000), last;

        for (uint32_t i = curve.count; i-- > 0; misses += prng_below(&prng, 1000))
            points[i].misses = misses;
        for (uint32_t i = 0; i < curve.count; i++, pages += 1 + prng_below(&prng, 30))
            points[i].pages = pages;
        last = UINT64_MAX;
        for (uint64_t p = 0; p < 1000; p++) {
            uint64_t now = balloon_curve_at(&curve, p);

            cr_assert_leq(now, last, "seed %llu", (unsigned long long)seed);
            last = now;
        }
        for (uint32_t i = 0; i < curve.count; i++)
            cr_assert_eq(balloon_curve_at(&curve, points[i].pages), points[i].misses);
    }
}
