/* Guests of one host that are alike, but for what the first of them does to get more. They say of
 * themselves what a Linux guest of their size would, follow their targets, and are asked when the
 * pool is due. */
#ifndef FLOCK_H
#define FLOCK_H

#include <balloon/alloc.h>
#include <criterion/criterion.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define MIB    UINT64_C(256)
#define GIB    (1024 * MIB)

#define FLOCK_MOST  33
#define FLOCK_RAM   (8 * GIB)
#define FLOCK_SHARE (2 * GIB) /* of the pool, by equal shares */
#define FLOCK_LEAST (256 * MIB)
#define FLOCK_SPEED (2 * GIB) /* of balloons, in a second */

/* What the host sees of guests; each sees what those before it do, too. */
enum sight {
    SIGHT_VIRTIO, /* what a Linux guest tells the balloon device */
    SIGHT_STALLS, /* stall times and committed memory */
    SIGHT_ACTIVE, /* measured: what guests touch */
    SIGHT_CURVES, /* measured: miss-ratio curves */
    SIGHTS
};

/* What the first guest says that is not so. */
enum lie {
    LIE_NEED = 1 << 0,      /* nothing is free or available; and it touches all it has */
    LIE_STALL = 1 << 1,     /* it waits all of the time */
    LIE_SWAP = 1 << 2,      /* it swaps 400 MiB a second, in and out */
    LIE_COMMITTED = 1 << 3, /* it has promised its programs four times its RAM */
    LIE_KILLS = 1 << 4,     /* it has had to kill */
    LIE_ALL = (1 << 5) - 1
};

struct flock_guest {
    uint64_t id, size, target;
    uint64_t want; /* what it needs to miss nothing */
    bool gone;     /* its driver has left */
    /* Since it has booted: pages, events, microseconds. */
    uint64_t swapped_in, swapped_out, faults, stalled, alloc_stalls, scanned, kills;
};

struct flock {
    balloon_pool *pool;
    struct flock_guest guests[FLOCK_MOST];
    uint32_t count, lies;
    enum sight sight;
    uint64_t hurry; /* a guest misses one page of so many that it lacks, in a second */
    balloon_time_t now, measured;
};

static inline uint64_t flock_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* All have their share less the reserve, and want so much. */
static inline void flock_start(struct flock *f, const balloon_policy *policy, uint32_t count,
                               enum sight sight, uint64_t want)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = FLOCK_MOST,
                                  .pages = count * FLOCK_SHARE,
                                  .policy = policy};

    memset(f, 0, sizeof(*f));
    f->count = count;
    f->sight = sight;
    f->hurry = 16;
    cr_assert_eq(balloon_pool_create(&config, &f->pool), BALLOON_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct flock_guest *g = &f->guests[i];
        balloon_pool_guest guest = {.size = sizeof(guest),
                                    .min = FLOCK_LEAST,
                                    .max = FLOCK_RAM,
                                    .current = FLOCK_SHARE / 16 * 15};

        g->size = g->target = guest.current;
        g->want = want;
        cr_assert_eq(balloon_pool_add(f->pool, &guest, 0, &g->id), BALLOON_OK);
    }
}

static inline void flock_end(struct flock *f)
{
    const char *why = "";

    cr_assert(balloon_pool_check(f->pool, &why), "%s", why);
    balloon_pool_destroy(f->pool);
}

/* All but the first want that from now on. */
static inline void flock_want(struct flock *f, uint64_t want)
{
    for (uint32_t i = 1; i < f->count; i++)
        f->guests[i].want = want;
}

static inline uint64_t flock_missing(const struct flock_guest *g)
{
    return g->want > g->size ? g->want - g->size : 0;
}

/* What it does in a time: a fault brings eight pages from swap and takes a tenth of a millisecond.
 */
static inline void flock_live(const struct flock *f, struct flock_guest *g, uint32_t lies,
                              uint64_t ms)
{
    uint64_t faults = flock_min(flock_missing(g) / f->hurry, 8000) * ms / 1000;

    g->faults += lies & LIE_SWAP ? 100 * ms : faults;
    g->swapped_in += lies & LIE_SWAP ? 100 * ms : faults * 8;
    g->swapped_out = lies & LIE_SWAP ? g->swapped_in : g->swapped_in + flock_missing(g);
    g->stalled += lies & LIE_STALL ? 1000 * ms : faults * 100;
    g->alloc_stalls += lies & LIE_STALL ? 100 * ms : faults / 8;
    g->scanned += lies & LIE_STALL ? 100000 * ms : faults * 64;
    g->kills += lies & LIE_KILLS ? 1 : 0;
}

static inline void flock_put(balloon_sample *sample, balloon_stat stat, uint64_t pages)
{
    balloon_sample_set(sample, stat, pages << BALLOON_PAGE_SHIFT);
}

/* A guest that lacks memory keeps a little free and available all the same. */
static inline void flock_say(const struct flock *f, const struct flock_guest *g, uint32_t lies)
{
    balloon_sample sample = {.time = f->now};
    uint64_t spare = g->size > g->want ? g->size - g->want : 0;
    uint64_t truth = lies & LIE_NEED ? 0 : 1;

    flock_put(&sample, BALLOON_STAT_SWAP_IN, g->swapped_in);
    flock_put(&sample, BALLOON_STAT_SWAP_OUT, g->swapped_out);
    flock_put(&sample, BALLOON_STAT_FREE, truth * (48 * MIB + spare));
    flock_put(&sample, BALLOON_STAT_AVAILABLE, truth * (16 * MIB + spare));
    flock_put(&sample, BALLOON_STAT_CACHES, truth * 16 * MIB);
    flock_put(&sample, BALLOON_STAT_TOTAL, g->size);
    flock_put(&sample, BALLOON_STAT_DIRECT_SCAN, g->scanned);
    balloon_sample_set(&sample, BALLOON_STAT_MAJOR_FAULTS, g->faults);
    balloon_sample_set(&sample, BALLOON_STAT_ALLOC_STALL, g->alloc_stalls);
    balloon_sample_set(&sample, BALLOON_STAT_OOM_KILL, g->kills);
    if (f->sight >= SIGHT_STALLS) {
        balloon_sample_set(&sample, BALLOON_STAT_STALL_SOME, g->stalled);
        flock_put(&sample, BALLOON_STAT_COMMITTED,
                  lies & LIE_COMMITTED ? 4 * FLOCK_RAM : g->want + FLOCK_RAM - g->size);
    }
    cr_assert_eq(balloon_pool_sample(f->pool, g->id, &sample, f->now), BALLOON_OK);
}

/* What the host measures. A guest can touch all it has; but a curve shows what it really misses,
 * less and less with each page more. */
static inline void flock_measure(const struct flock *f, const struct flock_guest *g, uint32_t lies)
{
    enum { POINTS = 9, LAST = POINTS - 1 };
    balloon_curve_point points[POINTS];
    balloon_curve curve = {points, POINTS};
    uint64_t active = lies & LIE_NEED ? g->size : flock_min(g->size, g->want);

    for (uint64_t i = 0; i < POINTS; i++)
        points[i] = (balloon_curve_point){g->want * i / LAST, 10000 * (LAST - i) * (LAST - i)};
    if (f->sight >= SIGHT_ACTIVE)
        cr_assert_eq(balloon_pool_set_active(f->pool, g->id, active, f->now), BALLOON_OK);
    if (f->sight >= SIGHT_CURVES)
        cr_assert_eq(balloon_pool_set_curve(f->pool, g->id, &curve), BALLOON_OK);
}

static inline void flock_move(struct flock_guest *g, uint64_t ms)
{
    uint64_t step = FLOCK_SPEED * ms / 1000;

    if (g->gone)
        return;
    if (g->size < g->target)
        g->size += flock_min(step, g->target - g->size);
    else
        g->size -= flock_min(step, g->size - g->target);
}

/* To the pool's next decision, and that. Returns the milliseconds that has taken. */
static inline uint64_t flock_step(struct flock *f)
{
    balloon_time_t next = balloon_pool_deadline(f->pool);
    uint64_t ms = next > f->now ? (next - f->now) / 1000000 : 20;
    balloon_change change;
    bool measure = f->now - f->measured >= 10 * SECOND || f->now == 0;

    f->now += ms * 1000000;
    f->measured = measure ? f->now : f->measured;
    for (uint32_t i = 0; i < f->count; i++) {
        struct flock_guest *g = &f->guests[i];
        uint32_t lies = i == 0 ? f->lies : 0;

        flock_move(g, ms);
        flock_live(f, g, lies, ms);
        cr_assert_eq(balloon_pool_set_size(f->pool, g->id, g->size, f->now), BALLOON_OK);
        if (!g->gone)
            flock_say(f, g, lies);
        if (measure)
            flock_measure(f, g, lies);
    }
    (void)balloon_pool_decide(f->pool, f->now);
    while (balloon_pool_next(f->pool, &change))
        for (uint32_t i = 0; i < f->count; i++)
            if (f->guests[i].id == change.id)
                f->guests[i].target = change.target;
    return ms;
}

/* Until then; the mean size of the first guest meanwhile, in hundredths of its share. */
static inline uint64_t flock_run(struct flock *f, balloon_time_t end)
{
    uint64_t sum = 0, time = 0;

    while (f->now < end) {
        uint64_t ms = flock_step(f);

        sum += f->guests[0].size / MIB * ms;
        time += ms;
    }
    return sum * 100 / (time * (FLOCK_SHARE / MIB));
}

#endif
