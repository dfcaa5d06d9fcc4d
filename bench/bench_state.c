/* A page map as a whole: how large it is, and a walk over all runs of a guest of 1 TiB.
 *
 *   bench_state [CASE]: only the cases whose name contains that text, as in state/1TiB. */
#include <balloon/alloc.h>
#include <balloon/tracker.h>

#include "cases.h"

#define GIB   (UINT64_C(1) << 18)
#define PAGES (1024 * GIB)

static void print_state(const char *name, uint64_t pages)
{
    for (uint32_t hints = 0; hints < 2 && case_wanted(name); hints++) {
        balloon_tracker_config config = {
            .size = sizeof(config), .max_pages = pages, .hints = hints};
        balloon_layout layout;

        if (balloon_tracker_layout(&config, &layout) != BALLOON_OK)
            exit(1);
        printf("{\"case\":\"%s\",\"impl\":\"%s\",\"bytes\":%zu,\"bits_per_page\":%.4f}\n", name,
               hints ? "libballoon with hints" : "libballoon", layout.bytes,
               8 * (double)layout.bytes / (double)pages);
    }
}

struct walk {
    balloon_tracker *tracker;
    balloon_set set;
    uint64_t runs;
};

static void walk_all(void *self)
{
    struct walk *w = self;
    balloon_run run = {.region = 0};
    uint64_t from = 0;

    for (w->runs = 0;
         balloon_tracker_next(w->tracker, w->set, (balloon_range){from, PAGES - from}, &run);
         w->runs++)
        from = run.range.first + run.range.count;
}

static void print_walk(struct walk *w, const char *set, const char *fill)
{
    char name[64];

    snprintf(name, sizeof(name), "runs/%s/%s", set, fill);
    if (!case_wanted(name))
        return;
    double ns = case_measure(walk_all, w);

    case_print(name, "libballoon", "run", w->runs, ns);
}

/* Runs of four pages, that many pages from each other. */
static void measure_runs(struct walk *w, uint64_t distance, const char *fill)
{
    balloon_tracker_reset(w->tracker);
    for (uint64_t at = 0; at + 4 <= PAGES; at += distance)
        balloon_tracker_inflate_range(w->tracker, (balloon_range){at, 4}, NULL);
    w->set = BALLOON_SET_HELD;
    print_walk(w, "held", fill);
    w->set = BALLOON_SET_FREE;
    print_walk(w, "free", fill);
}

int main(int argc, char **argv)
{
    balloon_region ram = {0, PAGES, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = PAGES};
    struct walk w = {NULL, BALLOON_SET_HELD, 0};

    if (argc > 1)
        cases_only = argv[1];
    print_state("state/1GiB", GIB);
    print_state("state/1TiB", PAGES);
    if (balloon_tracker_create(&config, &w.tracker) != BALLOON_OK ||
        balloon_tracker_add_region(w.tracker, &ram, NULL) != BALLOON_OK) {
        fprintf(stderr, "no memory for a guest of 1 TiB\n");
        return 1;
    }
    measure_runs(&w, 1000, "one in 1000");
    measure_runs(&w, 2097253, "one in 2097253");
    balloon_tracker_destroy(w.tracker);
    return 0;
}
