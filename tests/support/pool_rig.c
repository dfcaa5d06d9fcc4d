#include "pool_rig.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct pool_rig pool_rig;

static void spy(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    cr_assert_leq(view->guest_count, POOL_RIG_GUESTS);
    pool_rig.view = *view;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        uint64_t id = view->guests[i].id;

        pool_rig.seen[i] = view->guests[i];
        pool_rig.first[i] = wishes[i];
        if (id < POOL_RIG_GUESTS && pool_rig.wishing[id])
            wishes[i] = pool_rig.wishes[id];
    }
}

const balloon_policy pool_rig_policy = {
    .size = sizeof(balloon_policy), .name = "spy", .decide = spy};

void pool_rig_make(uint64_t pages, const balloon_pool_config *wanted)
{
    balloon_pool_config config = {.boot_grace = 1};
    balloon_layout layout;

    /* A test that wants another pool than its suite. */
    free(pool_rig.memory);
    memset(&pool_rig, 0, sizeof(pool_rig));
    if (wanted)
        config = *wanted;
    config.size = sizeof(config);
    config.policy = &pool_rig_policy;
    config.pages = pages;
    if (!config.max_guests)
        config.max_guests = POOL_RIG_GUESTS;
    cr_assert_eq(balloon_pool_layout(&config, &layout), BALLOON_OK);
    pool_rig.memory = aligned_alloc(layout.align, layout.bytes);
    cr_assert_not_null(pool_rig.memory);
    /* Nothing may depend on what was in it. */
    memset(pool_rig.memory, 0xa5, layout.bytes);
    cr_assert_eq(balloon_pool_init(pool_rig.memory, layout.bytes, &config, &pool_rig.pool),
                 BALLOON_OK);
}

void pool_rig_drop(void)
{
    const char *why = NULL;
    bool sound = !pool_rig.pool || balloon_pool_check(pool_rig.pool, &why);

    free(pool_rig.memory);
    pool_rig.memory = NULL;
    pool_rig.pool = NULL;
    cr_assert(sound, "broken: %s", why);
}

uint64_t pool_rig_add(uint64_t min, uint64_t max, uint64_t current)
{
    balloon_pool_guest guest = {.size = sizeof(guest), .min = min, .max = max, .current = current};
    uint64_t id = 0;

    cr_assert_eq(balloon_pool_add(pool_rig.pool, &guest, 0, &id), BALLOON_OK);
    return id;
}

void pool_rig_wish(uint64_t id, uint64_t target, balloon_why why, uint32_t urgency)
{
    pool_rig.wishing[id] = true;
    pool_rig.wishes[id] = (balloon_wish){target, why, urgency};
}

void pool_rig_size(uint64_t id, uint64_t size, balloon_time_t now)
{
    cr_assert_eq(balloon_pool_set_size(pool_rig.pool, id, size, now), BALLOON_OK);
}

static bool is_in_pages(int stat)
{
    switch (stat) {
    case BALLOON_STAT_SWAP_IN:
    case BALLOON_STAT_SWAP_OUT:
    case BALLOON_STAT_FREE:
    case BALLOON_STAT_TOTAL:
    case BALLOON_STAT_AVAILABLE:
    case BALLOON_STAT_CACHES:
    case BALLOON_STAT_DIRECT_SCAN:
    case BALLOON_STAT_COMMITTED:
        return true;
    default:
        return false;
    }
}

void pool_rig_sample(uint64_t id, balloon_time_t time, ...)
{
    balloon_sample sample = {.time = time};
    va_list pairs;

    va_start(pairs, time);
    for (int stat; (stat = va_arg(pairs, int)) >= 0;) {
        uint64_t value = va_arg(pairs, uint64_t);

        balloon_sample_set(&sample, (balloon_stat)stat, is_in_pages(stat) ? value << 12 : value);
    }
    va_end(pairs);
    cr_assert_eq(balloon_pool_sample(pool_rig.pool, id, &sample, time), BALLOON_OK);
}

balloon_verdict pool_rig_decide(balloon_time_t now)
{
    const char *why = NULL;

    pool_rig.verdict = balloon_pool_decide(pool_rig.pool, now);
    pool_rig.change_count = 0;
    while (balloon_pool_next(pool_rig.pool, &pool_rig.changes[pool_rig.change_count]))
        cr_assert_lt(++pool_rig.change_count, 2 * POOL_RIG_GUESTS);
    cr_assert(balloon_pool_check(pool_rig.pool, &why), "%s", why);
    return pool_rig.verdict;
}

uint64_t pool_rig_asked(uint64_t id)
{
    for (uint32_t i = 0; i < pool_rig.change_count; i++)
        if (pool_rig.changes[i].id == id)
            return pool_rig.changes[i].target;
    return 0;
}

const balloon_guest_view *pool_rig_seen(uint64_t id)
{
    for (uint32_t i = 0; i < pool_rig.view.guest_count; i++)
        if (pool_rig.seen[i].id == id)
            return &pool_rig.seen[i];
    cr_assert(0, "the policy has not seen guest %d", (int)id);
    return NULL;
}

balloon_pool_guest_status pool_rig_guest(uint64_t id)
{
    balloon_pool_guest_status status;

    cr_assert_eq(balloon_pool_guest_get(pool_rig.pool, id, &status), BALLOON_OK);
    return status;
}

balloon_pool_status pool_rig_status(void)
{
    balloon_pool_status status;

    balloon_pool_status_get(pool_rig.pool, &status);
    return status;
}

balloon_pool_counters pool_rig_counters(void)
{
    balloon_pool_counters counters;

    balloon_pool_counters_get(pool_rig.pool, &counters);
    return counters;
}
