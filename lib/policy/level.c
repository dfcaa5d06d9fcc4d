/* Idle-taxed shares in closed form. Taking pages one by one from whoever pays least for them ends
 * where all pay the same; with x as the inverse of that price each guest's size follows from x
 * alone, and rises with it, so x can be searched for. */
#include "policy_p.h"

#define SHIFT                                                                                      \
    20 /* x counts pages a share, with 20 bits behind the point: 12 and those of a claim */
#define LEVEL_MAX (UINT64_C(1) << 56)
#define SHARE_MAX (UINT64_C(1) << 44) /* the largest guest, taxed most, needs less */

static uint64_t size_at(const bl_vessel *v, uint32_t tax, uint64_t level)
{
    uint64_t whole = (level >> SHIFT) * v->claim;
    uint64_t part = (level & ((UINT64_C(1) << SHIFT) - 1)) * v->claim >> SHIFT;
    uint64_t share = bl_min(whole + part, SHARE_MAX);
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

/* The highest level with a sum within the budget, when that is neither 0 nor LEVEL_MAX. Looks
 * around `from` in steps that grow, then halves: few sums when little has changed. */
static uint64_t find(const bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget,
                     uint64_t from)
{
    uint64_t low, high, step = 1;

    low = high = bl_clamp(from, 1, LEVEL_MAX - 1);
    if (sum_at(vessels, count, tax, low) <= budget) {
        for (;; step *= 4) {
            high = bl_min(low + step, LEVEL_MAX);
            if (high == LEVEL_MAX || sum_at(vessels, count, tax, high) > budget)
                break;
            low = high;
        }
    } else {
        for (;; step *= 4) {
            low = bl_less(high, step);
            if (low == 0 || sum_at(vessels, count, tax, low) <= budget)
                break;
            high = low;
        }
    }
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (sum_at(vessels, count, tax, middle) <= budget)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void bl_level_fill(bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget,
                   uint64_t *level)
{
    uint64_t claims = 0, rest;

    if (count == 0)
        return;
    if (sum_at(vessels, count, tax, LEVEL_MAX) <= budget) {
        for (uint32_t i = 0; i < count; i++)
            vessels[i].got = vessels[i].hi;
        return;
    }
    if (sum_at(vessels, count, tax, 0) >= budget) {
        for (uint32_t i = 0; i < count; i++)
            vessels[i].got = vessels[i].lo;
        return;
    }
    if (*level == 0) {
        for (uint32_t i = 0; i < count; i++)
            claims += vessels[i].claim;
        *level = bl_mul_div(budget, UINT64_C(1) << SHIFT, claims);
    }
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
