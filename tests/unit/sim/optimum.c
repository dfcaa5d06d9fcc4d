/* The optimum against brute force: every division of a small budget is tried. */
#include <balloon/optimum.h>
#include <criterion/criterion.h>
#include <stdlib.h>

#include "prng.h"

enum { GUESTS_MAX = 4, UNIT = 256 };

struct puzzle {
    balloon_optimum_guest guests[GUESTS_MAX];
    balloon_curve_point points[GUESTS_MAX][6];
    uint32_t count;
    uint64_t budget;
};

/* Curves that fall by random steps: convex, with cliffs, level, or without points. */
static void make_curve(struct prng *prng, balloon_curve_point *points, balloon_curve *curve,
                       bool convex)
{
    uint64_t misses = prng_below(prng, 100000), pages = prng_below(prng, 600), drop = misses / 2;

    curve->points = points;
    curve->count = (uint32_t)prng_below(prng, 7);
    for (uint32_t i = 0; i < curve->count; i++) {
        points[i] = (balloon_curve_point){pages, misses};
        pages += convex ? UNIT : 1 + prng_below(prng, 900);
        drop = convex ? drop / 2 : prng_below(prng, misses + 1);
        misses -= convex && drop > misses ? misses : drop;
    }
    for (uint32_t i = 0; convex && i < curve->count; i++)
        points[i].pages = i * (uint64_t)UNIT;
}

static void make_puzzle(struct prng *prng, struct puzzle *p, bool convex)
{
    uint64_t least = 0;

    p->count = 1 + (uint32_t)prng_below(prng, GUESTS_MAX);
    for (uint32_t i = 0; i < p->count; i++) {
        balloon_optimum_guest *g = &p->guests[i];

        make_curve(prng, p->points[i], &g->curve, convex);
        g->weight = 1 + prng_below(prng, 5);
        g->min = convex ? UNIT * prng_below(prng, 3) : prng_below(prng, 500);
        g->max = g->min + prng_below(prng, 2000);
        least += g->min;
    }
    p->budget = least + prng_below(prng, 4000);
}

static uint64_t cost_of(const balloon_optimum_guest *g, uint64_t steps)
{
    uint64_t pages = g->min + steps * UNIT;

    return g->weight * balloon_curve_at(&g->curve, pages < g->max ? pages : g->max);
}

static uint64_t steps_of(const balloon_optimum_guest *g)
{
    return (g->max - g->min + UNIT - 1) / UNIT;
}

/* Try all. */
static uint64_t brute(const struct puzzle *p, uint32_t guest, uint64_t units)
{
    uint64_t best = UINT64_MAX;

    if (guest == p->count)
        return 0;
    for (uint64_t k = 0; k <= steps_of(&p->guests[guest]) && k <= units; k++) {
        uint64_t cost = cost_of(&p->guests[guest], k) + brute(p, guest + 1, units - k);

        best = cost < best ? cost : best;
    }
    return best;
}

static void solve_by(const struct puzzle *p, uint64_t unit, uint64_t *sizes,
                     balloon_optimum_result *result)
{
    size_t bytes = balloon_optimum_bytes(p->count, p->budget, unit);
    void *scratch = malloc(bytes);

    cr_assert_eq(
        balloon_optimum(p->guests, p->count, p->budget, unit, scratch, bytes, sizes, result),
        BALLOON_OK);
    free(scratch);
}

static void solve(const struct puzzle *p, uint64_t *sizes, balloon_optimum_result *result)
{
    solve_by(p, UNIT, sizes, result);
}

static void compare(const struct puzzle *p, uint64_t seed, int round)
{
    uint64_t sizes[GUESTS_MAX], least = 0, sum = 0, cost = 0;
    balloon_optimum_result result;

    for (uint32_t i = 0; i < p->count; i++)
        least += p->guests[i].min;
    solve(p, sizes, &result);
    cr_assert_eq(result.cost, brute(p, 0, (p->budget - least) / UNIT), "seed %llu, round %d",
                 (unsigned long long)seed, round);
    cr_assert_leq(result.bound, result.cost);
    for (uint32_t i = 0; i < p->count; i++) {
        cr_assert_geq(sizes[i], p->guests[i].min);
        cr_assert_leq(sizes[i], p->guests[i].max);
        sum += sizes[i];
        cost += p->guests[i].weight * balloon_curve_at(&p->guests[i].curve, sizes[i]);
    }
    cr_assert_leq(sum, p->budget);
    cr_assert_eq(cost, result.cost);
}

Test(optimum, is_what_trying_everything_finds)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 71);
    struct puzzle p;

    for (int round = 0; round < 200; round++) {
        make_puzzle(&prng, &p, false);
        compare(&p, seed, round);
    }
}

/* The best of all sizes lies between what steps of any length find and what they say is a bound. */
Test(optimum, bounds_what_finer_steps_find)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 73);
    struct puzzle p;
    unsigned tighter = 0;

    for (int round = 0; round < 60; round++) {
        balloon_optimum_result fine, coarse, hull;

        make_puzzle(&prng, &p, false);
        solve_by(&p, 1, NULL, &fine);
        solve_by(&p, p.budget + 1, NULL, &hull);
        for (uint64_t unit = 3; unit < 100; unit = unit * 3 + 1) {
            solve_by(&p, unit, NULL, &coarse);
            cr_assert_leq(coarse.bound, fine.cost, "seed %llu, round %d, unit %llu",
                          (unsigned long long)seed, round, (unsigned long long)unit);
            cr_assert_geq(coarse.cost, fine.cost);
            cr_assert_geq(coarse.bound, hull.bound);
            cr_assert_eq(coarse.exact, hull.exact);
            tighter += coarse.bound > hull.bound;
        }
        if (hull.exact)
            cr_assert_leq(fine.cost - hull.bound, 20, "seed %llu, round %d: %llu, bound %llu",
                          (unsigned long long)seed, round, (unsigned long long)fine.cost,
                          (unsigned long long)hull.bound);
    }
    cr_assert_gt(tighter, 10, "the hull is all there is");
}

Test(optimum, of_convex_curves_meets_its_bound)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 72);
    struct puzzle p;

    for (int round = 0; round < 200; round++) {
        balloon_optimum_result result;

        make_puzzle(&prng, &p, true);
        compare(&p, seed, round);
        /* On a grid that the curves' corners lie on, with a budget of whole units, nothing is lost
         * to the grid. */
        uint64_t least = 0, sizes[GUESTS_MAX];
        for (uint32_t i = 0; i < p.count; i++) {
            p.guests[i].max = p.guests[i].min + (p.guests[i].max - p.guests[i].min) / UNIT * UNIT;
            least += p.guests[i].min;
        }
        p.budget = least + (p.budget - least) / UNIT * UNIT;
        solve(&p, sizes, &result);
        cr_assert_eq(result.cost, result.bound, "seed %llu, round %d: %llu, bound %llu",
                     (unsigned long long)seed, round, (unsigned long long)result.cost,
                     (unsigned long long)result.bound);
    }
}

Test(optimum, by_hand)
{
    /* Two guests, 4 units: the first falls 100, 10, 0; the second off a cliff of 80 at 3 units. All
     * the first wants costs 80; one unit for it and three for the other cost 10. */
    const balloon_curve_point convex[] = {{0, 100}, {UNIT, 10}, {2 * UNIT, 0}};
    const balloon_curve_point cliff[] = {{3 * UNIT - 1, 80}, {3 * UNIT, 0}};
    struct puzzle p = {.count = 2,
                       .budget = 4 * UNIT,
                       .guests = {{{convex, 3}, 1, 0, 4 * UNIT}, {{cliff, 2}, 1, 0, 4 * UNIT}}};
    balloon_optimum_result result;
    uint64_t sizes[2];

    solve(&p, sizes, &result);
    cr_assert_eq(result.cost, 10);
    cr_assert_eq(sizes[0], UNIT);
    cr_assert_eq(sizes[1], 3 * UNIT);
    /* Twice the weight of the first's misses changes nothing; with ten times it needs both. */
    p.guests[0].weight = 10;
    solve(&p, sizes, &result);
    cr_assert_eq(result.cost, 80);
    cr_assert_geq(sizes[0], 2 * UNIT);
}

Test(optimum, says_what_is_wrong)
{
    const balloon_curve_point rising[] = {{0, 1}, {1, 2}}, heavy[] = {{0, UINT64_MAX}};
    balloon_optimum_guest g = {{NULL, 0}, 1, 10, 20};
    balloon_optimum_result result;
    uint64_t scratch[400];

    cr_assert_leq(balloon_optimum_bytes(1, 100, 10), sizeof(scratch));
    cr_assert_eq(balloon_optimum_bytes(1, 100, 0), SIZE_MAX);
    cr_assert_eq(balloon_optimum_bytes(1, UINT64_MAX, 1), SIZE_MAX);
#define TRY(budget, unit, bytes) balloon_optimum(&g, 1, budget, unit, scratch, bytes, NULL, &result)
    cr_assert_eq(TRY(100, 10, sizeof(scratch)), BALLOON_OK);
    cr_assert_eq(result.cost, 0);
    cr_assert_eq(TRY(100, 0, sizeof(scratch)), BALLOON_ERR_INVALID);
    cr_assert_eq(TRY(9, 1, sizeof(scratch)), BALLOON_ERR_RANGE);
    cr_assert_eq(TRY(100, 10, 8), BALLOON_ERR_NOSPACE);
    g.curve = (balloon_curve){rising, 2};
    cr_assert_eq(TRY(100, 10, sizeof(scratch)), BALLOON_ERR_INVALID);
    g.curve = (balloon_curve){heavy, 1};
    cr_assert_eq(TRY(100, 10, sizeof(scratch)), BALLOON_ERR_INVALID);
    g.curve.count = BALLOON_CURVE_POINTS_MAX + 1;
    cr_assert_eq(TRY(100, 10, sizeof(scratch)), BALLOON_ERR_INVALID);
    g = (balloon_optimum_guest){{NULL, 0}, 1, 20, 10};
    cr_assert_eq(TRY(100, 10, sizeof(scratch)), BALLOON_ERR_INVALID);
}

/* --- balloons of limited speed ---------------------------------------------------------------- */

enum { PHASES = 3, STEPS_MAX = 3 };

struct journey {
    balloon_optimum_guest guests[PHASES * 2];
    balloon_curve_point points[PHASES * 2][6];
    uint32_t steps[PHASES];
    balloon_optimum_path path;
};

static void make_journey(struct prng *prng, struct journey *j, uint32_t count)
{
    uint64_t least = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t min = prng_below(prng, 500), max = min + prng_below(prng, 1000);

        least += min;
        for (uint32_t k = 0; k < PHASES; k++) {
            balloon_optimum_guest *g = &j->guests[k * count + i];

            make_curve(prng, j->points[k * count + i], &g->curve, prng_one_in(prng, 2));
            *g = (balloon_optimum_guest){g->curve, 1 + prng_below(prng, 5), min, max};
        }
    }
    for (uint32_t k = 0; k < PHASES; k++)
        j->steps[k] = (uint32_t)prng_below(prng, STEPS_MAX);
    j->path = (balloon_optimum_path){j->guests,
                                     j->steps,
                                     PHASES,
                                     count,
                                     least + prng_below(prng, 1200),
                                     UNIT,
                                     (uint32_t)prng_below(prng, 3),
                                     (uint32_t)prng_below(prng, 3)};
}

/* All ways through the steps from the sizes a and b on. */
static uint64_t walk(const balloon_optimum_path *path, uint32_t phase, uint32_t step, uint64_t a,
                     uint64_t b, uint64_t units)
{
    const balloon_optimum_guest *g = &path->guests[(size_t)phase * path->count];
    uint64_t best = UINT64_MAX;

    if (phase == path->phases)
        return 0;
    if (step == path->steps[phase])
        return walk(path, phase + 1, 0, a, b, units);
    for (uint64_t p = a > path->shrink ? a - path->shrink : 0;
         p <= a + path->grow && p <= steps_of(&g[0]) && p <= units; p++) {
        uint64_t from = b > path->shrink ? b - path->shrink : 0, to = b + path->grow;

        if (path->count == 1)
            from = to = 0;
        for (uint64_t q = from; q <= to && p + q <= units; q++) {
            if (path->count == 2 && q > steps_of(&g[1]))
                break;
            uint64_t cost = cost_of(&g[0], p) + (path->count == 2 ? cost_of(&g[1], q) : 0) +
                            walk(path, phase, step + 1, p, q, units);

            best = cost < best ? cost : best;
        }
    }
    return best;
}

static uint64_t brute_path(const balloon_optimum_path *path)
{
    uint64_t best = UINT64_MAX, least = 0;

    for (uint32_t i = 0; i < path->count; i++)
        least += path->guests[i].min;
    uint64_t units = (path->budget - least) / UNIT;
    uint64_t most_b = path->count == 2 ? steps_of(&path->guests[1]) : 0;

    for (uint64_t a = 0; a <= steps_of(&path->guests[0]) && a <= units; a++)
        for (uint64_t b = 0; b <= most_b && a + b <= units; b++) {
            uint64_t cost = walk(path, 0, 0, a, b, units);

            best = cost < best ? cost : best;
        }
    return best;
}

static uint64_t paced(const balloon_optimum_path *path, bool *exact)
{
    size_t bytes = balloon_optimum_paced_bytes(path);
    void *scratch = malloc(bytes);
    uint64_t cost = 0;

    cr_assert_eq(balloon_optimum_paced(path, scratch, bytes, &cost, exact), BALLOON_OK);
    free(scratch);
    return cost;
}

Test(optimum_paced, of_one_or_two_is_what_trying_everything_finds)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 73);
    static struct journey j;

    for (int round = 0; round < 100; round++) {
        bool exact = false;

        make_journey(&prng, &j, 1 + (uint32_t)prng_below(&prng, 2));
        cr_assert_eq(paced(&j.path, &exact), brute_path(&j.path), "seed %llu, round %d",
                     (unsigned long long)seed, round);
        cr_assert(exact);
    }
}

/* Three guests of which one never misses: the bound may not pass the best of the other two. */
Test(optimum_paced, of_more_is_a_bound)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 74);
    static struct journey j;
    uint64_t bounds = 0, bests = 0;

    for (int round = 0; round < 100; round++) {
        balloon_optimum_guest guests[PHASES * 3];
        bool exact = true;

        make_journey(&prng, &j, 2);
        for (uint32_t k = 0; k < PHASES; k++) {
            guests[3 * k] = j.guests[2 * k];
            guests[3 * k + 1] = j.guests[2 * k + 1];
            guests[3 * k + 2] = (balloon_optimum_guest){{NULL, 0}, 1, 0, 0};
        }
        balloon_optimum_path three = j.path;
        three.guests = guests;
        three.count = 3;
        uint64_t bound = paced(&three, &exact), best = brute_path(&j.path);

        cr_assert_leq(bound, best, "seed %llu, round %d", (unsigned long long)seed, round);
        cr_assert_not(exact);
        bounds += bound;
        bests += best;
    }
    cr_assert_geq(bounds, bests / 2, "a bound of %llu for %llu is of no use",
                  (unsigned long long)bounds, (unsigned long long)bests);
}

Test(optimum_paced, says_what_is_wrong)
{
    balloon_optimum_guest g[2] = {{{NULL, 0}, 1, 10, 20}, {{NULL, 0}, 1, 10, 20}};
    const uint32_t steps[2] = {1, 1};
    balloon_optimum_path path = {g, steps, 2, 1, 100, 1, 1, 1};
    uint64_t scratch[64], cost;

    cr_assert_eq(balloon_optimum_paced(&path, scratch, sizeof(scratch), &cost, NULL), BALLOON_OK);
    cr_assert_eq(balloon_optimum_paced(&path, scratch, 8, &cost, NULL), BALLOON_ERR_NOSPACE);
    path.budget = 9;
    cr_assert_eq(balloon_optimum_paced(&path, scratch, sizeof(scratch), &cost, NULL),
                 BALLOON_ERR_RANGE);
    path.budget = 100;
    g[1].max = 21;
    cr_assert_eq(balloon_optimum_paced(&path, scratch, sizeof(scratch), &cost, NULL),
                 BALLOON_ERR_INVALID);
    g[1] = g[0];
    path.unit = 0;
    cr_assert_eq(balloon_optimum_paced_bytes(&path), SIZE_MAX);
}
