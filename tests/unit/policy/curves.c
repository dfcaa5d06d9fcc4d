#include <criterion/criterion.h>

#include "policy_desk.h"

#include <string.h>

#define CURVE(points) points, sizeof(points) / sizeof((points)[0])
#define MOST          24 /* pages a guest, in tests that try everything */

Test(curves, edges)
{
    desk_check_edges(&balloon_policy_curves);
}

static void set_curve(struct policy_desk *desk, uint32_t guest, balloon_curve curve)
{
    desk->guests[guest].curve = curve;
    desk->guests[guest].known = BALLOON_KNOWS_CURVE;
}

/* A page of the first saves 10 up to 100 pages and then 1, a page of the second 5 up to 400. */
static const balloon_curve_point steep[] = {{0, 1100}, {100, 100}, {200, 0}};
static const balloon_curve_point gentle[] = {{0, 2000}, {400, 0}};

static void open_two(struct policy_desk *desk, uint64_t pool)
{
    cr_assert(desk_open(desk, &balloon_policy_curves, NULL, 2));
    desk->view.pool = pool;
    set_curve(desk, 0, (balloon_curve){CURVE(steep)});
    set_curve(desk, 1, (balloon_curve){CURVE(gentle)});
}

Test(curves, memory_goes_where_it_saves_most)
{
    static const uint64_t expected[][3] = {
        /* pool, first, second */
        {60, 60, 0},     {100, 100, 0},   {350, 100, 250},  {500, 100, 400},
        {550, 150, 400}, {600, 200, 400}, {9000, 200, 400}, /* more saves nothing */
    };
    struct policy_desk desk;

    open_two(&desk, 1);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        desk.view.pool = expected[i][0];
        desk_decide(&desk, i);
        cr_assert_eq(desk.wishes[0].target, expected[i][1], "pool of %u", (unsigned)expected[i][0]);
        cr_assert_eq(desk.wishes[1].target, expected[i][2], "pool of %u", (unsigned)expected[i][0]);
        desk_follow(&desk);
        desk_decide(&desk, i);
        cr_assert(desk_is_still(&desk));
    }
    desk_close(&desk);
}

/* With three times the shares a page of the second counts 15. */
Test(curves, shares_are_weights)
{
    struct policy_desk desk;

    open_two(&desk, 450);
    desk.guests[1].shares = 3000;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 50);
    cr_assert_eq(desk.wishes[1].target, 400);
    desk_close(&desk);
}

Test(curves, limits_bind)
{
    struct policy_desk desk;

    open_two(&desk, 350);
    desk.guests[0].min = 150;
    desk.guests[1].max = 170;
    desk.view.reserve = 10;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 170);
    cr_assert_eq(desk.wishes[1].target, 170);
    desk.view.pool = 100;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 150);
    cr_assert_eq(desk.wishes[1].target, 0);
    desk_close(&desk);
}

/* All of 100 pages or nothing, against 1 for each of 400: 60 pages are best given to the second. */
Test(curves, part_of_a_cliff_is_worth_nothing)
{
    static const balloon_curve_point cliff[] = {{99, 1000}, {100, 0}};
    static const balloon_curve_point slope[] = {{0, 400}, {400, 0}};
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_curves, NULL, 2));
    set_curve(&desk, 0, (balloon_curve){CURVE(cliff)});
    set_curve(&desk, 1, (balloon_curve){CURVE(slope)});
    for (uint32_t i = 0; i < 2; i++)
        desk.guests[i].max = 400;
    desk.view.pool = 450;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 100);
    cr_assert_eq(desk.wishes[1].target, 350);
    desk.guests[1].max = 60;
    desk.view.pool = 60;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 0);
    cr_assert_eq(desk.wishes[1].target, 60);
    desk_close(&desk);
}

Test(curves, those_without_keep_what_they_have)
{
    struct policy_desk desk;

    open_two(&desk, 450);
    desk_set_size(&desk, 1, 370);
    desk.guests[1].known = 0;
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 80);
    cr_assert_eq(desk.wishes[1].target, 370);
    desk_close(&desk);
}

/* Numbers so large that they saturate, or slopes so small that they round to nothing. */
Test(curves, extreme_slopes_do_no_harm)
{
    static const balloon_curve_point wall[] = {{0, UINT64_MAX}, {10, 0}};
    static const balloon_curve_point plain[] = {{0, 1}, {UINT64_C(1) << 40, 0}};
    struct policy_desk desk;

    cr_assert(desk_open(&desk, &balloon_policy_curves, NULL, 3));
    for (uint32_t i = 0; i < 3; i++) {
        set_curve(&desk, i, i == 1 ? (balloon_curve){CURVE(plain)} : (balloon_curve){CURVE(wall)});
        desk.guests[i].max = UINT64_C(1) << 40;
        desk.guests[i].shares = i == 1 ? 1 : 10000;
    }
    desk.view.pool = 20 + (UINT64_C(1) << 40);
    desk_decide(&desk, 0);
    cr_assert_eq(desk.wishes[0].target, 10);
    cr_assert_eq(desk.wishes[1].target, UINT64_C(1) << 40);
    cr_assert_eq(desk.wishes[2].target, 10);
    desk_close(&desk);
}

/* ---- Against trying everything
 * ------------------------------------------------------------------- */

struct small {
    uint64_t misses[MOST + 1]; /* by pages */
    double hull[MOST + 1];
};

/* The lower convex hull, by its definition: no line between two points runs below it. */
static void find_hull(struct small *s, uint64_t lo, uint64_t hi)
{
    for (uint64_t p = lo; p <= hi; p++) {
        s->hull[p] = (double)s->misses[p];
        for (uint64_t a = lo; a < p; a++)
            for (uint64_t b = p + 1; b <= hi; b++) {
                double line = (double)s->misses[a] - ((double)s->misses[a] - (double)s->misses[b]) *
                                                         (double)(p - a) / (double)(b - a);

                if (line < s->hull[p])
                    s->hull[p] = line;
            }
    }
}

/* Least cost of dividing at most `budget` pages among the guests, of misses or of hulls. */
static double least_cost(const struct policy_desk *desk, const struct small *small, uint64_t budget,
                         bool hulls)
{
    double best[MOST * 6 + 1] = {0};

    for (uint32_t i = 0; i < desk->view.guest_count; i++) {
        const balloon_guest_view *g = &desk->guests[i];
        double next[MOST * 6 + 1];

        for (uint64_t b = 0; b <= budget; b++) {
            next[b] = 1e18;
            for (uint64_t p = g->min; p <= g->max && p <= b; p++) {
                double cost = hulls ? small[i].hull[p] : (double)small[i].misses[p];

                cost = best[b - p] + cost * g->shares;
                if (cost < next[b])
                    next[b] = cost;
            }
        }
        memcpy(best, next, sizeof(best));
    }
    return best[budget];
}

/* How far the greedy choice on hulls, page by page, ends above them. */
static double greedy_gap(const struct policy_desk *desk, const struct small *small, uint64_t budget)
{
    uint32_t count = desk->view.guest_count;
    uint64_t at[6];
    double gap = 0;

    for (uint32_t i = 0; i < count; i++)
        budget -= at[i] = desk->guests[i].min;
    for (; budget > 0; budget--) {
        uint32_t winner = count;
        double most = 1e-9;

        for (uint32_t i = 0; i < count; i++) {
            double saved;

            if (at[i] == desk->guests[i].max)
                continue;
            saved = (small[i].hull[at[i]] - small[i].hull[at[i] + 1]) * desk->guests[i].shares;
            if (saved > most + 1e-9) {
                winner = i;
                most = saved;
            }
        }
        if (winner == count)
            break;
        at[winner]++;
    }
    for (uint32_t i = 0; i < count; i++)
        gap += ((double)small[i].misses[at[i]] - small[i].hull[at[i]]) * desk->guests[i].shares;
    return gap;
}

/* Points at every page make curves in which nothing is rounded. Some have cliffs. */
static uint32_t random_curve(struct prng *prng, balloon_curve_point *points, bool convex)
{
    uint64_t misses = prng_below(prng, 50), fall = 0;

    for (uint32_t i = MOST + 1; i-- > 0;) {
        points[i] = (balloon_curve_point){i, misses};
        if (convex)
            fall += prng_below(prng, 4);
        else
            fall = prng_one_in(prng, 4) ? prng_below(prng, 200) : 0;
        misses += fall;
    }
    return MOST + 1;
}

static void check_against_all(struct prng *prng, uint64_t seed, bool convex, uint32_t *splits)
{
    uint32_t count = (uint32_t)(1 + prng_below(prng, 6));
    balloon_curve_point points[6][MOST + 1];
    struct small small[6];
    struct policy_desk desk;
    double bound, best, result = 0, gap;
    uint64_t least = 0, most = 0;

    cr_assert(desk_open(&desk, &balloon_policy_curves, NULL, count));
    for (uint32_t i = 0; i < count; i++) {
        balloon_guest_view *g = &desk.guests[i];

        g->max = 1 + prng_below(prng, MOST);
        g->min = prng_below(prng, g->max + 1);
        g->shares = (uint32_t)(1 + prng_below(prng, 20));
        set_curve(&desk, i, (balloon_curve){points[i], random_curve(prng, points[i], convex)});
        for (uint64_t p = 0; p <= MOST; p++)
            small[i].misses[p] = balloon_curve_at(&g->curve, p);
        find_hull(&small[i], g->min, g->max);
        least += g->min;
        most += g->max;
    }
    desk.view.pool = least + prng_below(prng, most - least + 1);
    if (desk.view.pool == 0)
        desk.view.pool = 1;
    desk_decide(&desk, 0);
    cr_assert_leq(desk_wished(&desk), desk.view.pool);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t p = desk.wishes[i].target;

        result += (double)small[i].misses[p] * desk.guests[i].shares;
    }
    bound = least_cost(&desk, small, desk.view.pool, true);
    best = least_cost(&desk, small, desk.view.pool, false);
    cr_assert(bound <= best + 1e-6 && best <= result + 1e-6, "%f <= %f <= %f, seed %llu", bound,
              best, result, (unsigned long long)seed);
    gap = greedy_gap(&desk, small, desk.view.pool);
    cr_assert(result <= bound + gap + 1e-6, "%f more than %f, and %f allowed, seed %llu",
              result - bound, bound, gap, (unsigned long long)seed);
    *splits += gap > 1e-6;
    desk_close(&desk);
}

Test(curves, convex_ones_are_divided_at_best)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0xc04e);
    uint32_t splits = 0;

    for (int round = 0; round < 300; round++)
        check_against_all(&prng, seed, true, &splits);
    cr_assert_eq(splits, 0);
}

Test(curves, with_cliffs_are_divided_nearly_at_best)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0xc11f);
    uint32_t splits = 0;

    for (int round = 0; round < 500; round++)
        check_against_all(&prng, seed, false, &splits);
    cr_assert_gt(splits, 20, "no case was hard");
}

/* --- many guests ------------------------------------------------------------------------------ */

enum { MANY = 500, PIECES = 6 };

/* The choice itself, one piece after another, until one does not fit. Curves that fall by whole
 * misses a page, so that no steepness is rounded. */
static uint64_t take_pieces(const balloon_curve_point points[][PIECES + 1], uint64_t budget,
                            uint64_t got[MANY])
{
    uint32_t at[MANY] = {0};

    memset(got, 0, MANY * sizeof(*got));
    for (;;) {
        uint64_t best = 0;
        uint32_t who = 0;

        for (uint32_t i = 0; i < MANY; i++) {
            const balloon_curve_point *p = &points[i][at[i]];
            uint64_t slope =
                at[i] == PIECES ? 0 : (p[0].misses - p[1].misses) / (p[1].pages - p[0].pages);

            if (slope > best) {
                best = slope;
                who = i;
            }
        }
        if (!best || points[who][at[who] + 1].pages - got[who] > budget)
            return budget;
        budget -= points[who][++at[who]].pages - got[who];
        got[who] = points[who][at[who]].pages;
    }
}

Test(curves, many_guests_get_the_steepest_pieces)
{
    static balloon_curve_point points[MANY][PIECES + 1];
    static uint64_t got[MANY];
    struct prng prng = prng_start(prng_seed(), 0xc0517e);
    struct policy_desk desk;

    for (int round = 0; round < 40; round++) {
        uint64_t rest, differ = 0, steepest = UINT64_C(1) << prng_below(&prng, 20);

        cr_assert(desk_open(&desk, &balloon_policy_curves, NULL, MANY));
        for (uint32_t i = 0; i < MANY; i++) {
            uint64_t slope = 0;

            points[i][PIECES] = (balloon_curve_point){10000, 0};
            for (int k = PIECES - 1; k >= 0; k--) {
                uint64_t pages = k ? 1 + prng_below(&prng, 1000) : points[i][1].pages;

                slope += 1 + prng_below(&prng, steepest);
                points[i][k].pages = points[i][k + 1].pages - pages;
                points[i][k].misses = points[i][k + 1].misses + slope * pages;
            }
            desk.guests[i].max = 10000;
            desk_set_size(&desk, i, 10000);
            desk.guests[i].known = BALLOON_KNOWS_CURVE;
            desk.guests[i].curve = (balloon_curve){points[i], PIECES + 1};
        }
        desk.view.pool = prng_below(&prng, MANY * 10000);
        rest = take_pieces((const balloon_curve_point(*)[PIECES + 1]) points, desk.view.pool, got);
        desk_decide(&desk, 0);
        /* What is left goes to one whose piece fits in part, or to smaller pieces of others. */
        for (uint32_t i = 0; i < MANY; i++) {
            cr_assert_geq(desk.wishes[i].target, got[i], "round %d guest %u", round, i);
            differ += desk.wishes[i].target - got[i];
        }
        cr_assert_leq(differ, rest, "round %d", round);
        desk_close(&desk);
    }
}
