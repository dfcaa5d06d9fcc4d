/* What a policy sees is what a look at everything would see, though the pool looks anew only where
 * something has happened. Two pools are told the same; one forgets what it saw before each
 * decision. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "../../../lib/pool/pool_p.h"
#include "prng.h"

#define GUESTS 12
#define RAM    UINT64_C(100000)

/* Of all that the policy sees. */
struct digest {
    uint64_t value;
};

static void mix(struct digest *d, uint64_t value)
{
    d->value = (d->value ^ value) * UINT64_C(0x100000001b3);
    d->value ^= d->value >> 29;
}

static void watch(void *state, const balloon_view *view, balloon_wish *wishes)
{
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        const uint64_t seen[] = {g->id,
                                 g->size,
                                 g->target,
                                 g->min,
                                 g->max,
                                 g->shares,
                                 g->priority,
                                 g->flags,
                                 g->known,
                                 g->age,
                                 g->sample,
                                 g->available,
                                 g->free,
                                 g->caches,
                                 g->committed,
                                 g->active,
                                 g->swapped,
                                 g->swap_in_rate,
                                 g->stall,
                                 g->stall_sample,
                                 g->growth,
                                 g->curve.count,
                                 *(uint64_t *)g->state};

        for (size_t k = 0; k < sizeof(seen) / sizeof(seen[0]); k++)
            mix(state, seen[k]);
        for (uint32_t k = 0; k < g->curve.count; k++)
            mix(state, g->curve.points[k].pages);
        *(uint64_t *)g->state = g->id; /* its own memory, and nobody else's */
        if ((view->now / SECOND + g->id) % 5 == 0)
            wishes[i] = (balloon_wish){.target = g->min + (g->id * 997 + view->now) % RAM,
                                       .why = BALLOON_WHY_PRESSURE};
    }
}

static const balloon_policy watcher = {.size = sizeof(watcher),
                                       .name = "watcher",
                                       .state_bytes = sizeof(struct digest),
                                       .guest_bytes = sizeof(uint64_t),
                                       .decide = watch};

static balloon_pool *make(void)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = GUESTS,
                                  .pages = GUESTS * RAM,
                                  .stale_after = 4 * SECOND,
                                  .boot_grace = 3 * SECOND,
                                  .policy = &watcher};
    balloon_layout layout;
    balloon_pool *pool = NULL;

    cr_assert_eq(balloon_pool_layout(&config, &layout), BALLOON_OK);
    cr_assert_eq(balloon_pool_init(malloc(layout.bytes), layout.bytes, &config, &pool), BALLOON_OK);
    return pool;
}

static balloon_pool_guest any_guest(struct prng *prng)
{
    return (balloon_pool_guest){.size = sizeof(balloon_pool_guest),
                                .min = prng_below(prng, RAM / 4),
                                .max = RAM - prng_below(prng, RAM / 2),
                                .current = RAM / 2,
                                .shares = (uint32_t)prng_below(prng, 1000),
                                .priority = (uint32_t)prng_below(prng, 3)};
}

static balloon_sample any_sample(struct prng *prng, balloon_time_t now)
{
    balloon_sample sample = {.time = now};

    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, prng_below(prng, RAM) << 12);
    balloon_sample_set(&sample, BALLOON_STAT_FREE, prng_below(prng, RAM) << 12);
    balloon_sample_set(&sample, BALLOON_STAT_STALL_SOME, now / 1000 - now / 1000 % 7777);
    if (prng_one_in(prng, 2))
        balloon_sample_set(&sample, BALLOON_STAT_CACHES, prng_below(prng, RAM) << 12);
    return sample;
}

/* The same status from both. */
#define BOTH(call)                                                                                 \
    do {                                                                                           \
        balloon_pool *p = pools[0];                                                                \
        balloon_status first_ = (call), second_;                                                   \
        p = pools[1];                                                                              \
        second_ = (call);                                                                          \
        cr_assert_eq(first_, second_);                                                             \
    } while (0)

static void happen(balloon_pool **pools, struct prng *prng, balloon_time_t now)
{
    static const balloon_curve_point points[] = {{100, 50}, {200, 20}, {300, 10}};
    balloon_curve curve = {points, (uint32_t)prng_below(prng, 4)};
    uint64_t id = 1 + prng_below(prng, pools[0]->last_id + 1), value = prng_below(prng, RAM);
    balloon_pool_guest guest = any_guest(prng);
    balloon_sample sample = any_sample(prng, now);

    switch (prng_below(prng, 9)) {
    case 0:
        BOTH(balloon_pool_set_active(p, id, value, now));
        break;
    case 1:
        BOTH(balloon_pool_set_curve(p, id, &curve));
        break;
    case 2:
        BOTH(balloon_pool_set_flags(p, id, prng->state >> 40 & BALLOON_POOL_FLAGS, now));
        break;
    case 3:
        BOTH(balloon_pool_set_guest(p, id, &guest));
        break;
    case 4:
        BOTH(balloon_pool_remove(p, id));
        break;
    case 5:
        BOTH(balloon_pool_adopt(p, &guest, now, &(uint64_t){0}));
        break;
    case 6:
        BOTH(balloon_pool_sample(p, id, &sample, now));
        break;
    default:
        BOTH(balloon_pool_set_size(p, id, value, now));
        break;
    }
}

static void compare_changes(balloon_pool **pools, struct prng *prng, uint64_t step)
{
    balloon_change a, b;

    for (uint32_t i = 0; i < 2 * GUESTS; i++) {
        bool more = balloon_pool_next(pools[0], &a);

        cr_assert_eq(more, balloon_pool_next(pools[1], &b), "step %" PRIu64, step);
        if (!more || prng_one_in(prng, 30))
            return;
        cr_assert(a.id == b.id && a.target == b.target && a.why == b.why);
        if (prng_one_in(prng, 10))
            BOTH(balloon_pool_remove(p, 1 + prng->state % pools[0]->last_id));
    }
}

Test(pool_view, is_what_a_look_at_everything_would_see)
{
    struct prng prng = prng_start(prng_seed(), 1);
    balloon_pool *pools[2] = {make(), make()};
    balloon_time_t now = 0;
    uint64_t kept = 0;

    for (uint64_t step = 0; step < 20000; step++) {
        now += prng_below(&prng, prng_one_in(&prng, 8) ? 8 * SECOND : SECOND / 2);
        for (uint64_t i = prng_below(&prng, 4); i > 0; i--)
            happen(pools, &prng, now);
        for (uint32_t i = 0; i < pools[1]->count; i++) {
            kept += guest_at(pools[1], i)->view_until > now;
            guest_at(pools[1], i)->view_until = 0;
        }
        BOTH((balloon_status)balloon_pool_decide(p, now));
        cr_assert_eq(((struct digest *)pools[0]->state)->value,
                     ((struct digest *)pools[1]->state)->value,
                     "BALLOON_SEED=%" PRIu64 " step %" PRIu64, prng_seed(), step);
        compare_changes(pools, &prng, step);
    }
    cr_assert_gt(kept, 20000);
    free(pools[0]);
    free(pools[1]);
}

/* All that has a target which it was not told is told, whoever came and went in between. */
Test(pool_view, nobody_is_left_untold)
{
    struct prng prng = prng_start(prng_seed(), 2);
    balloon_pool *p = make();
    balloon_time_t now = 0;

    for (uint64_t step = 0; step < 20000; step++) {
        balloon_pool_guest guest = any_guest(&prng), other = any_guest(&prng);
        balloon_change change;

        now += prng_below(&prng, SECOND);
        balloon_pool_decide(p, now);
        guest.current = prng_below(&prng, 2 * RAM);
        (void)!balloon_pool_adopt(p, &guest, now, &(uint64_t){0});
        (void)!balloon_pool_set_guest(p, 1 + prng_below(&prng, p->last_id), &other);
        for (uint32_t told = 0; balloon_pool_next(p, &change); told++) {
            cr_assert_lt(told, 4 * GUESTS);
            if (prng_one_in(&prng, 4))
                (void)!balloon_pool_remove(p, 1 + prng_below(&prng, p->last_id));
        }
        for (uint32_t i = 0; i < p->count; i++)
            cr_assert_eq(guest_at(p, i)->told, guest_at(p, i)->target, "step %" PRIu64, step);
    }
    free(p);
}
