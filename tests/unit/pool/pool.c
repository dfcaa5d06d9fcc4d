/* A pool's memory, and guests that come, change and go. What they say is in pool_sample.c, what is
 * decided in pool_decide.c and pool_ledger.c, whether they follow in pool_live.c. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "pool_rig.h"

#define POOL UINT64_C(1600000)

static void make(void)
{
    pool_rig_make(POOL, NULL);
}

TestSuite(pool, .init = make, .fini = pool_rig_drop);

/* --- memory ----------------------------------------------------------------------------------- */

static void nothing(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    (void)view;
    (void)wishes;
}

static bool knobs_of_7(void *state, const void *knobs)
{
    if (!knobs || *(const int *)knobs != 7)
        return false;
    *(int *)state += 1;
    return true;
}

Test(pool, config_limits)
{
    const balloon_policy good = {.size = sizeof(good), .name = "p", .decide = nothing};
    balloon_policy old = good, idle = good, state = good, guest = good, scratch = good, full = good,
                   init = good;
    int seven = 7;
    balloon_layout layout;

    old.size--;
    idle.decide = NULL;
    state.state_bytes = 4097;
    guest.guest_bytes = 1025;
    scratch.scratch_words = 129;
    full.state_bytes = 4096;
    full.guest_bytes = 1024;
    full.scratch_words = 128;
    init.init = knobs_of_7;
    init.state_bytes = sizeof(int);
    const balloon_pool_config base = {
        .size = sizeof(base), .max_guests = 1, .pages = 100, .policy = &good};
#define CONFIG(field, value, wanted)                                                               \
    do {                                                                                           \
        balloon_pool_config config_ = base;                                                        \
        config_.field = (value);                                                                   \
        cr_assert_eq(balloon_pool_layout(&config_, &layout), wanted, "%s = %s", #field, #value);   \
    } while (0)
    CONFIG(pages, 1, BALLOON_OK);
    CONFIG(pages, UINT64_C(1) << 40, BALLOON_OK);
    CONFIG(pages, (UINT64_C(1) << 40) + 1, BALLOON_ERR_INVALID);
    CONFIG(pages, 0, BALLOON_ERR_INVALID);
    CONFIG(reserve, 99, BALLOON_OK);
    CONFIG(reserve, 100, BALLOON_ERR_INVALID);
    CONFIG(max_guests, 0, BALLOON_ERR_INVALID);
    CONFIG(max_guests, 100000, BALLOON_OK);
    CONFIG(max_guests, 100001, BALLOON_ERR_INVALID);
    CONFIG(size, sizeof(base) - 1, BALLOON_ERR_INVALID);
    CONFIG(policy, NULL, BALLOON_ERR_INVALID);
    CONFIG(policy, &old, BALLOON_ERR_INVALID);
    CONFIG(policy, &idle, BALLOON_ERR_INVALID);
    CONFIG(policy, &state, BALLOON_ERR_INVALID);
    CONFIG(policy, &guest, BALLOON_ERR_INVALID);
    CONFIG(policy, &scratch, BALLOON_ERR_INVALID);
    CONFIG(policy, &full, BALLOON_OK);
    CONFIG(policy, &init, BALLOON_OK);
    CONFIG(knobs, &seven, BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_layout(NULL, &layout), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_layout(&base, NULL), BALLOON_ERR_INVALID);
}

Test(pool, init_errors)
{
    const balloon_policy policy = {.size = sizeof(policy),
                                   .name = "p",
                                   .state_bytes = sizeof(int),
                                   .init = knobs_of_7,
                                   .decide = nothing};
    int knob = 7;
    balloon_pool_config config = {
        .size = sizeof(config), .max_guests = 3, .pages = 1000, .policy = &policy, .knobs = &knob};
    balloon_pool_config none = {0};
    balloon_pool *made = NULL;
    balloon_layout layout;

    cr_assert_eq(balloon_pool_layout(&config, &layout), BALLOON_OK);
    char *memory = aligned_alloc(layout.align, (layout.bytes / layout.align + 2) * layout.align);

    cr_assert_eq(balloon_pool_init(memory, layout.bytes - 1, &config, &made), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_pool_init(memory + 1, layout.bytes, &config, &made), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_init(NULL, layout.bytes, &config, &made), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, NULL, &made), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &none, &made), BALLOON_ERR_INVALID);
    knob = 8;
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, &made), BALLOON_ERR_INVALID);
    config.knobs = NULL;
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, &made), BALLOON_ERR_INVALID);
    cr_assert_null(made);
    knob = 7;
    config.knobs = &knob;
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, &made), BALLOON_OK);
    cr_assert(balloon_pool_check(made, NULL));
    free(memory);
}

static uint64_t sum_of_states;

/* Counts its decisions in the pool's state and in each guest's, and fills all of its scratch. */
static void counting(void *state, const balloon_view *view, balloon_wish *wishes)
{
    uint64_t *all = state;

    (void)wishes;
    *all += 1;
    sum_of_states = *all * 1000;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        unsigned char *own = view->guests[i].state;

        cr_assert_eq((uintptr_t)own % _Alignof(max_align_t), 0);
        own[16]++;
        sum_of_states += own[16];
    }
    memset(view->scratch, 0xff, view->guest_count * 3 * sizeof(uint64_t));
}

Test(pool, keeps_a_policys_memory_apart)
{
    const balloon_policy policy = {.size = sizeof(policy),
                                   .name = "p",
                                   .state_bytes = sizeof(uint64_t),
                                   .guest_bytes = 17,
                                   .scratch_words = 3,
                                   .decide = counting};
    balloon_pool_config config = {
        .size = sizeof(config), .max_guests = 2, .pages = 1000, .policy = &policy};
    balloon_pool_guest guest = {.size = sizeof(guest), .max = 10};
    balloon_pool *made;
    balloon_layout layout;
    uint64_t id[3];

    cr_assert_eq(balloon_pool_layout(&config, &layout), BALLOON_OK);
    /* To the byte, for the sanitizer to watch the end. */
    void *memory = aligned_alloc(layout.align, layout.bytes);

    memset(memory, 0xa5, layout.bytes);
    cr_assert_eq(balloon_pool_init(memory, layout.bytes, &config, &made), BALLOON_OK);
    cr_assert_eq(balloon_pool_add(made, &guest, 0, &id[0]), BALLOON_OK);
    cr_assert_eq(balloon_pool_decide(made, 1), BALLOON_VERDICT_OK);
    cr_assert_eq(sum_of_states, 1001);
    cr_assert_eq(balloon_pool_add(made, &guest, 0, &id[1]), BALLOON_OK);
    cr_assert_eq(balloon_pool_decide(made, 2), BALLOON_VERDICT_OK);
    cr_assert_eq(sum_of_states, 2003);
    /* A new guest in an old place begins with zeros. */
    cr_assert_eq(balloon_pool_remove(made, id[0]), BALLOON_OK);
    cr_assert_eq(balloon_pool_add(made, &guest, 0, &id[2]), BALLOON_OK);
    cr_assert_eq(balloon_pool_decide(made, 3), BALLOON_VERDICT_OK);
    cr_assert_eq(sum_of_states, 3003);
    cr_assert(balloon_pool_check(made, NULL));
    free(memory);
}

Test(pool, starts_with_defaults)
{
    balloon_pool_status status = pool_rig_status();

    cr_assert_eq(status.pages, POOL);
    cr_assert_eq(status.reserve, POOL / 16);
    cr_assert_eq(status.reserved, 0);
    cr_assert_eq(status.budget, POOL - POOL / 32);
    cr_assert_eq(status.used, 0);
    cr_assert_eq(status.committed, 0);
    cr_assert_eq(status.guests, 0);
    cr_assert_eq(pool_rig_decide(1), BALLOON_VERDICT_OK);
    cr_assert_eq(pool_rig.view.size, sizeof(balloon_view));
    cr_assert_eq(pool_rig.view.guest_count, 0);
    cr_assert_eq(pool_rig.view.pool, POOL);
    cr_assert_eq(pool_rig.view.free, POOL);
}

Test(pool, resize_takes_what_a_config_takes)
{
    const uint64_t most = UINT64_C(1) << 40;

    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 10, 10), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, most + 1, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(pool_rig_status().pages, POOL);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, most, 0), BALLOON_OK);
    cr_assert_eq(pool_rig_status().reserve, most / 16);
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 10, 9), BALLOON_OK);
    cr_assert_eq(pool_rig_status().reserve, 9);
    cr_assert_eq(pool_rig_status().budget, 6);
}

/* --- guests ----------------------------------------------------------------------------------- */

static balloon_status add(uint64_t min, uint64_t max, uint64_t current, uint64_t *id)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .min = min, .max = max, .current = current};

    return balloon_pool_add(pool_rig.pool, &guest, 0, id);
}

Test(pool, guests_that_cannot_be_are_refused)
{
    const uint64_t most = UINT64_C(1) << 40;
    balloon_pool_guest guest = {.size = sizeof(guest), .max = 10};
    uint64_t id = 77;

    cr_assert_eq(add(11, 10, 10, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(add(5, 10, 4, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(add(5, 10, 11, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(add(0, 0, 0, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(add(0, most + 1, 0, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(add(0, 10, 0, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_add(pool_rig.pool, NULL, 0, &id), BALLOON_ERR_INVALID);
    guest.shares = 10001;
    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_ERR_INVALID);
    guest.shares = 10000;
    guest.size--;
    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_ERR_INVALID);
    cr_assert_eq(id, 77);
    guest.size++;
    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_OK);
    cr_assert_eq(add(0, most, 0, &id), BALLOON_OK);
}

Test(pool, guests_must_fit)
{
    uint64_t id, first = pool_rig_add(1000, POOL, POOL / 2);
    uint64_t room = pool_rig_status().budget - POOL / 2;

    cr_assert_eq(add(0, POOL, room + 1, &id), BALLOON_ERR_NOSPACE);
    cr_assert_eq(add(POOL - POOL / 16 - 999, POOL, POOL - POOL / 16 - 999, &id),
                 BALLOON_ERR_NOSPACE);
    cr_assert_eq(add(0, POOL, room, &id), BALLOON_OK);
    cr_assert_eq(pool_rig_status().committed, pool_rig_status().budget);
    cr_assert_eq(add(0, POOL, 1, &id), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, first), BALLOON_OK);
    cr_assert_eq(add(0, POOL, POOL / 2, &id), BALLOON_OK);
}

Test(pool, minimums_must_fit_though_sizes_do)
{
    uint64_t id;

    /* The budget is half a reserve larger than what minimums may add up to. */
    cr_assert_eq(add(POOL - POOL / 16 + 1, POOL, POOL - POOL / 16 + 1, &id), BALLOON_ERR_NOSPACE);
    cr_assert_eq(add(POOL - POOL / 16, POOL, POOL - POOL / 16, &id), BALLOON_OK);
    cr_assert_eq(add(1, POOL, 1, &id), BALLOON_ERR_NOSPACE);
    cr_assert_eq(add(0, POOL, 1, &id), BALLOON_OK);
}

Test(pool, has_room_for_max_guests)
{
    uint64_t id;

    for (int i = 0; i < POOL_RIG_GUESTS; i++)
        cr_assert_eq(add(0, 10, 5, &id), BALLOON_OK);
    cr_assert_eq(add(0, 10, 5, &id), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, 3), BALLOON_OK);
    cr_assert_eq(add(0, 10, 5, &id), BALLOON_OK);
    cr_assert_eq(id, POOL_RIG_GUESTS + 1);
}

Test(pool, ids_are_for_life)
{
    balloon_pool_guest_status status;
    uint64_t a = pool_rig_add(0, 100, 10), b = pool_rig_add(0, 200, 20), c;

    cr_assert_lt(a, b);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, a), BALLOON_OK);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, a), BALLOON_ERR_INVALID);
    c = pool_rig_add(0, 300, 30);
    cr_assert_lt(b, c);
    cr_assert_eq(balloon_pool_guest_get(pool_rig.pool, a, &status), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_guest_get(pool_rig.pool, c + 1, &status), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_guest_get(pool_rig.pool, 0, &status), BALLOON_ERR_INVALID);
    cr_assert_eq(pool_rig_guest(b).config.max, 200);
    cr_assert_eq(pool_rig_guest(c).config.max, 300);
    cr_assert_eq(pool_rig_status().guests, 2);
    cr_assert_eq(pool_rig_status().used, 50);
    pool_rig_decide(1);
    cr_assert_eq(pool_rig.seen[0].id, b);
    cr_assert_eq(pool_rig.seen[1].id, c);
}

Test(pool, calls_for_nobody_are_refused)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .max = 10};
    balloon_curve curve = {NULL, 0};
    balloon_sample sample = {0};

    cr_assert_eq(balloon_pool_set_guest(pool_rig.pool, 1, &guest), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_size(pool_rig.pool, 1, 1, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, 1, 1), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, 1, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_active(pool_rig.pool, 1, 1, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_curve(pool_rig.pool, 1, &curve), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_sample(pool_rig.pool, 1, &sample, 0), BALLOON_ERR_INVALID);
}

Test(pool, shows_guests_as_they_were_given)
{
    balloon_pool_guest guest = {
        .size = sizeof(guest), .min = 5, .max = 50, .current = 20, .shares = 7, .priority = 9};
    balloon_pool_guest_status status;
    uint64_t id;

    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_OK);
    status = pool_rig_guest(id);
    cr_assert_eq(status.config.size, sizeof(guest));
    cr_assert_eq(status.config.min, 5);
    cr_assert_eq(status.config.max, 50);
    cr_assert_eq(status.config.current, 20);
    cr_assert_eq(status.config.shares, 7);
    cr_assert_eq(status.config.priority, 9);
    cr_assert_eq(status.target, 20);
    cr_assert_eq(status.flags, BALLOON_GUEST_STALE);
    cr_assert_eq(status.flagged, 0);
    pool_rig_decide(1);
    cr_assert_eq(pool_rig.seen[0].min, 5);
    cr_assert_eq(pool_rig.seen[0].max, 50);
    cr_assert_eq(pool_rig.seen[0].size, 20);
    cr_assert_eq(pool_rig.seen[0].target, 20);
    cr_assert_eq(pool_rig.seen[0].shares, 7);
    cr_assert_eq(pool_rig.seen[0].priority, 9);
    cr_assert_eq(pool_rig.first[0].target, 20);
    cr_assert_eq(pool_rig.first[0].why, BALLOON_WHY_HOLD);
    cr_assert_eq(pool_rig.first[0].urgency, 0);
}

/* --- limits that change ----------------------------------------------------------------------- */

static balloon_status set(uint64_t id, uint64_t min, uint64_t max)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .min = min, .max = max, .shares = 3};

    return balloon_pool_set_guest(pool_rig.pool, id, &guest);
}

Test(pool, limits_move_a_target_that_is_outside)
{
    uint64_t id = pool_rig_add(0, 1000, 500);

    cr_assert_eq(set(id, 600, 2000), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(id).config.shares, 3);
    cr_assert_eq(pool_rig_guest(id).target, 600);
    cr_assert_eq(pool_rig_status().committed, 600);
    pool_rig_decide(1);
    cr_assert_eq(pool_rig_asked(id), 600);
    cr_assert_eq(set(id, 0, 400), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(id).target, 400);
    pool_rig_decide(2);
    cr_assert_eq(pool_rig_asked(id), 400);
    cr_assert_eq(set(id, 0, 900), BALLOON_OK);
    pool_rig_decide(3);
    cr_assert_eq(pool_rig.change_count, 0);
}

Test(pool, limits_that_cannot_be_are_refused)
{
    uint64_t id = pool_rig_add(100, 1000, 500);

    cr_assert_eq(set(id, 2, 1), BALLOON_ERR_INVALID);
    cr_assert_eq(set(id, 0, 0), BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_guest(pool_rig.pool, id, NULL), BALLOON_ERR_INVALID);
    cr_assert_eq(pool_rig_guest(id).config.min, 100);
}

Test(pool, a_higher_minimum_needs_room)
{
    uint64_t id = pool_rig_add(1000, POOL, 1000);
    uint64_t other = pool_rig_add(0, POOL, pool_rig_status().budget - 1100);

    cr_assert_eq(set(id, POOL, POOL), BALLOON_ERR_NOSPACE);
    cr_assert_eq(set(id, 1101, POOL), BALLOON_ERR_NOSPACE);
    cr_assert_eq(pool_rig_guest(id).target, 1000);
    cr_assert_eq(set(id, 1100, POOL), BALLOON_OK);
    cr_assert_eq(pool_rig_status().committed, pool_rig_status().budget);
    /* What a guest has already needs no room. */
    cr_assert_eq(set(other, 400000, POOL), BALLOON_OK);
    /* In a pool that became too small, minimums can only go down. */
    cr_assert_eq(balloon_pool_resize(pool_rig.pool, 100000, 0), BALLOON_OK);
    cr_assert_eq(set(other, 400001, POOL), BALLOON_ERR_NOSPACE);
    cr_assert_eq(set(other, 399999, POOL), BALLOON_OK);
}

Test(pool, memory_can_be_set_aside)
{
    uint64_t id = pool_rig_add(1000, POOL, POOL / 2), next;
    const uint64_t most = POOL - POOL / 16 - 1000;

    cr_assert_eq(balloon_pool_reserve(pool_rig.pool, most + 1), BALLOON_ERR_NOSPACE);
    cr_assert_eq(balloon_pool_reserve(pool_rig.pool, UINT64_MAX), BALLOON_ERR_NOSPACE);
    cr_assert_eq(pool_rig_status().reserved, 0);
    cr_assert_eq(balloon_pool_reserve(pool_rig.pool, most), BALLOON_OK);
    cr_assert_eq(pool_rig_status().reserved, most);
    cr_assert_eq(pool_rig_status().budget, POOL - most - POOL / 32);
    cr_assert_eq(pool_rig_decide(1), BALLOON_VERDICT_SHORT);
    cr_assert_eq(pool_rig.view.pool, POOL - most);
    cr_assert_eq(pool_rig.view.free, 0);
    cr_assert_gt(pool_rig_asked(id), 0);
    cr_assert_lt(pool_rig_asked(id), POOL / 2);

    /* Who comes takes it. */
    cr_assert_eq(balloon_pool_reserve(pool_rig.pool, 1000), BALLOON_OK);
    cr_assert_eq(add(0, POOL, 600, &next), BALLOON_OK);
    cr_assert_eq(pool_rig_status().reserved, 400);
    cr_assert_eq(add(0, POOL, 600, &next), BALLOON_OK);
    cr_assert_eq(pool_rig_status().reserved, 0);
    cr_assert_eq(balloon_pool_reserve(pool_rig.pool, 0), BALLOON_OK);
}

Test(pool, memory_set_aside_is_not_given_to_those_there)
{
    uint64_t id = pool_rig_add(0, POOL, 1000), next;

    cr_assert_eq(balloon_pool_reserve(pool_rig.pool, 500000), BALLOON_OK);
    pool_rig_wish(id, POOL, BALLOON_WHY_DEMAND, 0);
    cr_assert_eq(pool_rig_decide(1), BALLOON_VERDICT_DEGRADED);
    cr_assert_eq(pool_rig_asked(id), POOL - POOL / 32 - 500000);
    cr_assert_eq(add(0, POOL, 500000, &next), BALLOON_OK);
    cr_assert_eq(pool_rig_status().committed, pool_rig_status().budget);
}

/* --- sizes and flags -------------------------------------------------------------------------- */

Test(pool, sizes_add_up)
{
    uint64_t a = pool_rig_add(0, 1000, 500), b = pool_rig_add(0, 1000, 600);

    pool_rig_size(a, 700, 1);
    cr_assert_eq(pool_rig_status().used, 1300);
    cr_assert_eq(pool_rig_status().committed, 1300);
    pool_rig_size(a, 300, 1);
    cr_assert_eq(pool_rig_status().used, 900);
    /* It may take 500 at any time. */
    cr_assert_eq(pool_rig_status().committed, 1100);
    pool_rig_size(b, UINT64_MAX, 1);
    cr_assert_eq(pool_rig_guest(b).config.current, UINT64_C(1) << 40);
    cr_assert_eq(pool_rig_guest(b).target, 600);
    pool_rig_size(b, 0, 1);
    cr_assert_eq(pool_rig_status().used, 300);
    cr_assert_eq(pool_rig_status().committed, 1100);
}

Test(pool, only_flags_of_the_embedder_can_be_set)
{
    uint64_t id = pool_rig_add(0, 1000, 500);

    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, id, BALLOON_GUEST_STALE, 0),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, id, BALLOON_GUEST_HELD | 1, 0),
                 BALLOON_ERR_INVALID);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, id, BALLOON_POOL_FLAGS, 0), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(id).flags, BALLOON_POOL_FLAGS | BALLOON_GUEST_STALE);
    cr_assert_eq(balloon_pool_set_flags(pool_rig.pool, id, 0, 0), BALLOON_OK);
    cr_assert_eq(pool_rig_guest(id).flags, BALLOON_GUEST_STALE);
}

/* --- the order of changes --------------------------------------------------------------------- */

Test(pool, shrinking_guests_are_told_first)
{
    uint64_t a = pool_rig_add(0, 1000, 500), b = pool_rig_add(0, 1000, 500),
             c = pool_rig_add(0, 1000, 500);

    for (uint64_t id = a; id <= c; id++)
        pool_rig_sample(id, 1, BALLOON_STAT_FREE, UINT64_C(1), -1);
    pool_rig_wish(a, 600, BALLOON_WHY_DEMAND, 0);
    pool_rig_wish(b, 400, BALLOON_WHY_SHARE, 0);
    pool_rig_wish(c, 300, BALLOON_WHY_HOST_LOW, 0);
    cr_assert_eq(pool_rig_decide(1), BALLOON_VERDICT_OK);
    cr_assert_eq(pool_rig.change_count, 3);
    cr_assert_eq(pool_rig.changes[0].id, b);
    cr_assert_eq(pool_rig.changes[0].target, 400);
    cr_assert_eq(pool_rig.changes[0].why, BALLOON_WHY_SHARE);
    cr_assert_eq(pool_rig.changes[0].emergency, 0);
    cr_assert_eq(pool_rig.changes[1].id, c);
    cr_assert_eq(pool_rig.changes[1].why, BALLOON_WHY_HOST_LOW);
    cr_assert_eq(pool_rig.changes[2].id, a);
    cr_assert_eq(pool_rig.changes[2].target, 600);
    cr_assert_eq(pool_rig_counters().changes, 3);
    cr_assert_eq(pool_rig_counters().decisions, 1);
}

Test(pool, changes_not_taken_come_again)
{
    balloon_change change = {.id = 77};
    uint64_t a = pool_rig_add(0, 1000, 500), b = pool_rig_add(0, 1000, 500);

    cr_assert_not(balloon_pool_next(pool_rig.pool, &change));
    cr_assert_eq(change.id, 77);
    pool_rig_wish(a, 600, BALLOON_WHY_DEMAND, 0);
    pool_rig_wish(b, 700, BALLOON_WHY_DEMAND, 0);
    balloon_pool_decide(pool_rig.pool, 1);
    cr_assert(balloon_pool_next(pool_rig.pool, &change));
    cr_assert_eq(change.id, a);
    balloon_pool_decide(pool_rig.pool, 2);
    cr_assert(balloon_pool_next(pool_rig.pool, &change));
    cr_assert_eq(change.id, b);
    cr_assert_eq(change.target, 700);
    cr_assert_not(balloon_pool_next(pool_rig.pool, &change));
}

Test(pool, guests_may_go_while_changes_are_taken)
{
    balloon_change change;
    uint64_t a = pool_rig_add(0, 1000, 500), b = pool_rig_add(0, 1000, 500),
             c = pool_rig_add(0, 1000, 500);

    for (uint64_t id = a; id <= c; id++)
        pool_rig_wish(id, 600, BALLOON_WHY_DEMAND, 0);
    balloon_pool_decide(pool_rig.pool, 1);
    cr_assert(balloon_pool_next(pool_rig.pool, &change));
    cr_assert_eq(change.id, a);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, a), BALLOON_OK);
    cr_assert(balloon_pool_next(pool_rig.pool, &change));
    cr_assert_eq(change.id, b);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, c), BALLOON_OK);
    cr_assert_not(balloon_pool_next(pool_rig.pool, &change));
}

Test(pool, texts)
{
    for (uint32_t why = 0; why < 20; why++) {
        cr_assert_not_null(balloon_why_text(why));
        cr_assert_eq(strcmp(balloon_why_text(why), "unknown") == 0, why > BALLOON_WHY_OWED);
        for (uint32_t other = 0; other < why && why <= BALLOON_WHY_OWED; other++)
            cr_assert(strcmp(balloon_why_text(why), balloon_why_text(other)) != 0);
    }
}

/* What a guest has given and the host has not got is nobody's. */
Test(pool, what_is_owed_is_promised_to_nobody)
{
    balloon_pool_guest more = {.size = sizeof(more), .max = POOL, .current = 550001};
    uint64_t guest = pool_rig_add(0, POOL, 500000), other = pool_rig_add(0, POOL, 500000), id;

    cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, guest, 100000), BALLOON_OK);
    cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, other, 1), BALLOON_OK);
    cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, other, 0), BALLOON_OK);
    cr_assert_eq(pool_rig_status().owed, 100000);
    cr_assert_eq(pool_rig_status().budget, 1550000 - 100000);
    cr_assert_eq(pool_rig_guest(guest).owed, 100000);
    cr_assert_eq(balloon_pool_add(pool_rig.pool, &more, 0, &id), BALLOON_ERR_NOSPACE);
    pool_rig_wish(other, POOL, BALLOON_WHY_DEMAND, 0);
    pool_rig_decide(RIG_SECOND);
    cr_assert_eq(pool_rig.view.pool, POOL - 100000);
    cr_assert_eq(pool_rig.view.free, POOL - 100000 - 1000000);
    cr_assert_eq(pool_rig_guest(other).target, 950000);
    /* It came back. */
    cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, guest, 0), BALLOON_OK);
    pool_rig_decide(2 * RIG_SECOND);
    cr_assert_eq(pool_rig_guest(other).target, 1050000);
}

Test(pool, what_a_guest_owes_goes_with_it)
{
    uint64_t guest = pool_rig_add(0, POOL, 500000);

    cr_assert_eq(balloon_pool_set_owed(pool_rig.pool, guest, UINT64_MAX), BALLOON_OK);
    cr_assert_eq(pool_rig_status().owed, UINT64_C(1) << 40);
    cr_assert_eq(pool_rig_status().budget, 0);
    pool_rig_decide(RIG_SECOND);
    cr_assert_eq(pool_rig.view.pool, 0);
    cr_assert_eq(pool_rig_status().state, BALLOON_HOST_LOW);
    cr_assert_eq(balloon_pool_remove(pool_rig.pool, guest), BALLOON_OK);
    cr_assert_eq(pool_rig_status().owed, 0);
}
