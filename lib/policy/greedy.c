/* What is written by hand in an afternoon: who swaps asks for more, and it is taken from whoever
 * has most available, at once. */
#include "policy_p.h"

#define SWAPPED  (MIB / 4)  /* so much through swap since the last statistics is too much, */
#define SCARCE   (24 * MIB) /* or less available than this, */
#define FREE     16u        /* unless a 16th of the guest is free all the same */
#define MORE     (64 * MIB) /* what it asks for, beside what is out on its swap */
#define LEFT     (32 * MIB) /* what a donor keeps available */
#define ASKS_FOR (3 * SECOND)

/* What the last statistics of a guest meant: it asks, or it can give. */
struct greedy_guest {
    uint64_t sample, swapped; /* as of then */
    balloon_time_t taken;     /* when they were taken */
    balloon_time_t until;     /* it asks until then, */
    uint64_t want;            /* to be so large */
    uint64_t least;           /* else it can be made so small */
};

struct donor {
    uint64_t spare;
    uint64_t guest;
};

#define DONOR_WORDS (sizeof(struct donor) / 8)

/* Pages that went in or out since the last statistics, whichever are more. */
static uint64_t moved(const struct greedy_guest *w, const balloon_guest_view *g,
                      balloon_time_t taken)
{
    uint64_t in = bl_mul_div(g->swap_in_rate, taken - w->taken, SECOND);

    return bl_max(in, bl_less(bl_sat_add(in, g->swapped), w->swapped));
}

static void look(struct greedy_guest *w, const balloon_guest_view *g, balloon_time_t now)
{
    balloon_time_t taken = bl_less(now, g->age);
    bool swaps = w->sample && bl_knows(g, BALLOON_KNOWS_SWAP) && moved(w, g, taken) > SWAPPED;

    if ((swaps || g->available < SCARCE) && g->free < bl_div(g->size, FREE)) {
        w->until = bl_sat_add(now, ASKS_FOR);
        w->want = bl_sat_add(g->size, bl_sat_add(MORE, g->swapped));
    }
    w->least = g->size - bl_less(g->available, LEFT);
    w->sample = g->sample;
    w->swapped = g->swapped;
    w->taken = taken;
}

/* --- donors, the one with the most first: a heap ---------------------------------------------- */

static void sift(struct donor *heap, uint32_t count, uint32_t place)
{
    struct donor one = heap[place];

    for (uint32_t child; child = 2 * place + 1, child < count; place = child) {
        if (child + 1 < count && heap[child + 1].spare > heap[child].spare)
            child++;
        if (heap[child].spare <= one.spare)
            break;
        heap[place] = heap[child];
    }
    heap[place] = one;
}

static void take(const balloon_view *view, balloon_wish *wishes, struct donor *heap, uint32_t count,
                 uint64_t missing)
{
    for (uint32_t i = count / 2; i-- > 0;)
        sift(heap, count, i);
    while (count && missing) {
        const balloon_guest_view *g = &view->guests[heap->guest];
        uint64_t part = bl_min(missing, bl_min(heap->spare, bl_less(g->target, g->min)));

        bl_wish(g, &wishes[heap->guest], g->target - part, BALLOON_WHY_HOST_LOW);
        missing -= part;
        *heap = heap[--count];
        sift(heap, count, 0);
    }
}

static void decide(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct donor *heap = (struct donor *)(void *)view->scratch;
    uint64_t wanted = 0, asked = 0, over;
    uint32_t count = 0;

    (void)state;
    for (uint32_t i = 0; i < view->guest_count; i++) {
        const balloon_guest_view *g = &view->guests[i];
        struct greedy_guest *w = g->state;
        uint64_t target = bl_held(g);

        if (!bl_movable(g)) {
            bl_keep_fixed(g, &wishes[i]);
        } else if (!bl_says(g, BALLOON_KNOWS_AVAILABLE)) {
            bl_keep(g, &wishes[i], BALLOON_WHY_STALE);
        } else {
            if (g->sample != w->sample)
                look(w, g, view->now);
            if (view->now < w->until)
                bl_wish(g, &wishes[i], bl_max(g->target, w->want), BALLOON_WHY_PRESSURE);
            else if (g->target > w->least)
                heap[count++] = (struct donor){g->target - w->least, i};
            target = wishes[i].target;
            asked = bl_sat_add(asked, target - g->target);
        }
        wanted = bl_sat_add(wanted, target);
    }
    /* All that may be promised is the pool less half of its reserve. */
    over = bl_less(wanted, bl_less(view->pool, view->reserve / 2));
    take(view, wishes, heap, count, bl_min(asked, over));
}

const balloon_policy balloon_policy_greedy = {
    .size = sizeof(balloon_policy),
    .name = "greedy",
    .guest_bytes = sizeof(struct greedy_guest),
    .scratch_words = DONOR_WORDS,
    .decide = decide,
};
