/* Hyper-V's Dynamic Memory, as far as it is published: demand is what is committed, a buffer lies
 * on top of it, and a weight decides when memory is short. */
#include "policy_p.h"

#define BUFFER 20u           /* percent */
#define BLOCK  UINT64_C(512) /* Linux' driver for Hyper-V inflates by 2 MiB */
#define ALL    (UINT64_C(1) << 40)

struct buffer {
    uint64_t level;
    uint32_t percent;
};

static bool init(void *state, const void *knobs)
{
    const balloon_buffer_knobs *k = knobs;
    struct buffer *s = state;

    s->percent = BUFFER;
    if (k == NULL)
        return true;
    if (!bl_sized(k, sizeof(*k)) || (k->buffer != 0 && (k->buffer < 5 || k->buffer > 2000)))
        return false;
    if (k->buffer != 0)
        s->percent = k->buffer;
    return true;
}

static bool demand_of(const balloon_guest_view *g, uint64_t *demand)
{
    if (bl_says(g, BALLOON_KNOWS_COMMITTED))
        *demand = bl_min(g->committed, ALL);
    else if (bl_says(g, BALLOON_KNOWS_AVAILABLE))
        *demand = bl_less(g->size, g->available);
    else
        return false;
    return true;
}

static uint64_t with_buffer(const struct buffer *s, const balloon_guest_view *g, uint64_t demand)
{
    uint64_t size = bl_mul_div(demand, 100 + s->percent, 100);

    return bl_clamp((size + BLOCK - 1) & ~(BLOCK - 1), g->min, g->max);
}

/* Sizes for the vessels, which have the demand in hi and the demand with a buffer in got. */
static void divide(struct buffer *s, bl_vessel *vessels, uint32_t count, uint64_t budget)
{
    uint64_t least = 0, most = 0;

    for (uint32_t i = 0; i < count; i++) {
        least += vessels[i].hi;
        most += vessels[i].got;
    }
    if (most <= budget)
        return;
    if (least > budget) {
        bl_level_fill(vessels, count, 0, budget, &s->level);
    } else {
        for (uint32_t i = 0; i < count; i++)
            vessels[i].got = vessels[i].hi + bl_mul_div(vessels[i].got - vessels[i].hi,
                                                        budget - least, most - least);
    }
    for (uint32_t i = 0; i < count; i++)
        vessels[i].got &= ~(BLOCK - 1);
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct buffer *s = state;
    bl_vessel *vessels = (bl_vessel *)(void *)view->scratch;
    uint64_t budget = bl_less(view->pool, view->reserve);
    uint32_t count = 0;

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        uint64_t demand;

        if (bl_movable(g) && demand_of(g, &demand)) {
            vessels[count++] = (bl_vessel){
                .lo = g->min,
                .hi = bl_clamp(demand, g->min, g->max),
                .got = with_buffer(s, g, demand),
                .claim = g->shares << 8,
                .guest = i,
            };
            continue;
        }
        budget = bl_less(budget, bl_held(g));
        if (bl_movable(g))
            bl_keep(g, &wishes[i], BALLOON_WHY_STALE);
        else
            bl_keep_fixed(g, &wishes[i]);
    }
    divide(s, vessels, count, budget);
    for (uint32_t i = 0; i < count; i++)
        bl_wish(&view->guests[vessels[i].guest], &wishes[vessels[i].guest], vessels[i].got,
                BALLOON_WHY_DEMAND);
}

const balloon_policy balloon_policy_buffer = {
    .size = sizeof(balloon_policy),
    .name = "buffer",
    .state_bytes = sizeof(struct buffer),
    .scratch_words = BL_VESSEL_WORDS,
    .init = init,
    .decide = decide,
};
