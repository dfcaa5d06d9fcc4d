/* What guests say, cleaned. All of it can be forged, and honest guests reboot, lag behind and leave
 * things out. */
#include <string.h>

#include "pool_p.h"

#define MILLION UINT64_C(1000000)

/* Time lost for one event, in microseconds, where a guest does not measure it: a page read from a
 * disk, an allocation that had to reclaim first. */
#define FAULT_COST UINT64_C(100)
#define STALL_COST UINT64_C(1000)

/* Pages that come with one fault from swap: Linux reads ahead (vm.page-cluster is 3). */
#define SWAP_CLUSTER UINT64_C(8)

/* What was swapped out, and for so long nothing came or went, is not missed. */
#define SWAP_FORGOTTEN (8 * SECOND)

/* A guest that has had much memory free for so long waits for something else: a limit inside. */
#define ROOMY_FOR (3 * SECOND)

/* A guest that took memory back unasked, since it would have had to kill, needs it for so long. */
#define TOOK_FOR (3 * SECOND)

/* How long a working set measured by the host counts, in lives of a guest's statistics: scans are
 * slow. */
#define ACTIVE_LIVES 4

static const balloon_stat stat_of[COUNTERS] = {
    [COUNTER_SWAP_IN] = BALLOON_STAT_SWAP_IN,
    [COUNTER_SWAP_OUT] = BALLOON_STAT_SWAP_OUT,
    [COUNTER_MAJOR_FAULTS] = BALLOON_STAT_MAJOR_FAULTS,
    [COUNTER_MINOR_FAULTS] = BALLOON_STAT_MINOR_FAULTS,
    [COUNTER_OOM_KILL] = BALLOON_STAT_OOM_KILL,
    [COUNTER_ALLOC_STALL] = BALLOON_STAT_ALLOC_STALL,
    [COUNTER_DIRECT_SCAN] = BALLOON_STAT_DIRECT_SCAN,
    [COUNTER_STALL_SOME] = BALLOON_STAT_STALL_SOME,
};

/* Guests say "not known" by all ones, or by -1 times the size of a page. */
static bool get(const balloon_sample *sample, balloon_stat stat, uint64_t *value)
{
    *value = sample->value[stat];
    return sample->present >> stat & 1 && *value <= INT64_MAX;
}

/* A value in bytes that cannot be more than the guest's RAM. */
static uint64_t get_pages(struct seen *seen, const balloon_sample *sample, balloon_stat stat,
                          uint32_t signal, uint64_t ram, bool *odd)
{
    uint64_t value;

    if (!get(sample, stat, &value))
        return 0;
    value >>= BALLOON_PAGE_SHIFT;
    if (value > ram) {
        *odd = true;
        return 0;
    }
    seen->known |= signal;
    return value;
}

/* What the counters did since the last statistics. */
struct deltas {
    uint32_t known; /* a bit a counter */
    bool back;      /* one went back */
    uint64_t by[COUNTERS];
};

static bool knows(const struct deltas *deltas, enum counter c)
{
    return deltas->known >> c & 1;
}

static struct deltas take_counters(struct seen *seen, const balloon_sample *sample)
{
    struct deltas deltas = {0};
    uint32_t present = 0;

    for (int c = 0; c < COUNTERS; c++) {
        uint64_t value;

        if (!get(sample, stat_of[c], &value))
            continue;
        present |= (uint32_t)1 << c;
        if (seen->counters >> c & 1) {
            deltas.known |= (uint32_t)1 << c;
            deltas.back |= value < seen->last[c];
            deltas.by[c] = value - seen->last[c];
        }
        seen->last[c] = value;
    }
    seen->counters = present;
    /* It has rebooted: nothing of before has a meaning. */
    if (deltas.back)
        deltas.known = 0;
    return deltas;
}

static uint64_t cost(uint64_t events, uint64_t each)
{
    /* Bounded, so that sums cannot run over. */
    return bl_min(events, PAGES_MAX) * each;
}

/* Allocations that waited without anything being scanned ran into a limit inside the guest, where
 * more memory does not help. Where the guest has become smaller it was the balloon that waited. */
static bool stalls_count(const struct deltas *d, bool shrunk)
{
    return knows(d, COUNTER_ALLOC_STALL) && !shrunk &&
           (!knows(d, COUNTER_DIRECT_SCAN) ||
            d->by[COUNTER_DIRECT_SCAN] >> BALLOON_PAGE_SHIFT >= d->by[COUNTER_ALLOC_STALL]);
}

/* Add what happened in a time to the sum over the last second: the older, the less it counts. So
 * the sum means the same however often statistics come. */
static uint64_t last_second(uint64_t sum, uint64_t more, balloon_time_t elapsed)
{
    if (elapsed >= SECOND)
        return more ? bl_mul_div(more, SECOND, elapsed) : 0;
    return sum ? bl_mul_div(sum, SECOND - elapsed, SECOND) + more : more;
}

/* Time that faults cost. A fault from swap is a major fault, too, and counts once; but what comes
 * from swap when a file in memory is read or written is none. Where reading files counts as
 * swapping in, as on Windows, neither tells of want. */
static bool fault_time(const struct deltas *d, const balloon_sample *sample, uint64_t *lost)
{
    bool faults = knows(d, COUNTER_MAJOR_FAULTS), swap = knows(d, COUNTER_SWAP_IN);
    uint64_t clusters =
        bl_div((d->by[COUNTER_SWAP_IN] >> BALLOON_PAGE_SHIFT) + SWAP_CLUSTER - 1, SWAP_CLUSTER);

    if (sample->present & BALLOON_SAMPLE_READS || (!faults && !swap))
        return false;
    *lost +=
        cost(bl_max(faults ? d->by[COUNTER_MAJOR_FAULTS] : 0, swap ? clusters : 0), FAULT_COST);
    return true;
}

static void take_stall(struct seen *seen, const struct deltas *d, const balloon_sample *sample,
                       bool shrunk, balloon_time_t elapsed)
{
    uint64_t lost = 0;
    bool killed = knows(d, COUNTER_OOM_KILL) && d->by[COUNTER_OOM_KILL];

    if (knows(d, COUNTER_STALL_SOME)) {
        lost = bl_min(d->by[COUNTER_STALL_SOME], PAGES_MAX);
    } else {
        bool faults = fault_time(d, sample, &lost);

        if (!killed && !faults && !knows(d, COUNTER_ALLOC_STALL)) {
            seen->waited = 0;
            return;
        }
        if (stalls_count(d, shrunk))
            lost += cost(d->by[COUNTER_ALLOC_STALL], STALL_COST);
    }
    seen->waited = killed ? MILLION : bl_min(last_second(seen->waited, lost, elapsed), MILLION);
    seen->stall = (uint32_t)seen->waited;
    /* More memory would not help. */
    if (seen->roomy != BALLOON_TIME_NEVER && seen->time - seen->roomy >= ROOMY_FOR)
        seen->stall = 0;
    seen->known |= BALLOON_KNOWS_STALL;
    seen->stall_sample++;
}

/* What is out on swap: it went out and did not come in. When its owner ends, no counter says so;
 * so what nobody asks for is forgotten by and by. */
static void take_swap(struct seen *seen, const struct deltas *d, balloon_time_t elapsed,
                      uint64_t ram)
{
    const uint32_t both = (uint32_t)1 << COUNTER_SWAP_IN | (uint32_t)1 << COUNTER_SWAP_OUT;
    uint64_t in = d->by[COUNTER_SWAP_IN] >> BALLOON_PAGE_SHIFT;
    uint64_t out = d->by[COUNTER_SWAP_OUT] >> BALLOON_PAGE_SHIFT;

    if ((seen->counters & both) != both) {
        seen->swapped = seen->swapped_in = 0;
        return;
    }
    seen->known |= BALLOON_KNOWS_SWAP;
    if ((d->known & both) != both) {
        seen->swapped = bl_less(seen->last[COUNTER_SWAP_OUT], seen->last[COUNTER_SWAP_IN]) >>
                        BALLOON_PAGE_SHIFT;
        seen->swapped_in = 0;
    } else if (in || out) {
        seen->swapped = bl_less(bl_sat_add(seen->swapped, out), in);
    } else {
        seen->swapped -= bl_mul_div(seen->swapped, bl_min(elapsed, SWAP_FORGOTTEN), SWAP_FORGOTTEN);
    }
    seen->swapped = bl_min(seen->swapped, ram);
    seen->swapped_in = bl_min(last_second(seen->swapped_in, in, elapsed), ram);
}

/* How fast what it uses grows. Its size and its statistics are not of the same moment, and Linux
 * may count the balloon as used; what grows by both measures has grown. */
static void take_growth(struct seen *seen, const balloon_sample *sample, uint64_t size,
                        balloon_time_t elapsed)
{
    uint64_t total, used[2] = {0, 0}, growth = UINT64_MAX;

    if (seen->known & BALLOON_KNOWS_AVAILABLE) {
        used[0] = bl_less(size, seen->available) + 1;
        if (get(sample, BALLOON_STAT_TOTAL, &total))
            used[1] = bl_less(total >> BALLOON_PAGE_SHIFT, seen->available) + 1;
    }
    for (int i = 0; i < 2; i++) {
        if (used[i] && seen->used[i])
            growth = bl_min(growth, bl_less(used[i], seen->used[i]));
        seen->used[i] = used[i];
    }
    seen->growth = growth == UINT64_MAX ? 0 : last_second(seen->growth, growth, elapsed);
}

static void take_room(struct seen *seen, uint64_t size)
{
    if (!(seen->known & BALLOON_KNOWS_FREE) || seen->free < bl_max(size / 8, 64 * MIB))
        seen->roomy = BALLOON_TIME_NEVER;
    else if (seen->roomy == BALLOON_TIME_NEVER)
        seen->roomy = seen->time;
}

/* Demand may exceed RAM, and the balloon is part of it. */
static void take_committed(struct seen *seen, const balloon_sample *sample, uint64_t ram,
                           uint64_t size)
{
    uint64_t value;

    if (!get(sample, BALLOON_STAT_COMMITTED, &value))
        return;
    seen->known |= BALLOON_KNOWS_COMMITTED;
    seen->committed = bl_min(bl_less(value >> BALLOON_PAGE_SHIFT, ram - size), ram);
}

balloon_status balloon_pool_sample(balloon_pool *p, uint64_t id, const balloon_sample *sample,
                                   balloon_time_t now)
{
    struct guest *g = bl_pool_guest(p, id);
    struct deltas deltas;
    balloon_time_t elapsed, time;
    bool odd = false;

    if (!g || !sample)
        return BALLOON_ERR_INVALID;

    struct seen *seen = &g->seen;
    uint64_t ram = bl_max(g->max, g->size);

    /* The newest statistics may be offered any number of times; a second look learns nothing. */
    time = bl_min(sample->time, now);
    if (seen->count && (sample->time == seen->given || time <= seen->time))
        return BALLOON_OK;
    odd = sample->time > now;
    elapsed = time - seen->time;
    seen->given = sample->time;
    seen->time = time;
    seen->count++;
    p->counters.samples++;

    seen->known = 0;
    seen->available =
        get_pages(seen, sample, BALLOON_STAT_AVAILABLE, BALLOON_KNOWS_AVAILABLE, ram, &odd);
    seen->free = get_pages(seen, sample, BALLOON_STAT_FREE, BALLOON_KNOWS_FREE, ram, &odd);
    seen->caches = get_pages(seen, sample, BALLOON_STAT_CACHES, BALLOON_KNOWS_CACHES, ram, &odd);
    seen->committed = 0;
    seen->stall = 0;
    deltas = take_counters(seen, sample);
    p->counters.reboots += deltas.back;
    take_room(seen, g->size);
    take_growth(seen, sample, g->size, elapsed);
    take_stall(seen, &deltas, sample, g->size < seen->size || guest_away(g) > 0, elapsed);
    seen->size = g->size;
    take_swap(seen, &deltas, elapsed, ram);
    take_committed(seen, sample, ram, g->size);
    p->counters.samples_odd += odd;
    guest_set_needy(g);
    p->event |= guest_waits(g);
    g->view_until = 0;
    return BALLOON_OK;
}

balloon_status balloon_pool_set_active(balloon_pool *p, uint64_t id, uint64_t pages,
                                       balloon_time_t now)
{
    struct guest *g = bl_pool_guest(p, id);

    if (!g)
        return BALLOON_ERR_INVALID;
    g->view_until = 0;
    g->active = pages;
    g->active_until = now;
    for (int i = 0; i < ACTIVE_LIVES; i++)
        g->active_until = time_after(g->active_until, p->stale_after);
    return BALLOON_OK;
}

balloon_status balloon_pool_set_curve(balloon_pool *p, uint64_t id, const balloon_curve *curve)
{
    struct guest *g = bl_pool_guest(p, id);

    if (!g || !curve || curve->count > BALLOON_CURVE_POINTS_MAX || (curve->count && !curve->points))
        return BALLOON_ERR_INVALID;
    for (uint32_t i = 1; i < curve->count; i++)
        if (curve->points[i].pages <= curve->points[i - 1].pages ||
            curve->points[i].misses > curve->points[i - 1].misses)
            return BALLOON_ERR_INVALID;
    if (curve->count)
        memcpy(p->curves + (size_t)(g - p->guests) * BALLOON_CURVE_POINTS_MAX, curve->points,
               curve->count * sizeof(*curve->points));
    g->curve_count = curve->count;
    g->view_until = 0;
    return BALLOON_OK;
}

void bl_pool_view_seen(balloon_guest_view *view, const balloon_pool *p, struct guest *g,
                       balloon_time_t now)
{
    const struct seen *seen = &g->seen;

    view->sample = seen->count;
    if (!(view->flags & BALLOON_GUEST_STALE)) {
        view->known = seen->known;
        view->available = bl_min(seen->available, g->size);
        /* Linux keeps a little of what is free to itself, so that available can be less. */
        view->free =
            bl_min(seen->free, seen->known & BALLOON_KNOWS_AVAILABLE ? view->available : g->size);
        view->caches = bl_min(seen->caches, g->size);
        view->committed = seen->committed;
        view->swapped = bl_min(seen->swapped, g->size);
        view->swap_in_rate = seen->swapped_in;
        view->stall = seen->stall;
        view->stall_sample = seen->stall_sample;
        view->growth = seen->growth;
        g->view_until =
            bl_min(g->view_until, time_after(time_after(seen->time, p->stale_after), 1));
    }
    if (g->took && bl_less(now, g->took) < TOOK_FOR) {
        view->known |= BALLOON_KNOWS_STALL;
        view->stall = (uint32_t)MILLION;
        g->view_until = bl_min(g->view_until, time_after(g->took, TOOK_FOR));
    }
    if (now < g->active_until) {
        g->view_until = bl_min(g->view_until, g->active_until);
        view->known |= BALLOON_KNOWS_ACTIVE;
        view->active = bl_min(g->active, g->size);
    }
    if (g->curve_count) {
        view->known |= BALLOON_KNOWS_CURVE;
        view->curve.points = p->curves + (size_t)(g - p->guests) * BALLOON_CURVE_POINTS_MAX;
        view->curve.count = g->curve_count;
    }
}
