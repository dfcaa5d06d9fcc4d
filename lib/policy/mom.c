/* oVirt's Memory Overcommitment Manager: doc/balloon.rules of mom. */
#include "policy_p.h"

#define SAMPLE_PERIOD (5 * SECOND)
#define PERIOD        (10 * SECOND)
#define SAMPLES       10u

#define PPM        UINT64_C(1000000)
#define PRESSURE   200000u /* less of the host free than this: shrink */
#define CRITICAL   50000u  /* so little that guests have to swap */
#define GUEST_FREE 200000u /* what a guest would like to have free */

struct average {
    uint64_t value[SAMPLES], sum;
    uint32_t count, next;
};

struct mom {
    balloon_time_t sample_next, next;
    struct average free; /* of the host */
};

struct mom_guest {
    struct average used;
};

static void add(struct average *a, uint64_t value)
{
    a->sum += value - a->value[a->next];
    a->value[a->next] = value;
    a->next = (a->next + 1) % SAMPLES;
    if (a->count < SAMPLES)
        a->count++;
}

static uint64_t average(const struct average *a)
{
    return bl_div(a->sum, a->count);
}

static uint64_t part(uint64_t size, uint64_t ppm)
{
    return bl_mul_div(size, ppm, PPM);
}

/* The size for a guest while that much of the host is free; its own when nothing is to be done. */
static uint64_t size_for(const balloon_guest_view *g, uint64_t used, uint64_t host_free)
{
    uint64_t size, wanted;

    if (host_free >= PRESSURE) {
        if (g->size >= g->max)
            return g->size;
        wanted = bl_max(g->min, used + part(g->size, GUEST_FREE));
        return bl_min(bl_max(part(g->size, PPM * 105 / 100), wanted), g->max);
    }
    /* The guest's free part shrinks with the host's; then it becomes negative. */
    if (host_free > CRITICAL)
        wanted = used + part(g->size, host_free);
    else
        wanted = bl_less(used, part(g->size, CRITICAL - host_free));
    size = bl_max(part(g->size, PPM * 95 / 100), bl_max(g->min, wanted));
    return bl_min(size, g->size);
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct mom *s = state;
    bool sample = bl_due(&s->sample_next, view->now, SAMPLE_PERIOD);
    bool due = bl_due(&s->next, view->now, PERIOD);
    uint64_t host_free;

    if (sample)
        add(&s->free, view->free);
    host_free = view->pool == 0 ? 0 : bl_mul_div(average(&s->free), PPM, view->pool);
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        struct mom_guest *w = g->state;
        uint64_t size, change;

        if (sample && bl_says(g, BALLOON_KNOWS_FREE))
            add(&w->used, bl_less(g->size, g->free));
        if (!bl_movable(g)) {
            bl_keep_fixed(g, &wishes[i]);
            continue;
        }
        if (w->used.count == 0 || !bl_says(g, BALLOON_KNOWS_FREE)) {
            bl_keep(g, &wishes[i], BALLOON_WHY_STALE);
            continue;
        }
        size = size_for(g, average(&w->used), host_free);
        change = bl_less(size, g->size) + bl_less(g->size, size);
        if (!due)
            bl_keep(g, &wishes[i], BALLOON_WHY_HOLD);
        else if (change * 400 <= g->size) /* 0.25 % */
            bl_keep(g, &wishes[i], BALLOON_WHY_DEAD_BAND);
        else
            bl_wish(g, &wishes[i], size,
                    size < g->size ? BALLOON_WHY_HOST_LOW : BALLOON_WHY_DEMAND);
    }
}

const balloon_policy balloon_policy_mom = {
    .size = sizeof(balloon_policy),
    .name = "mom",
    .state_bytes = sizeof(struct mom),
    .guest_bytes = sizeof(struct mom_guest),
    .decide = decide,
};
