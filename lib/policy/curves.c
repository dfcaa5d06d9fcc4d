/* Miss-ratio curves: Zhao and Wang, "Dynamic Memory Balancing for Virtual Machines", VEE 2009. The
 * search is the greedy choice on lower convex hulls. */
#include "policy_p.h"

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    bl_slope *slopes = (bl_slope *)(void *)view->scratch;
    bl_steep *heap = (bl_steep *)(void *)(slopes + view->guest_count);
    uint64_t budget = bl_less(view->pool, view->reserve);
    uint32_t count = 0;

    (void)state;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (bl_movable(g) && bl_knows(g, BALLOON_KNOWS_CURVE)) {
            slopes[count++] = (bl_slope){
                .curve = g->curve,
                .lo = g->min,
                .hi = g->max,
                .weight = g->shares,
                .guest = i,
            };
            continue;
        }
        budget = bl_less(budget, bl_held(g));
        if (bl_movable(g))
            bl_keep(g, &wishes[i], BALLOON_WHY_HOLD);
        else
            bl_keep_fixed(g, &wishes[i]);
    }
    bl_hull_fill(slopes, heap, count, budget);
    for (uint32_t i = 0; i < count; i++)
        bl_wish(&view->guests[slopes[i].guest], &wishes[slopes[i].guest], slopes[i].got,
                BALLOON_WHY_DEMAND);
}

const balloon_policy balloon_policy_curves = {
    .size = sizeof(balloon_policy),
    .name = "curves",
    .scratch_words = BL_SLOPE_WORDS,
    .decide = decide,
};
