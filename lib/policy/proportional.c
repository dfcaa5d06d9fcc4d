/* XAPI's squeezed: ocaml/squeezed/doc and src/squeeze.ml of xen-api. */
#include "policy_p.h"

#define PERIOD     (10 * SECOND)
#define HOST_FREE  (9 * MIB)   /* 1 MiB for emergencies and 8 MiB for low memory */
#define INACCURACY UINT64_C(1) /* 4 KiB: as near as a balloon comes to its target */

struct proportional {
    balloon_time_t next;
    bool running;
    uint64_t guests, min, max, pages; /* as they were when the last run began */
};

static bool is_there(uint64_t size, uint64_t target)
{
    return bl_less(size, target) + bl_less(target, size) <= INACCURACY;
}

/* Every 10 s, and when there is another question to answer. */
static bool begins(struct proportional *s, const balloon_view *view)
{
    uint64_t min = 0, max = 0, pages = view->pool - view->reserve;
    bool changed;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        min += view->guests[i].min;
        max += view->guests[i].max;
    }
    changed = s->guests != view->guest_count || s->min != min || s->max != max || s->pages != pages;
    s->guests = view->guest_count;
    s->min = min;
    s->max = max;
    s->pages = pages;
    return bl_due(&s->next, view->now, PERIOD) || changed;
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct proportional *s = state;
    uint64_t range = 0, surplus = view->pool;
    bool freeing = false, done = true;

    if (begins(s, view))
        s->running = true;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (bl_movable(g)) {
            range += g->max - g->min;
            surplus += bl_less(g->size, g->min + 2 * INACCURACY);
        }
    }
    surplus = bl_min(bl_less(surplus, view->used + view->reserve + HOST_FREE), range);

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        uint64_t target = g->min;

        if (!s->running || !bl_movable(g))
            continue;
        if (range > 0) /* with no range at all the fraction would be infinite */
            target += bl_mul_div(surplus, g->max - g->min, range);
        wishes[i].target = target;
        if (!is_there(g->size, target)) {
            done = false;
            freeing = freeing || target < g->size;
        }
    }
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        uint64_t target = wishes[i].target;

        if (!bl_movable(g))
            bl_keep_fixed(g, &wishes[i]);
        else if (!s->running || is_there(g->size, target))
            bl_keep(g, &wishes[i], BALLOON_WHY_HOLD);
        else if (freeing && target > g->size)
            bl_keep(g, &wishes[i], BALLOON_WHY_BUDGET);
        else
            bl_wish(g, &wishes[i], target, BALLOON_WHY_SHARE);
    }
    if (done)
        s->running = false;
}

const balloon_policy balloon_policy_proportional = {
    .size = sizeof(balloon_policy),
    .name = "proportional",
    .state_bytes = sizeof(struct proportional),
    .decide = decide,
};
