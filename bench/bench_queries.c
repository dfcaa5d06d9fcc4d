/* Questions about a guest of 1 TiB, and the tracker's set-up: what a migration, an audit or a
 * controller asks again and again.
 *
 *   bench_queries [CASE]: only the cases whose name contains that text, as in next/held. */
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include <balloon/alloc.h>
#include <balloon/tracker.h>

#include "measure.h"

#define GIB    (UINT64_C(1) << 18)
#define PAGES  (1024 * GIB)
#define ROUNDS 1000u

static const char *only = "";
static volatile uint64_t sink;

static balloon_tracker *make(void)
{
    balloon_region region = {0, PAGES, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = PAGES};
    balloon_tracker *t = NULL;

    if (balloon_tracker_create(&config, &t) != BALLOON_OK ||
        balloon_tracker_add_region(t, &region, NULL) != BALLOON_OK) {
        fprintf(stderr, "no memory for a guest of 1 TiB\n");
        exit(1);
    }
    balloon_tracker_set_gather(t, true);
    return t;
}

/* How full the balloon is. */
static void fill(balloon_tracker *t, const char *how)
{
    if (!strcmp(how, "full") || !strcmp(how, "all but one"))
        balloon_tracker_inflate_range(t, (balloon_range){0, PAGES}, NULL);
    if (!strcmp(how, "all but one"))
        balloon_tracker_deflate_range(t, (balloon_range){PAGES - 1, 1}, NULL);
    if (!strcmp(how, "one"))
        balloon_tracker_inflate_range(t, (balloon_range){PAGES - 1, 1}, NULL);
    for (uint64_t i = 0; !strcmp(how, "every 1024th block") && i < PAGES; i += 1024 * 512)
        balloon_tracker_inflate_range(t, (balloon_range){i, 100}, NULL);
    for (uint64_t i = 0; !strcmp(how, "speckled") && i < PAGES; i += 37)
        balloon_tracker_inflate_range(t, (balloon_range){i, 1 + i % 17}, NULL);
}

typedef void question(balloon_tracker *t, balloon_set set);

/* Never the same questions again, which the processor would have learned. */
static uint64_t seed = 1;

static void next(balloon_tracker *t, balloon_set set)
{
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t at = measure_random(&seed) % PAGES;
        balloon_run run = {.region = 0};

        sink += balloon_tracker_next(t, set, (balloon_range){at, PAGES - at}, &run);
        sink += run.range.first;
    }
}

static void count_gib(balloon_tracker *t, balloon_set set)
{
    for (uint32_t i = 0; i < ROUNDS; i++)
        sink += balloon_tracker_count(t, set,
                                      (balloon_range){measure_random(&seed) % (PAGES - GIB), GIB});
}

static void measure(const char *what, const char *how, balloon_tracker *t, balloon_set set,
                    question *ask)
{
    static const char *const names[] = {"held", "free", "pending"};
    double ns[MEASURE_RUNS];
    char name[80];

    snprintf(name, sizeof(name), "%s/%s/%s", what, names[set], how);
    if (!strstr(name, only))
        return;
    for (int i = 0; i < MEASURE_RUNS; i++) {
        double start = measure_now();

        ask(t, set);
        ns[i] = measure_now() - start;
    }
    printf("{\"case\":\"%s\",\"impl\":\"libballoon\",\"ns\":%.1f}\n", name,
           measure_median(ns, MEASURE_RUNS) / ROUNDS);
    fflush(stdout);
}

static void say(const char *name, const char *impl, double *ns)
{
    printf("{\"case\":\"%s\",\"impl\":\"%s\",\"ns\":%.0f}\n", name, impl,
           measure_median(ns, MEASURE_RUNS));
}

/* Out beside a copy of as many bytes; in onto the same pages, and into an empty balloon. */
static void bitmaps(balloon_tracker *t)
{
    size_t bytes = PAGES / 8;
    uint8_t *bits = malloc(bytes), *from = malloc(bytes);
    double ours[MEASURE_RUNS], copy[MEASURE_RUNS], same[MEASURE_RUNS], in[MEASURE_RUNS];
    balloon_range all = {0, PAGES};

    if (!bits || !from || !strstr("export/held import/held import/empty", only))
        goto end;
    memset(bits, 1, bytes);
    memset(from, 1, bytes);
    for (int i = 0; i < MEASURE_RUNS; i++) {
        double start = measure_now();

        memcpy(bits, from, bytes);
        copy[i] = measure_now() - start;
        sink += bits[start > 0];
        start = measure_now();
        sink += balloon_tracker_export(t, BALLOON_SET_HELD, all, bits, bytes);
        ours[i] = measure_now() - start;
        start = measure_now();
        sink += balloon_tracker_import(t, all, bits, bytes, NULL);
        same[i] = measure_now() - start;
        balloon_tracker_reset(t);
        start = measure_now();
        sink += balloon_tracker_import(t, all, bits, bytes, NULL);
        in[i] = measure_now() - start;
    }
    say("export/held", "libballoon", ours);
    say("export/held", "memcpy", copy);
    say("import/held", "libballoon", same);
    say("import/empty", "libballoon", in);
end:
    free(bits);
    free(from);
}

/* In memory that nobody has touched: of the library, which knows that it is zero, or of others. */
static void set_up(void)
{
    balloon_region region = {0, PAGES, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = PAGES};
    double create[MEASURE_RUNS], init[MEASURE_RUNS];
    balloon_layout layout;

    if (balloon_tracker_layout(&config, &layout) != BALLOON_OK || !strstr("set-up", only))
        return;
    for (int i = 0; i < MEASURE_RUNS; i++) {
        balloon_tracker *t = NULL;
        void *memory =
            mmap(NULL, layout.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        double start = measure_now();

        if (memory == MAP_FAILED ||
            balloon_tracker_init(memory, layout.bytes, &config, &t) != BALLOON_OK ||
            balloon_tracker_add_region(t, &region, NULL) != BALLOON_OK)
            exit(1);
        init[i] = measure_now() - start;
        munmap(memory, layout.bytes);
        start = measure_now();
        if (balloon_tracker_create(&config, &t) != BALLOON_OK ||
            balloon_tracker_add_region(t, &region, NULL) != BALLOON_OK)
            exit(1);
        create[i] = measure_now() - start;
        balloon_tracker_destroy(t);
    }
    printf("{\"case\":\"set-up\",\"impl\":\"libballoon create\",\"ns\":%.0f}\n",
           measure_median(create, MEASURE_RUNS));
    printf("{\"case\":\"set-up\",\"impl\":\"libballoon init\",\"ns\":%.0f}\n",
           measure_median(init, MEASURE_RUNS));
}

int main(int argc, char **argv)
{
    static const char *const fills[] = {"empty",    "one",         "every 1024th block",
                                        "speckled", "all but one", "full"};

    if (argc > 1)
        only = argv[1];
    set_up();
    for (size_t i = 0; i < sizeof(fills) / sizeof(*fills); i++) {
        balloon_tracker *t = make();

        fill(t, fills[i]);
        for (int set = BALLOON_SET_HELD; set <= BALLOON_SET_PENDING; set++) {
            measure("next", fills[i], t, (balloon_set)set, next);
            measure("count a GiB", fills[i], t, (balloon_set)set, count_gib);
        }
        if (!strcmp(fills[i], "speckled"))
            bitmaps(t);
        balloon_tracker_destroy(t);
    }
    return 0;
}
