/* Proxmox VE: PVE/AutoBalloon.pm and PVE/Service/pvestatd.pm of pve-manager. */
#include "policy_p.h"

#define PERIOD  (10 * SECOND)
#define PERCENT 80u
#define SMALL   (10 * MIB)
#define STEP    (100 * MIB)
/* Each round hands on what the last one could not place, so it nears its end quickly. */
#define ROUNDS 32

struct proxmox {
    balloon_time_t next;
    uint32_t percent;
};

enum { EVERYBODY = 0, TIGHT = 1, COMFORTABLE = 2 };

struct entry {
    uint64_t size; /* as planned */
    uint32_t list; /* TIGHT or COMFORTABLE, 0 for a guest that is left alone */
    uint32_t done;
};

static bool init(void *state, const void *knobs)
{
    const balloon_proxmox_knobs *k = knobs;
    struct proxmox *s = state;

    s->percent = PERCENT;
    if (k == NULL)
        return true;
    if (!bl_sized(k, sizeof(*k)) || k->percent > 100)
        return false;
    if (k->percent != 0)
        s->percent = k->percent;
    return true;
}

static bool takes_part(const struct entry *e, uint32_t list)
{
    return e->list != 0 && (list == EVERYBODY || e->list == list) && !e->done;
}

/* Where a guest should go when `extra` pages above the minimums are divided by shares. */
static uint64_t desired(const balloon_guest_view *g, int64_t extra, uint64_t shares)
{
    if (extra <= 0)
        return g->min;
    return bl_min(g->min + bl_mul_div((uint64_t)extra, g->shares, shares), g->max);
}

/* One round: move everybody on the list, and return by how much in sum. */
static int64_t round_of(const balloon_view *view, struct entry *entries, uint32_t list,
                        int64_t rest, bool growing)
{
    uint64_t shares = 0;
    int64_t extra = rest, moved = 0;

    for (uint32_t i = 0; i < view->guest_count; i++)
        if (takes_part(&entries[i], list)) {
            extra += (int64_t)entries[i].size - (int64_t)view->guests[i].min;
            shares += view->guests[i].shares;
        }
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        struct entry *e = &entries[i];
        uint64_t want, size;

        if (!takes_part(e, list))
            continue;
        want = desired(g, extra, shares);
        if (want == g->size || (want > g->size && !growing)) {
            e->done = 1;
            continue;
        }
        /* The limit counts from where the guest is, however many rounds there are. */
        size = want > g->size ? bl_min(want, g->size + STEP) : bl_max(want, bl_less(g->size, STEP));
        moved += (int64_t)size - (int64_t)e->size;
        e->size = size;
    }
    return moved;
}

static int64_t change(const balloon_view *view, struct entry *entries, uint32_t list, int64_t goal)
{
    int64_t rest = goal;

    for (uint32_t i = 0; i < view->guest_count; i++)
        entries[i].done = 0;
    for (uint32_t n = 0; n < ROUNDS && rest != 0; n++) {
        int64_t moved = round_of(view, entries, list, rest, goal > 0);

        if (moved == 0)
            break;
        rest -= moved;
    }
    return rest;
}

static void plan(const balloon_view *view, struct entry *entries, int64_t goal)
{
    if (goal > (int64_t)SMALL) {
        if (change(view, entries, TIGHT, goal) >= goal)
            change(view, entries, EVERYBODY, goal);
    } else if (goal < -(int64_t)SMALL) {
        if (change(view, entries, COMFORTABLE, goal) <= goal)
            change(view, entries, EVERYBODY, goal);
    }
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct proxmox *s = state;
    struct entry *entries = (struct entry *)(void *)view->scratch;
    int64_t goal = (int64_t)bl_mul_div(view->pool, s->percent, 100) - (int64_t)view->used;
    bool due = bl_due(&s->next, view->now, PERIOD);

    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        entries[i] = (struct entry){.size = g->size};
        if (!bl_movable(g))
            continue;
        entries[i].list = TIGHT;
        if (bl_says(g, BALLOON_KNOWS_FREE) && g->free > g->min / 4 && g->size >= g->min)
            entries[i].list = COMFORTABLE;
    }
    if (due)
        plan(view, entries, goal);
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];

        if (!bl_movable(g))
            bl_keep_fixed(g, &wishes[i]);
        else if (entries[i].size == g->size)
            bl_keep(g, &wishes[i], BALLOON_WHY_HOLD);
        else
            bl_wish(g, &wishes[i], entries[i].size,
                    goal < 0 ? BALLOON_WHY_HOST_LOW : BALLOON_WHY_SHARE);
    }
}

const balloon_policy balloon_policy_proxmox = {
    .size = sizeof(balloon_policy),
    .name = "proxmox",
    .state_bytes = sizeof(struct proxmox),
    .scratch_words = (sizeof(struct entry) + 7) / 8,
    .init = init,
    .decide = decide,
};
