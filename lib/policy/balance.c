/* ChromeOS: BalanceAvailableBalloonPolicy of vm_tools/concierge/balloon_policy.cc in platform2. */
#include "policy_p.h"

#define PERIOD         SECOND
#define GUEST_CRITICAL ((int64_t)(400 * MIB)) /* at first */
#define MARGIN         ((int64_t)(10 * MIB))  /* the host is brought no further below critical */
#define ONE_MIB        ((int64_t)MIB)
#define FULL           95u /* percent of the largest balloon seen */

struct balance {
    balloon_time_t next;
};

struct balance_guest {
    int64_t critical;  /* what it should keep available */
    int64_t available; /* the last time */
    uint64_t largest;  /* balloon */
    uint64_t full;     /* the last time, percent of the largest */
    uint64_t sample;   /* the last time */
    bool started;
};

static bool available_pages(const balloon_guest_view *g, int64_t *available)
{
    if (bl_says(g, (uint32_t)BALLOON_KNOWS_FREE | (uint32_t)BALLOON_KNOWS_CACHES))
        *available = (int64_t)bl_min(bl_sat_add(g->free, g->caches), g->size);
    else if (bl_says(g, BALLOON_KNOWS_AVAILABLE))
        *available = (int64_t)g->available;
    else
        return false;
    return true;
}

/* A guest that lives with less than what was taken for critical shows that it can: twice below,
 * with a balloon that leaves room, and the level is what it had the first time. Statistics that are
 * seen again are not twice. */
static void learn(struct balance_guest *w, const balloon_guest_view *g, int64_t available)
{
    uint64_t balloon = bl_less(g->max, g->size), full;

    if (!w->started) {
        w->started = true;
        w->critical = GUEST_CRITICAL;
        w->available = GUEST_CRITICAL; /* once below is not yet twice */
        w->largest = g->max * 3 / 4;
    }
    w->largest = bl_max(w->largest, balloon);
    if (g->sample == w->sample)
        return;
    w->sample = g->sample;
    full = w->largest == 0 ? 0 : bl_mul_div(balloon, 100, w->largest);
    if (available < w->critical && full < FULL && w->available < w->critical && w->full < FULL)
        w->critical = w->available;
    w->available = available;
    w->full = full;
}

/* Would it change what is above critical by 2 % (the source's "more than 1" of whole percents), or
 * is that next to nothing? */
static bool is_worth_it(int64_t delta, int64_t above)
{
    uint64_t size = (uint64_t)(delta < 0 ? -delta : delta);

    return above < ONE_MIB || bl_div(size * 100, (uint64_t)above) > 1;
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct balance *s = state;
    int64_t host = (int64_t)view->pool - (int64_t)view->used - (int64_t)view->reserve;
    bool due = bl_due(&s->next, view->now, PERIOD);

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        struct balance_guest *w = g->state;
        int64_t available, guest, delta, capped;

        if (!bl_movable(g)) {
            bl_keep_fixed(g, &wishes[i]);
            continue;
        }
        if (!due || !available_pages(g, &available)) {
            bl_keep(g, &wishes[i], due ? BALLOON_WHY_STALE : BALLOON_WHY_HOLD);
            continue;
        }
        learn(w, g, available);
        guest = available - w->critical;
        /* The host is not brought more than the margin below critical. The source bounds the
         * guest's side likewise, but both bounds begin to matter together, when both are short by
         * more than two margins in sum, and then the host's is taken. */
        delta = capped = (guest - host) / 2;
        if (delta < -(host + MARGIN))
            capped = -(host + MARGIN);
        if (!is_worth_it(delta, guest) && !is_worth_it(delta, host)) {
            bl_keep(g, &wishes[i], BALLOON_WHY_DEAD_BAND);
            continue;
        }
        if (capped > (int64_t)g->size)
            capped = (int64_t)g->size;
        bl_wish(g, &wishes[i], (uint64_t)((int64_t)g->size - capped),
                capped > 0 ? BALLOON_WHY_HOST_LOW : BALLOON_WHY_DEMAND);
        /* The next guest sees what this one leaves. */
        host += (int64_t)g->size - (int64_t)wishes[i].target;
    }
}

const balloon_policy balloon_policy_balance = {
    .size = sizeof(balloon_policy),
    .name = "balance",
    .state_bytes = sizeof(struct balance),
    .guest_bytes = sizeof(struct balance_guest),
    .decide = decide,
};
