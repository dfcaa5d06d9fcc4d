/* The pool: nanoseconds of CPU for each guest and decision, from sizes and statistics in to changes
 * out, with a policy that does nothing and with all that are built in. Of decisions a second apart,
 * each with news from all guests (decide), and of ten in a second, with as many and a few (beat).
 */
#include <string.h>

#include <balloon/pool.h>

#include "measure.h"

#define SECOND    UINT64_C(1000000000)
#define GUEST_RAM (UINT64_C(1) << 20)
#define TICKS     6 /* seconds before anything is measured */
#define BEATS     10
#define FEW       64 /* one in so many guests has news in between */

static volatile uint64_t sink;

static void hold(void *state, const balloon_view *view, balloon_wish *wishes)
{
    (void)state;
    (void)wishes;
    sink += view->guest_count;
}

static const balloon_policy hold_policy = {
    .size = sizeof(balloon_policy), .name = "hold", .decide = hold};

struct world {
    balloon_pool *pool;
    void *memory;
    uint32_t count;
    uint64_t *ids, *sizes, *counters;
    uint64_t random;
    balloon_time_t now;
};

static bool start(struct world *w, const balloon_policy *policy, uint32_t count, bool curves)
{
    /* Half as much as all could use. */
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = count,
                                  .pages = count * (GUEST_RAM / 2),
                                  .policy = policy,
                                  .boot_grace = 1};
    balloon_pool_guest guest = {.size = sizeof(guest), .max = GUEST_RAM};
    balloon_layout layout;

    memset(w, 0, sizeof(*w));
    if (balloon_pool_layout(&config, &layout) != BALLOON_OK)
        return false;
    w->memory = aligned_alloc(layout.align, layout.bytes);
    w->ids = calloc(count, 8);
    w->sizes = calloc(count, 8);
    w->counters = calloc(count, 8);
    if (!w->memory || !w->ids || !w->sizes || !w->counters ||
        balloon_pool_init(w->memory, layout.bytes, &config, &w->pool) != BALLOON_OK)
        return false;
    w->count = count;
    for (uint32_t i = 0; i < count; i++) {
        balloon_curve_point points[8];
        balloon_curve curve = {points, 8};
        uint64_t misses = 1000000 + measure_random(&w->random) % 1000000;

        guest.min = GUEST_RAM / 16;
        guest.current = w->sizes[i] = GUEST_RAM * 7 / 16;
        guest.shares = (uint32_t)(1 + measure_random(&w->random) % 10000);
        guest.priority = (uint32_t)(measure_random(&w->random) % 4);
        for (uint64_t k = 0; k < 8; k++) {
            points[k] = (balloon_curve_point){(k + 1) * (GUEST_RAM / 8), misses};
            misses /= 2 + measure_random(&w->random) % 3;
        }
        if (balloon_pool_add(w->pool, &guest, 0, &w->ids[i]) != BALLOON_OK ||
            (curves && balloon_pool_set_curve(w->pool, w->ids[i], &curve) != BALLOON_OK))
            return false;
    }
    return true;
}

/* A guest says what it uses, which changes a little all the time, and is where it should be. */
static void feed(struct world *w, uint32_t i)
{
    uint64_t random = measure_random(&w->random), uses = GUEST_RAM / 8 + random % GUEST_RAM / 2;
    balloon_sample sample = {.time = w->now};

    uses = uses < w->sizes[i] ? uses : w->sizes[i];
    w->counters[i] += random % 50000;
    balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, (w->sizes[i] - uses) << 12);
    balloon_sample_set(&sample, BALLOON_STAT_FREE, (w->sizes[i] - uses) << 11);
    balloon_sample_set(&sample, BALLOON_STAT_CACHES, (w->sizes[i] - uses) << 11);
    balloon_sample_set(&sample, BALLOON_STAT_COMMITTED, uses << 12);
    balloon_sample_set(&sample, BALLOON_STAT_STALL_SOME, w->counters[i]);
    if (balloon_pool_set_size(w->pool, w->ids[i], w->sizes[i], w->now) != BALLOON_OK ||
        balloon_pool_sample(w->pool, w->ids[i], &sample, w->now) != BALLOON_OK ||
        balloon_pool_set_active(w->pool, w->ids[i], uses, w->now) != BALLOON_OK)
        exit(1);
}

/* So many decisions in a second: the first after news from all guests, others from few. */
static void second(struct world *w, uint32_t beats, double *feeding, double *deciding)
{
    for (uint32_t beat = 0; beat < beats; beat++) {
        double start = measure_now(), middle;
        uint32_t step = beat == 0 ? 1 : FEW;
        balloon_change change;

        w->now += SECOND / beats;
        for (uint32_t i = beat; i < w->count; i += step)
            feed(w, i);
        middle = measure_now();
        sink += balloon_pool_decide(w->pool, w->now);
        while (balloon_pool_next(w->pool, &change))
            w->sizes[change.id - w->ids[0]] = change.target;
        *feeding += (middle - start) / beats;
        *deciding += (measure_now() - middle) / beats;
    }
}

static void print(const char *what, const char *policy, uint32_t guests, double ns)
{
    printf("{\"case\":\"%s\",\"impl\":\"%s\",\"guests\":%u,\"ns_per_guest\":%.1f}\n", what, policy,
           guests, ns / guests);
    fflush(stdout);
}

static void measure(const balloon_policy *policy, const char *name, uint32_t count, bool curves,
                    uint32_t beats)
{
    /* Small pools are too quick for the clock. */
    int repeat = count < 10000 ? (int)(10000 / count) : 1;
    double feeding[MEASURE_RUNS], deciding[MEASURE_RUNS], in = 0, out = 0;
    struct world w;

    if (!start(&w, policy, count, curves)) {
        fprintf(stderr, "no pool for %u guests\n", count);
        exit(1);
    }
    for (int i = 0; i < TICKS; i++)
        second(&w, beats, &in, &out);
    for (int i = 0; i < MEASURE_RUNS; i++) {
        in = out = 0;
        for (int j = 0; j < repeat; j++)
            second(&w, beats, &in, &out);
        feeding[i] = in / repeat;
        deciding[i] = out / repeat;
    }
    if (policy == &hold_policy && beats == 1)
        print("pool/feed", name, count, measure_median(feeding, MEASURE_RUNS));
    print(beats == 1 ? "pool/decide" : "pool/beat", name, count,
          measure_median(deciding, MEASURE_RUNS));
    free(w.memory);
    free(w.ids);
    free(w.sizes);
    free(w.counters);
}

/* An argument that is not about pools is for the other benchmarks. */
int main(int argc, char **argv)
{
    static const uint32_t counts[] = {10, 100, 1000, 10000, 100000};
    size_t policies;
    const balloon_policy *const *all = balloon_policies(&policies);

    if (argc > 1 && !strstr("pool/feed pool/decide pool/beat", argv[1]))
        return 0;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (uint32_t beats = 1; beats <= BEATS; beats += BEATS - 1) {
            measure(&hold_policy, hold_policy.name, counts[i], false, beats);
            for (size_t j = 0; j < policies; j++)
                measure(all[j], all[j]->name, counts[i], all[j] == &balloon_policy_curves, beats);
            measure(&balloon_policy_waterline, "waterline+mrc", counts[i], true, beats);
        }
    }
    return 0;
}
