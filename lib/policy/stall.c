/* Meta's Senpai: senpai.py of facebookincubator/senpai. */
#include "policy_p.h"

#define TICK     SECOND
#define INTERVAL 6u
#define BUDGET   10000u
#define BUDGETS  20u /* waiting this many times the budget doubles a guest */
#define PARTS    10u /* waiting this part of it, or less, takes a hundredth */

struct stall {
    balloon_time_t next, last;
    uint32_t budget, interval;
};

struct stall_guest {
    balloon_time_t measured; /* up to when waiting was counted */
    uint64_t waited;         /* microseconds since the last change */
    uint32_t grace;          /* seconds before the next probe */
    uint32_t sample;         /* of waiting, that was counted last */
    bool started;
};

static bool init(void *state, const void *knobs)
{
    const balloon_stall_knobs *k = knobs;
    struct stall *s = state;

    s->budget = BUDGET;
    s->interval = INTERVAL;
    if (k == NULL)
        return true;
    if (!bl_sized(k, sizeof(*k)) || k->budget > 1000000000 || k->interval > 3600)
        return false;
    if (k->budget != 0)
        s->budget = k->budget;
    if (k->interval != 0)
        s->interval = k->interval;
    return true;
}

/* a / b, at most 1, squared; with 20 bits behind the point. */
static uint64_t squared(uint64_t a, uint64_t b)
{
    uint64_t q = bl_min(bl_mul_div(a, UINT64_C(1) << 20, b), UINT64_C(1) << 20);

    return q * q >> 20;
}

/* The size after a second more or several. */
static uint64_t next_size(const struct stall *s, struct stall_guest *w, const balloon_guest_view *g,
                          uint64_t seconds)
{
    uint64_t size = g->target;

    if (w->waited > s->budget) {
        size += bl_mul_div(size, squared(w->waited, (uint64_t)s->budget * BUDGETS), 1 << 20);
    } else if (w->grace >= seconds) {
        w->grace -= (uint32_t)seconds;
        return size;
    } else {
        uint64_t part = squared(s->budget, bl_max(w->waited, 1) * PARTS);

        size -= bl_mul_div(size, part, UINT64_C(100) << 20);
    }
    w->waited = 0;
    w->grace = s->interval - 1;
    return size;
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct stall *s = state;
    bool first = s->next == 0, due = bl_due(&s->next, view->now, TICK);
    balloon_time_t passed = first ? 0 : view->now - s->last;
    uint64_t seconds = bl_max(bl_div(bl_sat_add(passed, TICK / 2), SECOND), 1);

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        struct stall_guest *w = g->state;

        if (!w->started) {
            w->started = true;
            w->measured = view->now;
            w->grace = s->interval;
            w->sample = g->stall_sample;
        } else if (bl_measured(&w->sample, g)) {
            uint64_t time = view->now - w->measured;

            w->waited = bl_sat_add(w->waited, bl_mul_div(g->stall, time, SECOND));
            w->measured = view->now;
        }
        if (!bl_movable(g)) {
            bl_keep_fixed(g, &wishes[i]);
        } else if (!bl_says(g, BALLOON_KNOWS_STALL)) {
            bl_keep(g, &wishes[i], BALLOON_WHY_STALE);
        } else if (!due) {
            bl_keep(g, &wishes[i], BALLOON_WHY_HOLD);
        } else {
            uint64_t size = next_size(s, w, g, seconds);

            bl_wish(g, &wishes[i], size,
                    size > g->target ? BALLOON_WHY_PRESSURE : BALLOON_WHY_DEMAND);
        }
    }
    if (due)
        s->last = view->now;
}

const balloon_policy balloon_policy_stall = {
    .size = sizeof(balloon_policy),
    .name = "stall",
    .state_bytes = sizeof(struct stall),
    .guest_bytes = sizeof(struct stall_guest),
    .init = init,
    .decide = decide,
};
