/* The ledger: what is used and promised, who gives when memory is short, who gets it when some came
 * back. */
#include <string.h>

#include "pool_p.h"

/* --- sums ------------------------------------------------------------------------------------- */

void bl_pool_put_size(balloon_pool *p, struct guest *g, uint64_t size)
{
    p->used += size - g->size;
    p->committed -= guest_committed(g);
    g->size = size;
    p->committed += guest_committed(g);
}

void bl_pool_put_target(balloon_pool *p, struct guest *g, uint64_t target)
{
    p->committed -= guest_committed(g);
    g->target = target;
    g->promised = bl_max(g->promised, target);
    p->committed += guest_committed(g);
}

/* --- sorting ---------------------------------------------------------------------------------- */

/* By rising major, then minor. Both are looked at in any case: which is less cannot be guessed. */
static bool comes_before(const struct rank *a, const struct rank *b)
{
    return (a->major < b->major) | ((a->major == b->major) & (a->minor < b->minor));
}

/* Two sorted parts, from low and from middle up to end, into one. Of equals those of the first. */
static void merge(const struct rank *from, struct rank *to, uint32_t low, uint32_t middle,
                  uint32_t end)
{
    uint32_t left = low, right = middle;

    while (left < middle && right < end) {
        bool second = comes_before(&from[right], &from[left]);

        to[left + right - middle] = from[second ? right : left];
        left += !second;
        right += second;
    }
    for (; left < middle; left++)
        to[left + right - middle] = from[left];
    for (; right < end; right++)
        to[right] = from[right];
}

/* Bottom-up merge sort: no recursion, no bad input, and equals stay in their order. */
void bl_pool_sort(struct rank *ranks, struct rank *spare, uint32_t count)
{
    struct rank *from = ranks, *to = spare;

    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t low = 0; low < count; low += 2 * width) {
            uint32_t middle = low + width < count ? low + width : count;
            uint32_t end = middle + width < count ? middle + width : count;

            merge(from, to, low, middle, end);
        }
        struct rank *swap = from;
        from = to;
        to = swap;
    }
    if (from != ranks)
        memcpy(ranks, from, count * sizeof(*ranks));
}

/* --- emergency -------------------------------------------------------------------------------- */

uint64_t bl_pool_need(const balloon_guest_view *view)
{
    if (view->known & BALLOON_KNOWS_AVAILABLE)
        return bl_min(view->size - view->available + view->swapped, view->size);
    return view->size - view->size / 4;
}

enum round { ROUND_PROMISES, ROUND_SPARE, ROUND_FLOOR, ROUNDS };

/* How small may a guest become in a round? */
static uint64_t limit_of(const balloon_pool *p, const struct guest *g,
                         const balloon_guest_view *view, enum round round)
{
    uint64_t least = g->size;

    /* The silent are left alone while there is enough, whatever was promised to others; and nobody
     * gains from those whose memory does not come back. */
    if (round == ROUND_PROMISES || g->live.barren ||
        (p->host == BALLOON_HOST_HIGH && view->flags & BALLOON_GUEST_STALE))
        return bl_max(g->min, least);
    least = bl_guest_floor(g->max);
    /* What a guest says it needs spares it in this round only, and the floor in both. */
    if (round == ROUND_SPARE)
        least = bl_max(least, bl_pool_need(view));
    return bl_max(g->min, bl_min(least, g->size));
}

/* Least important first, then those that do not wait for memory, then those with most to spare. */
static uint32_t rank_givers(balloon_pool *p)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < p->count; i++) {
        const balloon_guest_view *view = &p->views[i];

        if (!guest_is_movable(view->flags))
            continue;
        p->ranks[count++] =
            (struct rank){(uint64_t)view->priority << 1 | bl_waits(view), ~view->available, i};
    }
    bl_pool_sort(p->ranks, p->spare_ranks, count);
    return count;
}

static uint64_t spare_of(const balloon_pool *p, uint32_t at, enum round round)
{
    const struct guest *g = guest_at(p, at);

    return bl_less(g->target, limit_of(p, g, &p->views[at], round));
}

static void take(balloon_pool *p, uint32_t at, uint64_t give)
{
    struct guest *g = guest_at(p, at);

    if (!give)
        return;
    bl_pool_put_target(p, g, g->target - give);
    p->wishes[at].target = g->target;
    g->taken += give;
    g->why = BALLOON_WHY_HOST_CRITICAL;
    g->emergency = 1;
}

/* Among equals each gives its part of what they have to spare. Returns what was taken. */
static uint64_t take_from(balloon_pool *p, const struct rank *ranks, uint32_t count,
                          enum round round, uint64_t missing)
{
    uint64_t spare = 0, left = missing, all;

    for (uint32_t i = 0; i < count; i++)
        spare += spare_of(p, ranks[i].at, round);
    all = bl_min(spare, missing);
    for (uint32_t i = 0; i < count && left; i++) {
        uint64_t has = spare_of(p, ranks[i].at, round);
        uint64_t give = bl_min(has, bl_min(left, bl_mul_div(all, has, bl_max(spare, 1)) + 1));

        take(p, ranks[i].at, give);
        left -= give;
    }
    return missing - left;
}

bool bl_pool_emergency(balloon_pool *p, uint64_t limit, struct tally *tally)
{
    uint64_t missing = bl_less(tally->expected, limit);
    uint32_t count;

    p->shortfall = missing;
    if (!missing)
        return false;
    count = rank_givers(p);
    for (int round = 0; round < ROUNDS && missing; round++) {
        for (uint32_t i = 0, equals; i < count && missing; i += equals) {
            for (equals = 1; i + equals < count; equals++)
                if (p->ranks[i + equals].major != p->ranks[i].major)
                    break;
            missing -= take_from(p, p->ranks + i, equals, (enum round)round, missing);
        }
    }
    p->shortfall = missing;
    *tally = (struct tally){0};
    for (uint32_t i = 0; i < p->count; i++)
        tally_add(tally, p, i);
    return true;
}

/* --- grants ----------------------------------------------------------------------------------- */

/* What there is to give. */
struct slack {
    uint64_t expected; /* that targets may add up to more, */
    uint64_t plain;    /* the larger of sizes and targets, */
    uint64_t promised; /* and with them promises that some may not know to be void */
};

/* Let one guest grow up to a size, as far as each of the three sums stays within the limit or does
 * not grow: what a guest has already was paid for. What it owes costs nothing either, but when more
 * is promised than there is: nobody knows quite how much of it did not come back. */
static void grow(balloon_pool *p, struct guest *g, uint64_t wanted, struct slack *slack)
{
    uint64_t at = guest_cost(g, g->target), has = guest_cost(g, bl_max(g->size, g->target));
    uint64_t paid = guest_committed(g), target, cost;

    target = bl_min(
        wanted, bl_min(at + slack->expected, bl_min(has + slack->plain, paid + slack->promised)));
    cost = guest_cost(g, target);
    if (p->committed <= pool_budget(p) && cost == guest_cost(g, UINT64_MAX))
        target = wanted;
    if (target <= g->target)
        return;
    slack->expected -= bl_less(cost, at);
    slack->plain -= bl_less(cost, has);
    slack->promised -= bl_less(cost, paid);
    bl_pool_put_target(p, g, target);
}

/* What can be promised at most. */
static uint64_t room_of(const struct slack *slack)
{
    return bl_min(bl_min(slack->expected, slack->plain), slack->promised);
}

/* Nobody comes first among equals: when there is not enough for all of them, each can take its part
 * by shares before the rest is given away. */
static void share_among(balloon_pool *p, const struct rank *ranks, uint32_t count,
                        struct slack *slack)
{
    uint64_t room = room_of(slack), shares = 0;

    for (uint32_t i = 0; i < count; i++)
        shares += p->views[ranks[i].at].shares;
    for (uint32_t i = 0; i < count; i++) {
        struct guest *g = guest_at(p, ranks[i].at);
        uint64_t part = bl_mul_div(room, p->views[ranks[i].at].shares, shares);

        grow(p, g, bl_min(p->wishes[ranks[i].at].target, g->target + part), slack);
    }
}

/* What the pool took that no policy would have taken, from each its part. */
static void undo(balloon_pool *p, struct slack *slack, uint64_t taken)
{
    uint64_t room = room_of(slack);

    if (p->host != BALLOON_HOST_HIGH || p->shortfall || !taken)
        return;
    for (uint32_t i = 0; i < p->count; i++) {
        struct guest *g = guest_at(p, i);
        uint64_t before = g->target, part;

        if (!g->taken || g->emergency || !guest_is_movable(p->views[i].flags))
            continue;
        part = bl_mul_div(g->taken, bl_min(room, taken), taken);
        grow(p, g, bl_min(before + part, g->max), slack);
        g->taken = g->target == g->max ? 0 : bl_less(g->taken, g->target - before);
    }
}

/* When nobody else wants it: to those that could not give, and to those that gave for nothing. */
static void give_back(balloon_pool *p, struct slack *slack)
{
    for (uint32_t i = 0; i < p->count; i++) {
        struct guest *g = guest_at(p, i);

        if (g->live.relief)
            grow(p, g, bl_min(g->target + g->live.relief, g->max), slack);
        g->live.relief = 0;
        if (g->live.barren && guest_is_movable(p->views[i].flags))
            grow(p, g, bl_min(g->size + g->owed, g->max), slack);
    }
}

bool bl_pool_grant(balloon_pool *p, uint64_t limit, const struct tally *tally)
{
    struct slack slack = {bl_less(limit, tally->expected), bl_less(limit, tally->plain),
                          bl_less(limit, p->committed)};
    uint32_t count = tally->takers;
    bool all = true;

    bl_pool_sort(p->ranks, p->spare_ranks, count);
    for (uint32_t i = 0, equals; i < count; i += equals) {
        for (equals = 1; i + equals < count; equals++)
            if (p->ranks[i + equals].major != p->ranks[i].major)
                break;
        if (equals > 1)
            share_among(p, p->ranks + i, equals, &slack);
        for (uint32_t k = i; k < i + equals; k++) {
            const balloon_wish *wish = &p->wishes[p->ranks[k].at];
            struct guest *g = guest_at(p, p->ranks[k].at);

            grow(p, g, wish->target, &slack);
            if (g->target == wish->target)
                continue;
            all = false;
            p->counters.clamped_budget++;
            g->why = BALLOON_WHY_BUDGET;
        }
    }
    if (tally->back)
        give_back(p, &slack);
    undo(p, &slack, tally->taken);
    return all;
}
