/* VMware ESX: shares with an idle memory tax (Waldspurger, "Memory Resource Management in VMware
 * ESX Server", OSDI 2002, sections 5 and 6). */
#include "policy_p.h"

#define PERIOD      (30 * SECOND)
#define TAX         192u /* 75 % */
#define SLOW_PART   8    /* the gains of the averages are not published */
#define FAST_PART   2
#define CLAIM_SHIFT 8

struct shares {
    uint64_t level;
    uint32_t tax;
};

struct shares_guest {
    uint64_t slow, fast; /* working sets in pages, 8 bits behind the point */
    balloon_time_t next; /* when the running period ends; 0 before there was one */
};

static bool init(void *state, const void *knobs)
{
    const balloon_shares_knobs *k = knobs;
    struct shares *s = state;

    s->tax = TAX;
    if (k == NULL)
        return true;
    if (!bl_sized(k, sizeof(*k)) || (k->tax > BL_TAX_MAX && k->tax != BALLOON_KNOB_OFF))
        return false;
    if (k->tax != 0)
        s->tax = k->tax == BALLOON_KNOB_OFF ? 0 : k->tax;
    return true;
}

/* The largest of three averages, so that it rises fast and falls slowly. */
static uint64_t working_set(struct shares_guest *s, const balloon_guest_view *g, balloon_time_t now)
{
    uint64_t active, running;

    if (bl_knows(g, BALLOON_KNOWS_ACTIVE))
        active = g->active;
    else if (bl_says(g, BALLOON_KNOWS_AVAILABLE))
        active = bl_less(g->size, g->available);
    else if (s->next != 0)
        return bl_max(s->slow, s->fast) >> 8;
    else
        return g->max; /* nothing can be called idle */
    active = bl_min(active, g->max);

    if (s->next == 0) {
        s->slow = s->fast = active << 8;
        bl_due(&s->next, now, PERIOD);
    } else if (bl_due(&s->next, now, PERIOD)) {
        s->slow = bl_average(s->slow, active, SLOW_PART);
        s->fast = bl_average(s->fast, active, FAST_PART);
    }
    running = bl_average(s->fast, active, FAST_PART);
    return bl_max(bl_max(s->slow, s->fast), running) >> 8;
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct shares *s = state;
    bl_vessel *vessels = (bl_vessel *)(void *)view->scratch;
    uint64_t budget = bl_less(view->pool, view->reserve);
    uint32_t count = 0;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (!bl_movable(g)) {
            bl_keep_fixed(g, &wishes[i]);
            budget = bl_less(budget, bl_held(g));
            continue;
        }
        vessels[count++] = (bl_vessel){
            .active = working_set(g->state, g, view->now),
            .lo = g->min,
            .hi = g->max,
            .claim = g->shares << CLAIM_SHIFT,
            .guest = i,
        };
    }
    bl_level_fill(vessels, count, s->tax, budget, &s->level);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t guest = vessels[i].guest;
        const balloon_guest_view *g = &view->guests[guest];

        /* Enough memory is free: whoever needs more takes from that first. */
        if (view->state == BALLOON_HOST_HIGH && vessels[i].got < g->target)
            bl_keep(g, &wishes[guest], BALLOON_WHY_HOLD);
        else
            bl_wish(g, &wishes[guest], vessels[i].got, BALLOON_WHY_SHARE);
    }
}

const balloon_policy balloon_policy_shares = {
    .size = sizeof(balloon_policy),
    .name = "shares",
    .state_bytes = sizeof(struct shares),
    .guest_bytes = sizeof(struct shares_guest),
    .scratch_words = BL_VESSEL_WORDS,
    .init = init,
    .decide = decide,
};
