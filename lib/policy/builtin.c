#include "policy_p.h"

static const balloon_policy *const table[] = {
    &balloon_policy_waterline, &balloon_policy_fixed,  &balloon_policy_proportional,
    &balloon_policy_shares,    &balloon_policy_mom,    &balloon_policy_proxmox,
    &balloon_policy_balance,   &balloon_policy_stall,  &balloon_policy_buffer,
    &balloon_policy_curves,    &balloon_policy_greedy,
};

#define POLICIES (sizeof(table) / sizeof(table[0]))

const balloon_policy *const *balloon_policies(size_t *count)
{
    if (count != NULL)
        *count = POLICIES;
    return table;
}

static bool is_same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

const balloon_policy *balloon_policy_find(const char *name)
{
    for (size_t i = 0; name != NULL && i < POLICIES; i++)
        if (is_same(table[i]->name, name))
            return table[i];
    return NULL;
}

uint64_t bl_sqrt(uint64_t value)
{
    uint64_t root = 0;

    for (uint64_t bit = UINT64_C(1) << 62; bit != 0; bit >>= 2) {
        if (value >= root + bit) {
            value -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return root;
}

void bl_keep(const balloon_guest_view *g, balloon_wish *wish, balloon_why why)
{
    wish->target = g->target;
    wish->why = (uint32_t)why;
}

void bl_keep_fixed(const balloon_guest_view *g, balloon_wish *wish)
{
    balloon_why why = BALLOON_WHY_COOL_DOWN; /* it is booting */

    if (g->flags & (uint32_t)BALLOON_GUEST_NO_DRIVER)
        why = BALLOON_WHY_NO_DRIVER;
    else if (g->flags & (uint32_t)BALLOON_GUEST_PINNED)
        why = BALLOON_WHY_PINNED;
    else if (g->flags & (uint32_t)BALLOON_GUEST_INACTIVE)
        why = BALLOON_WHY_INACTIVE;
    bl_keep(g, wish, why);
}

void bl_wish(const balloon_guest_view *g, balloon_wish *wish, uint64_t size, balloon_why why)
{
    wish->target = bl_clamp(size, g->min, g->max);
    if (wish->target == g->target)
        why = BALLOON_WHY_HOLD;
    else if (wish->target == g->min || wish->target == g->max)
        why = BALLOON_WHY_LIMIT;
    wish->why = (uint32_t)why;
}

bool bl_due(balloon_time_t *next, balloon_time_t now, balloon_time_t period)
{
    if (bl_sat_add(now, bl_div(period, 10)) < *next)
        return false;
    *next = bl_sat_add(now, period);
    return true;
}

uint64_t bl_guest_floor(uint64_t size)
{
    static const struct {
        uint64_t below, base, part;
    } curve[] = {
        {128 * MIB, 8 * MIB, 2},     {512 * MIB, 40 * MIB, 4},    {2048 * MIB, 104 * MIB, 8},
        {8192 * MIB, 232 * MIB, 16}, {UINT64_MAX, 488 * MIB, 32},
    };
    size_t i = 0;

    while (size >= curve[i].below)
        i++;
    return bl_min(curve[i].base + bl_div(size, curve[i].part), size);
}
