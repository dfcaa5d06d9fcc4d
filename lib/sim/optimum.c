/* The optimum for one division of memory: a greedy choice where curves are convex, dynamic
 * programming where they are not, and a bound from the lower hulls. */
#include <balloon/optimum.h>

#include "../core/wide.h"
#include "optimum_p.h"

/* Scratch of balloon_optimum() for n guests and k units: the heap or the order of segments, the
 * costs twice, and the choices of each guest that is not convex. */
struct room {
    struct segment *segments; /* n times the points of a curve and two ends */
    uint64_t *heap;           /* n */
    uint64_t *steps;          /* n: units that the greedy choice has given */
    uint64_t *cost, *next;    /* k + 1 each */
    uint32_t *choice;         /* n times k + 1 */
    uint64_t spare;           /* units beyond the budget, of which only the bound knows */
};

struct segment {
    uint64_t gain, pages; /* misses saved, weighted, by so many pages more */
};

#define SEGMENTS (BALLOON_CURVE_POINTS_MAX + 2)

static uint64_t units_of(uint64_t pages, uint64_t unit)
{
    return bl_div(pages, unit) + (bl_div(pages, unit) * unit != pages);
}

static bool lay_out(uint32_t n, uint64_t budget, uint64_t unit, uint64_t *base, struct room *room,
                    size_t *bytes)
{
    uint64_t k = bl_div(budget, unit), spare = n <= k >> 4 ? n : 0;
    uint64_t words = (uint64_t)n * (SEGMENTS * 2 + 2);

    if (k >= UINT32_MAX - spare)
        return false;
    k += spare + 1;
    if ((uint64_t)n * k > SIZE_MAX / 32 || words > SIZE_MAX / 32)
        return false;
    *bytes = (size_t)(words + 2 * k) * 8 + (size_t)(n * k) * 4;
    if (base) {
        room->segments = (struct segment *)(void *)base;
        room->heap = base + (size_t)n * SEGMENTS * 2;
        room->steps = room->heap + n;
        room->cost = room->steps + n;
        room->next = room->cost + k;
        room->choice = (uint32_t *)(void *)(room->next + k);
        room->spare = spare;
    }
    return true;
}

size_t balloon_optimum_bytes(uint32_t guests, uint64_t budget, uint64_t unit)
{
    size_t bytes;

    return unit && lay_out(guests, budget, unit, NULL, NULL, &bytes) ? bytes : SIZE_MAX;
}

bool bl_optimum_guest_valid(const balloon_optimum_guest *g)
{
    const balloon_curve_point *p = g->curve.points;

    if (g->max < g->min || g->curve.count > BALLOON_CURVE_POINTS_MAX ||
        (g->curve.count && bl_mul(p[0].misses, g->weight).high) ||
        (g->curve.count && p[0].misses * g->weight > UINT64_C(1) << 50))
        return false;
    for (uint32_t i = 1; i < g->curve.count; i++)
        if (p[i].pages <= p[i - 1].pages || p[i].misses > p[i - 1].misses)
            return false;
    return true;
}

/* Size after so many units, and what it costs. */
static uint64_t size_at(const balloon_optimum_guest *g, uint64_t unit, uint64_t steps)
{
    struct bl_wide grown = bl_mul(unit, steps);

    return grown.high || grown.low > g->max - g->min ? g->max : g->min + grown.low;
}

uint64_t bl_optimum_cost(const balloon_optimum_guest *g, uint64_t unit, uint64_t steps)
{
    return g->weight * balloon_curve_at(&g->curve, size_at(g, unit, steps));
}

uint64_t bl_optimum_steps(const balloon_optimum_guest *g, uint64_t unit)
{
    return units_of(g->max - g->min, unit);
}

static uint64_t gain_at(const balloon_optimum_guest *g, uint64_t unit, uint64_t steps)
{
    return bl_optimum_cost(g, unit, steps) - bl_optimum_cost(g, unit, steps + 1);
}

static bool is_convex(const balloon_optimum_guest *g, uint64_t unit, uint64_t most)
{
    uint64_t last = UINT64_MAX, steps = bl_optimum_steps(g, unit);

    for (uint64_t i = 0; i < steps && i < most; i++) {
        uint64_t gain = gain_at(g, unit, i);

        if (gain > last)
            return false;
        last = gain;
    }
    return true;
}

/* --- the bound -------------------------------------------------------------------------------- */

/* Is the slope of a less steep than that of b? */
static bool flatter(const struct segment *a, const struct segment *b)
{
    return bl_mul_compare(a->gain, b->pages, b->gain, a->pages) < 0;
}

/* Append the lower hull of a curve between min and max as segments, steepest first. convex becomes
 * false when the curve is anywhere above it. */
static size_t add_hull(const balloon_optimum_guest *g, struct segment *to, bool *convex)
{
    size_t count = 0;
    uint64_t at = g->min, cost = g->weight * balloon_curve_at(&g->curve, at);

    for (uint32_t i = 0; i <= g->curve.count; i++) {
        uint64_t pages = i < g->curve.count ? g->curve.points[i].pages : g->max;

        if (pages <= at || pages > g->max)
            continue;
        uint64_t there = g->weight * balloon_curve_at(&g->curve, pages);
        struct segment s = {cost - there, pages - at};

        while (count && flatter(&to[count - 1], &s)) {
            s.gain += to[count - 1].gain;
            s.pages += to[--count].pages;
            *convex = false;
        }
        to[count++] = s;
        at = pages;
        cost = there;
    }
    return count;
}

static void sift(struct segment *heap, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        struct segment moved = heap[at];

        if (child + 1 < count && flatter(&heap[child], &heap[child + 1]))
            child++;
        if (!flatter(&moved, &heap[child]))
            return;
        heap[at] = heap[child];
        heap[child] = moved;
    }
}

static uint64_t hull_bound(const balloon_optimum_guest *guests, uint32_t n, uint64_t left,
                           struct segment *heap, bool *convex)
{
    size_t count = 0;
    uint64_t cost = 0;

    *convex = true;

    for (uint32_t i = 0; i < n; i++) {
        cost += guests[i].weight * balloon_curve_at(&guests[i].curve, guests[i].min);
        count += add_hull(&guests[i], heap + count, convex);
    }
    for (size_t i = count / 2; i-- > 0;)
        sift(heap, i, count);
    while (count && left) {
        struct segment best = heap[0];

        if (best.pages > left) {
            /* Round the gain up: what is returned must stay a bound. */
            uint64_t part = bl_mul_div(best.gain, left, best.pages);

            return cost - (part < best.gain ? part + 1 : part);
        }
        cost -= best.gain;
        left -= best.pages;
        heap[0] = heap[--count];
        sift(heap, 0, count);
    }
    return cost;
}

/* --- convex guests ---------------------------------------------------------------------------- */

struct greedy {
    const balloon_optimum_guest *guests;
    uint64_t unit;
    uint64_t *heap; /* guests that can still grow, the one that gains most on top */
    uint64_t *steps;
    size_t count;
};

static uint64_t greedy_gain(const struct greedy *g, uint64_t guest)
{
    return gain_at(&g->guests[guest], g->unit, g->steps[guest]);
}

static void greedy_sift(struct greedy *g, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < g->count; at = child) {
        uint64_t moved = g->heap[at];

        if (child + 1 < g->count &&
            greedy_gain(g, g->heap[child]) < greedy_gain(g, g->heap[child + 1]))
            child++;
        if (greedy_gain(g, moved) >= greedy_gain(g, g->heap[child]))
            return;
        g->heap[at] = g->heap[child];
        g->heap[child] = moved;
    }
}

/* Give one unit to the guest that gains most; returns what it gains, 0 when all are full. */
static uint64_t greedy_give(struct greedy *g)
{
    if (!g->count)
        return 0;
    uint64_t guest = g->heap[0], gain = greedy_gain(g, guest);

    if (++g->steps[guest] == bl_optimum_steps(&g->guests[guest], g->unit))
        g->heap[0] = g->heap[--g->count];
    greedy_sift(g, 0);
    return gain;
}

static void greedy_start(struct greedy *g, uint32_t n, uint64_t units)
{
    g->count = 0;
    for (uint32_t i = 0; i < n; i++) {
        g->steps[i] = 0;
        if (bl_optimum_steps(&g->guests[i], g->unit) && is_convex(&g->guests[i], g->unit, units))
            g->heap[g->count++] = i;
    }
    for (size_t i = g->count / 2; i-- > 0;)
        greedy_sift(g, i);
}

/* --- all guests ------------------------------------------------------------------------------- */

/* Let one more guest take part: next[b] = least of cost[b - p] + what it costs with p. */
static void add_guest(const balloon_optimum_guest *g, uint64_t unit, uint64_t units,
                      const uint64_t *cost, uint64_t *next, uint32_t *choice)
{
    uint64_t most = bl_optimum_steps(g, unit);

    for (uint64_t b = 0; b <= units; b++)
        next[b] = UINT64_MAX;
    for (uint64_t p = 0; p <= most && p <= units; p++) {
        uint64_t own = bl_optimum_cost(g, unit, p);

        for (uint64_t b = p; b <= units; b++)
            if (cost[b - p] + own < next[b]) {
                next[b] = cost[b - p] + own;
                choice[b] = (uint32_t)p;
            }
    }
}

balloon_status balloon_optimum(const balloon_optimum_guest *guests, uint32_t n, uint64_t budget,
                               uint64_t unit, void *scratch, size_t bytes, uint64_t *sizes,
                               balloon_optimum_result *result)
{
    uint64_t least = 0;
    struct room room = {0};
    size_t needed;

    if (!unit || !lay_out(n, budget, unit, scratch, &room, &needed))
        return BALLOON_ERR_INVALID;
    for (uint32_t i = 0; i < n; i++) {
        if (!bl_optimum_guest_valid(&guests[i]))
            return BALLOON_ERR_INVALID;
        if (guests[i].min > budget - least)
            return BALLOON_ERR_RANGE;
        least += guests[i].min;
    }
    if (bytes < needed)
        return BALLOON_ERR_NOSPACE;

    uint64_t units = bl_div(budget - least, unit), all = units + room.spare;
    struct greedy greedy = {guests, unit, room.heap, room.steps, 0};

    result->bound = hull_bound(guests, n, budget - least, room.segments, &result->exact);
    greedy_start(&greedy, n, all);
    room.cost[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        if (is_convex(&guests[i], unit, all))
            room.cost[0] += bl_optimum_cost(&guests[i], unit, 0);
    for (uint64_t b = 1; b <= all; b++)
        room.cost[b] = room.cost[b - 1] - greedy_give(&greedy);

    for (uint32_t i = 0; i < n; i++) {
        if (is_convex(&guests[i], unit, all))
            continue;
        uint64_t *swap = room.cost;

        add_guest(&guests[i], unit, all, room.cost, room.next,
                  room.choice + (size_t)i * (size_t)(all + 1));
        room.cost = room.next;
        room.next = swap;
    }
    result->cost = room.cost[units];
    /* Sizes between those of the grid: each of them rounded up takes a unit more at most. */
    if (room.spare && room.cost[all] > result->bound)
        result->bound = room.cost[all];
    if (!sizes)
        return BALLOON_OK;

    uint64_t left = units;

    for (uint32_t i = n; i-- > 0;) {
        if (is_convex(&guests[i], unit, all))
            continue;
        uint32_t p = room.choice[(size_t)i * (size_t)(all + 1) + (size_t)left];

        sizes[i] = size_at(&guests[i], unit, p);
        left -= p;
    }
    greedy_start(&greedy, n, all);
    while (left-- > 0)
        (void)greedy_give(&greedy);
    for (uint32_t i = 0; i < n; i++)
        if (is_convex(&guests[i], unit, all))
            sizes[i] = size_at(&guests[i], unit, room.steps[i]);
    return BALLOON_OK;
}
