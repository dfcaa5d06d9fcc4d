#include "policy_p.h"

#include "../core/bits.h"

uint64_t balloon_curve_at(const balloon_curve *curve, uint64_t pages)
{
    const balloon_curve_point *p = curve->points;
    uint32_t low = 0, high = curve->count; /* points below `low` lie at or before pages */

    if (curve->count == 0)
        return 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (p[middle].pages <= pages)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return p[0].misses;
    if (low == curve->count)
        return p[low - 1].misses;
    p += low - 1;
    /* What a page saves is rounded down, so that no size looks better than the straight line. */
    return p[0].misses - bl_mul_div(bl_less(p[0].misses, p[1].misses), pages - p[0].pages,
                                    p[1].pages - p[0].pages);
}

uint32_t bl_curve_hull(const balloon_curve *curve, uint64_t lo, uint64_t hi)
{
    balloon_curve_point corner[BALLOON_CURVE_POINTS_MAX + 1];
    uint32_t bit[BALLOON_CURVE_POINTS_MAX + 1];
    uint32_t hull = 0, corners = 1;
    uint32_t count =
        curve->count < BALLOON_CURVE_POINTS_MAX ? curve->count : (uint32_t)BALLOON_CURVE_POINTS_MAX;

    corner[0] = (balloon_curve_point){lo, balloon_curve_at(curve, lo)};
    bit[0] = 0;
    for (uint32_t i = 0; i <= count; i++) {
        balloon_curve_point next;

        if (i < count)
            next = curve->points[i];
        else
            next = (balloon_curve_point){hi, balloon_curve_at(curve, hi)};
        if (i < count && (next.pages <= lo || next.pages >= hi))
            continue;
        /* A corner stays when the way to it is steeper than the way on. */
        while (corners > 1) {
            const balloon_curve_point *a = &corner[corners - 2], *b = &corner[corners - 1];

            if (bl_mul_compare(a->misses - b->misses, next.pages - b->pages,
                               b->misses - next.misses, b->pages - a->pages) > 0)
                break;
            corners--;
        }
        if (i < count) {
            corner[corners] = next;
            bit[corners++] = UINT32_C(1) << i;
        }
    }
    for (uint32_t i = 1; i < corners; i++)
        hull |= bit[i];
    return hull;
}
