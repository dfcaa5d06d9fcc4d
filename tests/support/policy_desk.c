#include "policy_desk.h"

#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

static void *get(size_t bytes)
{
    /* Of just that size, so that the sanitizers see every step too far. */
    void *memory = calloc(1, bytes != 0 ? bytes : 1);

    cr_assert_not_null(memory);
    return memory;
}

bool desk_open(struct policy_desk *desk, const balloon_policy *policy, const void *knobs,
               uint32_t guests)
{
    *desk = (struct policy_desk){
        .policy = policy,
        .state = get(policy->state_bytes),
        .guests = get(guests * sizeof(*desk->guests)),
        .wishes = get(guests * sizeof(*desk->wishes)),
    };
    for (uint32_t i = 0; i < guests; i++)
        desk->guests[i] = (balloon_guest_view){
            .state = get(policy->guest_bytes),
            .id = i + 1,
            .size = GIB,
            .target = GIB,
            .max = GIB,
            .shares = 1000,
        };
    desk->view = (balloon_view){
        .size = sizeof(desk->view),
        .pool = guests * GIB,
        .guests = desk->guests,
        .guest_count = guests,
        .scratch = get(guests * (size_t)policy->scratch_words * sizeof(uint64_t)),
    };
    cr_assert_leq(policy->size, sizeof(*policy));
    cr_assert_leq(policy->state_bytes, 4096);
    cr_assert_leq(policy->guest_bytes, 1024);
    cr_assert_leq(policy->scratch_words, 128);
    return policy->init == NULL ? knobs == NULL : policy->init(desk->state, knobs);
}

void desk_close(struct policy_desk *desk)
{
    for (uint32_t i = 0; i < desk->view.guest_count; i++)
        free(desk->guests[i].state);
    free(desk->guests);
    free(desk->wishes);
    free(desk->view.scratch);
    free(desk->state);
}

bool desk_accepts(const balloon_policy *policy, const void *knobs)
{
    struct policy_desk desk;
    bool good = desk_open(&desk, policy, knobs, 0);

    desk_close(&desk);
    return good;
}

void desk_set_size(struct policy_desk *desk, uint32_t guest, uint64_t pages)
{
    desk->guests[guest].size = desk->guests[guest].target = pages;
}

void desk_decide(struct policy_desk *desk, balloon_time_t now)
{
    balloon_view *view = &desk->view;
    size_t scratch = view->guest_count * (size_t)desk->policy->scratch_words * sizeof(uint64_t);

    view->elapsed = now - view->now;
    view->now = now;
    view->used = 0;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        view->used += desk->guests[i].size;
        desk->guests[i].sample += !desk->silent;
        desk->guests[i].stall_sample += !desk->silent && !desk->same_stall;
        desk->wishes[i] = (balloon_wish){.target = desk->guests[i].target};
    }
    view->free = view->used < view->pool ? view->pool - view->used : 0;
    memset(view->scratch, 0xa5, scratch);
    desk->policy->decide(desk->state, view, desk->wishes);
    for (uint32_t i = 0; i < view->guest_count; i++)
        cr_assert_leq(desk->wishes[i].why, (uint32_t)BALLOON_WHY_BUDGET);
}

void desk_follow(struct policy_desk *desk)
{
    for (uint32_t i = 0; i < desk->view.guest_count; i++)
        desk_set_size(desk, i, desk->wishes[i].target);
}

uint64_t desk_wished(const struct policy_desk *desk)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < desk->view.guest_count; i++)
        sum += desk->wishes[i].target;
    return sum;
}

bool desk_is_still(const struct policy_desk *desk)
{
    for (uint32_t i = 0; i < desk->view.guest_count; i++)
        if (desk->wishes[i].target != desk->guests[i].target)
            return false;
    return true;
}

void desk_shuffle(struct policy_desk *desk, struct prng *prng, uint64_t most)
{
    for (uint32_t i = 0; i < desk->view.guest_count; i++) {
        balloon_guest_view *g = &desk->guests[i];

        g->max = 1 + prng_below(prng, most);
        g->min = prng_below(prng, g->max + 1);
        desk_set_size(desk, i, g->min + prng_below(prng, g->max - g->min + 1));
        g->shares = (uint32_t)(1 + prng_below(prng, prng_one_in(prng, 4) ? 10000 : 100));
        g->priority = (uint32_t)prng_below(prng, 5);
        g->known = BALLOON_KNOWS_CURVE - 1;
        g->available = prng_below(prng, g->size + 1);
        g->free = prng_below(prng, g->available + 1);
        g->caches = prng_below(prng, g->size + 1);
        g->committed = prng_below(prng, g->max + 1);
        g->active = prng_below(prng, g->size + 1);
        g->swapped = prng_one_in(prng, 3) ? prng_below(prng, g->size + 1) : 0;
        g->stall = (uint32_t)prng_below(prng, prng_one_in(prng, 3) ? 1000001 : 2000);
    }
}

/* A minute of decisions, in every state of the host. */
static void run(struct policy_desk *desk)
{
    for (balloon_time_t t = 0; t < 60; t++) {
        desk->view.state = (balloon_host_state)(t / 15);
        desk_decide(desk, t * SECOND);
    }
}

static void check_no_guests(const balloon_policy *policy)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, policy, NULL, 0));
    desk.view.pool = GIB;
    run(&desk);
    desk_close(&desk);
}

static void check_fixed_guests(const balloon_policy *policy)
{
    static const uint32_t flags[] = {BALLOON_GUEST_NO_DRIVER, BALLOON_GUEST_PINNED,
                                     BALLOON_GUEST_BOOTING, BALLOON_GUEST_INACTIVE};
    static const balloon_why whys[] = {BALLOON_WHY_NO_DRIVER, BALLOON_WHY_PINNED,
                                       BALLOON_WHY_COOL_DOWN, BALLOON_WHY_INACTIVE};
    struct policy_desk desk;

    cr_assert(desk_open(&desk, policy, NULL, 4));
    desk.view.pool = GIB;
    for (uint32_t i = 0; i < 4; i++) {
        desk.guests[i].flags = flags[i];
        desk.guests[i].known = BALLOON_KNOWS_CURVE - 1;
        desk.guests[i].stall = 500000;
        desk.guests[i].max = 2 * GIB;
    }
    run(&desk);
    cr_assert(desk_is_still(&desk), "%s changes a guest that cannot be changed", policy->name);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(desk.wishes[i].why, (uint32_t)whys[i]);
    desk_close(&desk);
}

static void check_no_range(const balloon_policy *policy)
{
    struct policy_desk desk;

    cr_assert(desk_open(&desk, policy, NULL, 3));
    desk.view.pool = 2 * GIB;
    for (uint32_t i = 0; i < 3; i++) {
        desk.guests[i].min = desk.guests[i].max;
        desk.guests[i].known = BALLOON_KNOWS_CURVE - 1;
        desk.guests[i].stall = (uint32_t)(i * 500000);
    }
    run(&desk);
    cr_assert(desk_is_still(&desk), "%s leaves a range of one size", policy->name);
    desk_close(&desk);
}

static void check_random(const balloon_policy *policy)
{
    uint64_t seed = prng_seed();
    struct prng prng = prng_start(seed, 0x0ed6e5);

    for (int round = 0; round < 200; round++) {
        struct policy_desk desk;
        uint64_t most = UINT64_C(1) << prng_below(&prng, 41);

        cr_assert(desk_open(&desk, policy, NULL, (uint32_t)(1 + prng_below(&prng, 6))));
        for (int t = 0; t < 5; t++) {
            desk_shuffle(&desk, &prng, most);
            desk.view.pool = 1 + prng_below(&prng, 4 * most);
            desk.view.reserve = prng_below(&prng, desk.view.pool);
            desk.view.state = (balloon_host_state)prng_below(&prng, 4);
            for (uint32_t i = 0; i < desk.view.guest_count; i++) {
                balloon_guest_view *g = &desk.guests[i];

                if (prng_one_in(&prng, 3))
                    g->known &= (uint32_t)prng_below(&prng, 128);
                if (prng_one_in(&prng, 3))
                    g->flags = (uint32_t)prng_below(&prng, 64);
            }
            desk_decide(&desk, (balloon_time_t)t * 11 * SECOND);
            for (uint32_t i = 0; i < desk.view.guest_count; i++) {
                const balloon_guest_view *g = &desk.guests[i];
                uint64_t wish = desk.wishes[i].target;

                cr_assert(wish == g->target || (wish >= g->min && wish <= g->max),
                          "%s passes a limit with seed %llu", policy->name,
                          (unsigned long long)seed);
            }
        }
        desk_close(&desk);
    }
}

/* A host of next to nothing, or of all there can be; guests likewise; clocks that jump. */
static void check_extremes(const balloon_policy *policy)
{
    static const uint64_t most = UINT64_C(1) << 40;
    const uint64_t pools[] = {0, 1, GIB, most}, sizes[] = {0, 1, most};
    struct policy_desk desk;

    for (unsigned i = 0; i < 4 * 3 * 3 * 2; i++) {
        cr_assert(desk_open(&desk, policy, NULL, 3));
        desk.view.pool = pools[i % 4];
        desk.view.reserve = i / 36 ? pools[i % 4] : 0;
        for (uint32_t k = 0; k < 3; k++) {
            desk.guests[k].max = most;
            desk.guests[k].min = k == 2 ? most : 0;
            desk.guests[k].known = BALLOON_KNOWS_CURVE - 1;
            desk.guests[k].stall = 1000000;
            desk_set_size(&desk, k, sizes[k ? i / 4 % 3 : i / 12 % 3]);
            desk.guests[k].available = k ? desk.guests[k].size : 0;
            desk.guests[k].free = desk.guests[k].available;
            desk.guests[k].committed = most;
        }
        desk_decide(&desk, i % 5 * (UINT64_MAX / 4));
        run(&desk);
        desk_decide(&desk, UINT64_MAX);
        desk_close(&desk);
    }
}

void desk_check_edges(const balloon_policy *policy)
{
    check_no_guests(policy);
    check_fixed_guests(policy);
    check_no_range(policy);
    check_random(policy);
    check_extremes(policy);
}
