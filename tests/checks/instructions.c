/* The hot paths, each in a call of counted(): under callgrind, which then says how many
 * instructions it took. A line on standard output says which case came and what to divide by. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/alloc.h>
#include <balloon/pool.h>
#include <balloon/tracker.h>

#include "../../bench/device_path.h"
#include "../../bench/patterns.h"
#include "../../lib/core/tracker_batch_p.h"

enum { SOME_BUFFERS = BUFFERS / 8, GUESTS = 1000, TICKS = 20 };
#define GUEST_PAGES (UINT64_C(1) << 20)
#define SECOND      UINT64_C(1000000000)

static volatile uint64_t sink;

/* A case: what is counted. */
typedef void work_function(void *self);

void counted(work_function *work, void *self);
__attribute__((noinline)) void counted(work_function *work, void *self)
{
    work(self);
    sink++;
}
/* Through this one, so that no compiler makes another of it. */
static void (*volatile count)(work_function *work, void *self) = counted;

static void count_case(const char *name, uint64_t units, work_function *work, void *self)
{
    printf("%s %llu\n", name, (unsigned long long)units);
    count(work, self);
}

static void must(bool good)
{
    if (good)
        return;
    fprintf(stderr, "a case could not be set up\n");
    exit(1);
}

/* --- the tracker -------------------------------------------------------------------------- */

struct page_case {
    balloon_tracker *tracker;
    const uint32_t *stream;
    bool gather;
};

static void take_all(balloon_tracker *tracker)
{
    balloon_run runs[BUFFER_PAGES];
    size_t n;

    do {
        n = balloon_tracker_take(tracker, runs, BUFFER_PAGES);
        sink += n;
    } while (n == BUFFER_PAGES);
}

static void inflate(void *self)
{
    struct page_case *c = self;
    balloon_tally tally = {0};

    for (uint32_t b = 0; b < SOME_BUFFERS; b++) {
        balloon_tracker_inflate(c->tracker, c->stream + b * BUFFER_PAGES, BUFFER_PAGES, &tally);
        if (c->gather)
            continue;
        take_all(c->tracker);
        balloon_tracker_settle(c->tracker);
    }
    take_all(c->tracker);
    must(tally.changed == SOME_BUFFERS * BUFFER_PAGES);
}

static void deflate(void *self)
{
    struct page_case *c = self;
    balloon_tally tally = {0};

    for (uint32_t b = 0; b < SOME_BUFFERS; b++)
        balloon_tracker_deflate(c->tracker, c->stream + b * BUFFER_PAGES, BUFFER_PAGES, &tally);
    must(tally.changed == SOME_BUFFERS * BUFFER_PAGES);
}

static void tracker_cases(const char *version, char pattern, const uint32_t *stream, bool gather)
{
    balloon_region ram = {0, GUEST_PAGES, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = GUEST_PAGES};
    struct page_case c = {.stream = stream, .gather = gather};
    char name[64];

    must(balloon_tracker_create(&config, &c.tracker) == BALLOON_OK &&
         balloon_tracker_add_region(c.tracker, &ram, NULL) == BALLOON_OK);
    balloon_tracker_set_gather(c.tracker, gather);
    for (int in = 1; in >= 0; in--) {
        snprintf(name, sizeof(name), "%s/%c/%s/%s", in ? "inflate" : "deflate", pattern,
                 gather ? "gathering" : "settling", version);
        count_case(name, SOME_BUFFERS * BUFFER_PAGES, in ? inflate : deflate, &c);
    }
    balloon_tracker_destroy(c.tracker);
}

/* --- the device --------------------------------------------------------------------------- */

static void device_inflate(void *self)
{
    device_path_inflate(self);
}

static void device_deflate(void *self)
{
    device_path_deflate(self);
}

static void device_cases(unsigned number, char pattern, const uint32_t *stream)
{
    struct device_path path;
    char name[64];

    device_path_open(&path, number, GUEST_PAGES);
    device_path_load(&path, stream, SOME_BUFFERS);
    for (int in = 1; in >= 0; in--) {
        snprintf(name, sizeof(name), "device/%s/%c/%s", in ? "inflate" : "deflate", pattern,
                 path.name);
        for (char *space; (space = strchr(name, ' '));)
            *space = '-';
        count_case(name, SOME_BUFFERS * BUFFER_PAGES, in ? device_inflate : device_deflate, &path);
        must(balloon_tracker_held(balloon_device_tracker(path.device)) ==
             (in ? SOME_BUFFERS * BUFFER_PAGES : 0));
    }
    device_path_close(&path);
}

/* --- questions ---------------------------------------------------------------------------- */

enum { QUESTIONS = 1000 };

struct question_case {
    balloon_tracker *tracker;
    uint64_t pages;
};

static void count_gib(void *self)
{
    struct question_case *c = self;
    uint64_t gib = UINT64_C(1) << 18, seed = 0;

    for (int i = 0; i < QUESTIONS; i++)
        sink +=
            balloon_tracker_count(c->tracker, BALLOON_SET_HELD,
                                  (balloon_range){measure_random(&seed) % (c->pages - gib), gib});
}

static void next_run(void *self)
{
    struct question_case *c = self;
    uint64_t seed = 0;
    balloon_run run;

    for (int i = 0; i < QUESTIONS; i++) {
        uint64_t from = measure_random(&seed) % c->pages;

        sink += balloon_tracker_next(c->tracker, BALLOON_SET_HELD,
                                     (balloon_range){from, c->pages - from}, &run);
    }
}

/* A page here and there, far from each other. */
static void question_cases(void)
{
    uint64_t pages = UINT64_C(1) << 26;
    balloon_region ram = {0, pages, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = pages};
    struct question_case c = {.pages = pages};

    must(balloon_tracker_create(&config, &c.tracker) == BALLOON_OK &&
         balloon_tracker_add_region(c.tracker, &ram, NULL) == BALLOON_OK);
    for (uint32_t i = 0; i < 64; i++)
        balloon_tracker_inflate(c.tracker, &(uint32_t){i << 20 | 12345}, 1, NULL);
    count_case("count/1GiB", QUESTIONS, count_gib, &c);
    count_case("next/held", QUESTIONS, next_run, &c);
    balloon_tracker_destroy(c.tracker);
}

/* --- the pool ----------------------------------------------------------------------------- */

struct pool_case {
    balloon_pool *pool;
    uint64_t ids[GUESTS], sizes[GUESTS];
    balloon_time_t now;
};

static void decide(void *self)
{
    struct pool_case *c = self;
    balloon_change change;

    sink += balloon_pool_decide(c->pool, c->now);
    while (balloon_pool_next(c->pool, &change))
        c->sizes[change.id - c->ids[0]] = change.target;
}

/* Guests that use more and less, and are where they should be. */
static void feed(struct pool_case *c, uint64_t *seed)
{
    c->now += SECOND;
    for (uint32_t i = 0; i < GUESTS; i++) {
        uint64_t uses = GUEST_PAGES / 8 + measure_random(seed) % (GUEST_PAGES / 2);
        balloon_sample sample = {.time = c->now};

        uses = uses < c->sizes[i] ? uses : c->sizes[i];
        balloon_sample_set(&sample, BALLOON_STAT_AVAILABLE, (c->sizes[i] - uses) << 12);
        balloon_sample_set(&sample, BALLOON_STAT_FREE, (c->sizes[i] - uses) << 11);
        must(balloon_pool_set_size(c->pool, c->ids[i], c->sizes[i], c->now) == BALLOON_OK &&
             balloon_pool_sample(c->pool, c->ids[i], &sample, c->now) == BALLOON_OK);
    }
}

static void pool_cases(const balloon_policy *policy)
{
    balloon_pool_config config = {.size = sizeof(config),
                                  .max_guests = GUESTS,
                                  .pages = GUESTS * (GUEST_PAGES / 2),
                                  .policy = policy,
                                  .boot_grace = 1};
    balloon_pool_guest guest = {.size = sizeof(guest), .min = GUEST_PAGES / 16, .max = GUEST_PAGES};
    struct pool_case *c = calloc(1, sizeof(*c));
    uint64_t seed = 0;
    char name[64];

    must(c && balloon_pool_create(&config, &c->pool) == BALLOON_OK);
    for (uint32_t i = 0; i < GUESTS; i++) {
        guest.current = c->sizes[i] = GUEST_PAGES * 7 / 16;
        must(balloon_pool_add(c->pool, &guest, 0, &c->ids[i]) == BALLOON_OK);
    }
    for (int i = 0; i < TICKS; i++) {
        feed(c, &seed);
        decide(c);
    }
    feed(c, &seed);
    snprintf(name, sizeof(name), "decide/%s", policy->name);
    count_case(name, GUESTS, decide, c);
    balloon_pool_destroy(c->pool);
    free(c);
}

int main(void)
{
    uint32_t *stream = malloc(STREAM_PAGES * sizeof(*stream));
    size_t policies;
    const balloon_policy *const *all = balloon_policies(&policies);

    must(stream != NULL);
    for (char pattern = 'a'; pattern <= 'e'; pattern++) {
        make_pattern(pattern, stream, GUEST_PAGES);
        for (unsigned i = 0; bl_batch_version(i); i++) {
            bl_batch_use(bl_batch_version(i));
            for (int gather = 0; gather < 2; gather++)
                tracker_cases(bl_batch_version(i)->name, pattern, stream, gather);
        }
        bl_batch_use(&bl_batch_portable); /* what the device adds is the same for all */
        for (unsigned i = 0; i < DEVICE_PATHS; i++)
            device_cases(i, pattern, stream);
    }
    question_cases();
    for (size_t i = 0; i < policies; i++)
        pool_cases(all[i]);
    free(stream);
    return 0;
}
