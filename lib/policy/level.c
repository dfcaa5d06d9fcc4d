/* Idle-taxed shares in closed form. Taking pages one by one from whoever pays least for them ends
 * where all pay the same; with x as the inverse of that price each guest's size follows from x
 * alone, and rises with it, so x can be searched for. */
#include "policy_p.h"

/* x counts pages a share, with 20 bits behind the point: 12 and those of a claim. */
#define SHIFT     20
#define LEVEL_MAX (UINT64_C(1) << 56)
#define SHARE_MAX (UINT64_C(1) << 44) /* the largest guest, taxed most, needs less */

/* Below it a level times a claim is a number of 64 bits, and a share is below SHARE_MAX. */
#define LEVEL_SMALL (UINT64_C(1) << 36)

/* How often the next level to look at is guessed from the slope. Two or three times is usual. */
#define GUESSES 12
#define SLOPES  2 /* of these, with the slope where they are: the rest is close by */

static uint64_t share_at(const bl_vessel *v, uint64_t level)
{
    if (level >= LEVEL_SMALL) {
        uint64_t whole = (level >> SHIFT) * v->claim;
        uint64_t part = (level & ((UINT64_C(1) << SHIFT) - 1)) * v->claim >> SHIFT;

        return bl_min(whole + part, SHARE_MAX);
    }
    return level * v->claim >> SHIFT;
}

static uint64_t size_at(const bl_vessel *v, uint32_t tax, uint64_t level)
{
    uint64_t share = share_at(v, level);
    uint64_t taxed = (tax * v->active + (256 - tax) * share) >> 8;

    return bl_clamp(bl_min(share, taxed), v->lo, v->hi);
}

static uint64_t sum_at(const bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t level)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < count; i++)
        sum += size_at(&vessels[i], tax, level);
    return sum;
}

/* The same, and how fast it rises there: pages for 2^SHIFT of level, taxed by 0 and by tax. */
static uint64_t slope_at(const bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t level,
                         uint64_t *slope)
{
    uint64_t sum = 0, free = 0, taxed_too = 0;

    for (uint32_t i = 0; i < count; i++) {
        const bl_vessel *v = &vessels[i];
        uint64_t share = share_at(v, level);
        uint64_t taxed = (tax * v->active + (256 - tax) * share) >> 8;
        uint64_t size = bl_min(share, taxed);
        uint64_t claim = size > v->lo && size < v->hi ? v->claim : 0;

        free += share <= taxed ? claim : 0;
        taxed_too += claim;
        sum += bl_clamp(size, v->lo, v->hi);
    }
    *slope = free + ((256 - tax) * (taxed_too - free) >> 8);
    return sum;
}

/* Levels between which it is: sum_at(low) <= budget < sum_at(high). */
struct bracket {
    uint64_t low, high;
};

/* Sizes are straight lines between a few corners, so the slope leads there at once when no corner
 * is in between. */
static void guess(const bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget,
                  uint64_t at, struct bracket *b)
{
    uint64_t slope = 0;

    for (int i = 0; i < GUESSES && b->high - b->low > 1; i++) {
        uint64_t sum = i < SLOPES ? slope_at(vessels, count, tax, at, &slope)
                                  : sum_at(vessels, count, tax, at);
        uint64_t step;

        *(sum <= budget ? &b->low : &b->high) = at;
        if (slope == 0)
            break;
        step = bl_mul_div(sum <= budget ? budget - sum : sum - budget, UINT64_C(1) << SHIFT, slope);
        step = bl_clamp(step, 1, LEVEL_MAX);
        at = bl_clamp(sum <= budget ? at + step : bl_less(at, step), b->low + 1, b->high - 1);
    }
}

/* The highest level with a sum within the budget, when that is neither 0 nor LEVEL_MAX. Where
 * guesses do not find it, goes up from what they found in steps that grow, and halves what is left.
 */
static uint64_t find(const bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget,
                     uint64_t from)
{
    struct bracket b = {0, LEVEL_MAX};
    uint64_t step = 1;

    guess(vessels, count, tax, budget, bl_clamp(from, 1, LEVEL_MAX - 1), &b);
    while (b.high - b.low > 1) {
        uint64_t at = b.low + bl_min(step, (b.high - b.low) / 2);

        *(sum_at(vessels, count, tax, at) <= budget ? &b.low : &b.high) = at;
        step = bl_min(4 * step, LEVEL_MAX);
    }
    return b.low;
}

void bl_level_fill(bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget,
                   uint64_t *level)
{
    uint64_t claims = 0, empty = 0, full = 0, rest;

    if (count == 0)
        return;
    for (uint32_t i = 0; i < count; i++) {
        claims += vessels[i].claim;
        empty += vessels[i].lo;
        full += vessels[i].hi;
    }
    if (full <= budget) {
        for (uint32_t i = 0; i < count; i++)
            vessels[i].got = vessels[i].hi;
        return;
    }
    if (empty >= budget) {
        for (uint32_t i = 0; i < count; i++)
            vessels[i].got = vessels[i].lo;
        return;
    }
    if (*level == 0)
        *level = bl_mul_div(budget, UINT64_C(1) << SHIFT, claims);
    *level = find(vessels, count, tax, budget, *level);

    rest = budget;
    for (uint32_t i = 0; i < count; i++) {
        vessels[i].got = size_at(&vessels[i], tax, *level);
        rest -= vessels[i].got;
    }
    for (uint32_t i = 0; i < count && rest > 0; i++) {
        uint64_t more = bl_min(rest, size_at(&vessels[i], tax, *level + 1) - vessels[i].got);

        vessels[i].got += more;
        rest -= more;
    }
}
