/* The optimum when sizes change only so fast: dynamic programming over time. One guest, or two on a
 * grid of both sizes, exactly; more by a price of memory that stands in for the budget. */
#include <balloon/optimum.h>

#include "../core/wide.h"
#include "optimum_p.h"

#define ROUNDS 8

static const balloon_optimum_guest *guest_of(const balloon_optimum_path *path, uint32_t phase,
                                             uint32_t guest)
{
    return &path->guests[(size_t)phase * path->count + guest];
}

static uint64_t budget_units(const balloon_optimum_path *path)
{
    uint64_t least = 0;

    for (uint32_t i = 0; i < path->count; i++)
        least += guest_of(path, 0, i)->min;
    return least < path->budget ? bl_div(path->budget - least, path->unit) : 0;
}

/* How many sizes a guest can have: those above its min, in units, that the budget allows. */
static uint64_t sizes_of(const balloon_optimum_path *path, uint32_t guest)
{
    uint64_t own = bl_optimum_steps(guest_of(path, 0, guest), path->unit);
    uint64_t all = budget_units(path);

    return (own < all ? own : all) + 1;
}

static uint64_t states_of(const balloon_optimum_path *path)
{
    uint64_t states = 0;

    if (path->count == 2)
        return bl_mul(sizes_of(path, 0), sizes_of(path, 1)).high
                   ? UINT64_MAX
                   : sizes_of(path, 0) * sizes_of(path, 1);
    for (uint32_t i = 0; i < path->count; i++)
        if (sizes_of(path, i) > states)
            states = sizes_of(path, i);
    return states;
}

static bool path_valid(const balloon_optimum_path *path)
{
    if (!path->unit || !path->phases || !path->count)
        return false;
    for (uint32_t k = 0; k < path->phases; k++)
        for (uint32_t i = 0; i < path->count; i++) {
            const balloon_optimum_guest *g = guest_of(path, k, i), *first = guest_of(path, 0, i);

            if (!bl_optimum_guest_valid(g) || g->min != first->min || g->max != first->max)
                return false;
        }
    return true;
}

/* Scratch: costs of all states, the same of the step before, a queue of the sliding minimum; two
 * prices a phase. */
size_t balloon_optimum_paced_bytes(const balloon_optimum_path *path)
{
    if (!path_valid(path) || states_of(path) > (SIZE_MAX >> 8) - path->phases)
        return SIZE_MAX;
    return ((size_t)states_of(path) * 3 + (size_t)path->phases * 2) * sizeof(uint64_t);
}

/* to[i] = least of from[i - grow .. i + shrink], for count values that lie stride apart. The queue
 * holds the indices that can still be the least of a later window, their values rising. */
static void window_min(const uint64_t *from, uint64_t *to, size_t count, size_t stride,
                       uint64_t grow, uint64_t shrink, uint64_t *queue)
{
    size_t head = 0, tail = 0, seen = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t last = shrink > count - 1 - i ? count - 1 : i + shrink;

        for (; seen <= last; seen++) {
            while (tail > head && from[queue[tail - 1] * stride] >= from[seen * stride])
                tail--;
            queue[tail++] = seen;
        }
        while (queue[head] + grow < i)
            head++;
        to[i * stride] = from[queue[head] * stride];
    }
}

/* Least cost of a guest alone over all steps, where a unit costs price[phase] a step. */
static uint64_t alone(const balloon_optimum_path *path, uint32_t guest, const uint64_t *price,
                      uint64_t *cost, uint64_t *next, uint64_t *queue)
{
    size_t sizes = (size_t)sizes_of(path, guest);
    uint64_t best = UINT64_MAX;

    for (size_t p = 0; p < sizes; p++)
        cost[p] = 0;
    for (uint32_t k = 0; k < path->phases; k++)
        for (uint32_t step = 0; step < path->steps[k]; step++) {
            window_min(cost, next, sizes, 1, path->grow, path->shrink, queue);
            for (size_t p = 0; p < sizes; p++)
                cost[p] = next[p] + bl_optimum_cost(guest_of(path, k, guest), path->unit, p) +
                          price[k] * p;
        }
    for (size_t p = 0; p < sizes; p++)
        best = cost[p] < best ? cost[p] : best;
    return best;
}

static uint64_t together(const balloon_optimum_path *path, uint64_t *cost, uint64_t *next,
                         uint64_t *queue)
{
    size_t a = (size_t)sizes_of(path, 0), b = (size_t)sizes_of(path, 1);
    uint64_t units = budget_units(path), best = UINT64_MAX;

    for (size_t i = 0; i < a * b; i++)
        cost[i] = 0;
    for (uint32_t k = 0; k < path->phases; k++)
        for (uint32_t step = 0; step < path->steps[k]; step++) {
            /* The least over a rectangle: along one side, then along the other. */
            for (size_t p = 0; p < a; p++)
                window_min(cost + p * b, next + p * b, b, 1, path->grow, path->shrink, queue);
            for (size_t q = 0; q < b; q++)
                window_min(next + q, cost + q, a, b, path->grow, path->shrink, queue);
            for (size_t p = 0; p < a; p++)
                for (size_t q = 0; q < b; q++) {
                    uint64_t *c = &cost[p * b + q];

                    if (p + q > units)
                        *c = UINT64_MAX / 2;
                    else
                        *c += bl_optimum_cost(guest_of(path, k, 0), path->unit, p) +
                              bl_optimum_cost(guest_of(path, k, 1), path->unit, q);
                }
        }
    for (size_t i = 0; i < a * b; i++)
        best = cost[i] < best ? cost[i] : best;
    return best;
}

/* Units that all guests want in a phase when a unit costs so much and balloons are fast. */
static uint64_t wanted(const balloon_optimum_path *path, uint32_t phase, uint64_t price)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < path->count; i++) {
        const balloon_optimum_guest *g = guest_of(path, phase, i);
        uint64_t best = UINT64_MAX, at = 0, sizes = sizes_of(path, i);

        for (uint64_t p = 0; p < sizes; p++) {
            uint64_t cost = bl_optimum_cost(g, path->unit, p) + price * p;

            if (cost < best) {
                best = cost;
                at = p;
            }
        }
        sum += at;
    }
    return sum;
}

/* The price at which what is wanted in a phase fits into the budget. */
static uint64_t price_of(const balloon_optimum_path *path, uint32_t phase, uint64_t most)
{
    uint64_t low = 0, high = most, units = budget_units(path);

    if (wanted(path, phase, 0) <= units)
        return 0;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (wanted(path, phase, middle) > units)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* Prices are bounds at any height. These are tried: those of fast balloons in shares of ROUNDS,
 * since slow balloons cannot use memory as well, which makes it cheaper. */
static uint64_t bound(const balloon_optimum_path *path, uint64_t *cost, uint64_t *next,
                      uint64_t *queue, uint64_t *fast, uint64_t *price)
{
    uint64_t units = budget_units(path), best = 0;
    /* A sum of prices may not pass 64 bits. */
    uint64_t most = bl_div(UINT64_C(1) << 50, states_of(path));

    for (uint32_t k = 0; k < path->phases; k++)
        fast[k] = price_of(path, k, most);
    for (uint64_t share = 0; share <= ROUNDS; share++) {
        uint64_t sum = 0, paid = 0;

        for (uint32_t k = 0; k < path->phases; k++) {
            price[k] = fast[k] / ROUNDS * share;
            paid += price[k] * units * path->steps[k];
        }
        for (uint32_t i = 0; i < path->count; i++)
            sum += alone(path, i, price, cost, next, queue);
        if (sum > paid && sum - paid > best)
            best = sum - paid;
    }
    return best;
}

balloon_status balloon_optimum_paced(const balloon_optimum_path *path, void *scratch, size_t bytes,
                                     uint64_t *cost, bool *exact)
{
    uint64_t least = 0;
    size_t needed = balloon_optimum_paced_bytes(path);

    if (needed == SIZE_MAX)
        return BALLOON_ERR_INVALID;
    for (uint32_t i = 0; i < path->count; i++) {
        if (guest_of(path, 0, i)->min > path->budget - least)
            return BALLOON_ERR_RANGE;
        least += guest_of(path, 0, i)->min;
    }
    if (bytes < needed)
        return BALLOON_ERR_NOSPACE;

    size_t states = (size_t)states_of(path);
    uint64_t *now = scratch, *next = now + states, *queue = next + states;
    uint64_t *fast = queue + states, *price = fast + path->phases;

    if (path->count == 2)
        *cost = together(path, now, next, queue);
    else
        *cost = bound(path, now, next, queue, fast, price);
    if (exact)
        *exact = path->count <= 2;
    return BALLOON_OK;
}
