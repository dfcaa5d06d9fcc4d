/* Inflate and deflate: page numbers in, page state, counts and maximal runs to discard out. All
 * that take part do the same streams in turn, so that a busy machine is as bad for each.
 * Streams are made (a to e), or recorded from real guests.
 *
 *   bench_tracker [CASE]: only the cases whose name contains that text, as in inflate/d/4GiB. */
#include <stdbool.h>
#include <string.h>

#include <balloon/alloc.h>
#include <balloon/tracker.h>

#include "../lib/core/tracker_batch_p.h"
#include "measure.h"
#include "page_maps.h"
#include "patterns.h"
#include "recorded.h"

static const char *only = "";

/* --- ours --------------------------------------------------------------------------------- */

struct ours {
    balloon_tracker *tracker;
    const struct batch_code *version;
    bool gather;
    char name[64];
};

static void ours_take(struct ours *o)
{
    balloon_run runs[BUFFER_PAGES];
    size_t n;

    do {
        n = balloon_tracker_take(o->tracker, runs, BUFFER_PAGES);
        page_maps_sink += n;
    } while (n == BUFFER_PAGES);
}

static void ours_inflate(void *self, const uint32_t *stream)
{
    struct ours *o = self;
    balloon_tally tally = {0};

    bl_batch_use(o->version);
    for (uint32_t b = 0; b < BUFFERS; b++) {
        balloon_tracker_inflate(o->tracker, stream + b * BUFFER_PAGES, BUFFER_PAGES, &tally);
        if (o->gather)
            continue;
        ours_take(o);
        balloon_tracker_settle(o->tracker);
    }
    ours_take(o);
    page_maps_sink += tally.changed;
}

static void ours_deflate(void *self, const uint32_t *stream)
{
    struct ours *o = self;
    balloon_tally tally = {0};

    bl_batch_use(o->version);
    for (uint32_t b = 0; b < BUFFERS; b++)
        balloon_tracker_deflate(o->tracker, stream + b * BUFFER_PAGES, BUFFER_PAGES, &tally);
    page_maps_sink += tally.changed;
}

static struct page_map ours_make(const struct batch_code *version, bool gather, uint64_t pages)
{
    balloon_region ram = {0, pages, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = pages};
    struct ours *o = calloc(1, sizeof(*o));

    if (!o || balloon_tracker_create(&config, &o->tracker) != BALLOON_OK ||
        balloon_tracker_add_region(o->tracker, &ram, NULL) != BALLOON_OK) {
        fprintf(stderr, "no memory for a guest of %llu pages\n", (unsigned long long)pages);
        exit(1);
    }
    snprintf(o->name, sizeof(o->name), "libballoon %s%s", version->name,
             gather ? " gathering" : "");
    o->version = version;
    o->gather = gather;
    balloon_tracker_set_gather(o->tracker, gather);
    return (struct page_map){o->name, o, ours_inflate, ours_deflate};
}

/* --- measuring ---------------------------------------------------------------------------- */

static void measure(const char *guest, const char *pattern, const uint32_t *stream,
                    const struct page_map *maps, size_t count)
{
    static double in[16][MEASURE_RUNS], out[16][MEASURE_RUNS];
    char inflate[64], deflate[64];

    snprintf(inflate, sizeof(inflate), "inflate/%s/%s", pattern, guest);
    snprintf(deflate, sizeof(deflate), "deflate/%s/%s", pattern, guest);
    if (!strstr(inflate, only) && !strstr(deflate, only))
        return;
    for (int i = -1; i < MEASURE_RUNS; i++) { /* the first one brings in the memory */
        for (size_t k = 0; k < count; k++) {
            double start, middle;

            floor_pass(NULL, stream); /* each finds it as near as the others do */
            start = measure_now();
            maps[k].inflate(maps[k].self, stream);
            middle = measure_now();
            if (maps[k].deflate)
                maps[k].deflate(maps[k].self, stream);
            if (i < 0)
                continue;
            in[k][i] = middle - start;
            out[k][i] = measure_now() - middle;
        }
    }
    for (size_t k = 0; k < count; k++) {
        measure_print(inflate, maps[k].name, STREAM_PAGES, measure_median(in[k], MEASURE_RUNS));
        if (maps[k].deflate)
            measure_print(deflate, maps[k].name, STREAM_PAGES,
                          measure_median(out[k], MEASURE_RUNS));
    }
}

static void measure_guest(const char *guest, uint64_t pages, bool with_recorded, uint32_t *stream)
{
    static const char *const recorded[] = {"fresh", "touched", "frag", "fraghard"};
    struct page_map maps[16];
    size_t own = 0, count;

    for (unsigned i = 0; bl_batch_version(i); i++)
        for (int gather = 0; gather < 2; gather++)
            maps[own++] = ours_make(bl_batch_version(i), gather, pages);
    count = own + page_maps_make(maps + own, pages);
    for (char pattern = 'a'; pattern <= 'e'; pattern++) {
        make_pattern(pattern, stream, pages);
        measure(guest, (char[]){pattern, 0}, stream, maps, count);
    }
    for (size_t i = 0; with_recorded && i < sizeof(recorded) / sizeof(*recorded); i++) {
        if (make_recorded(recorded[i], stream))
            measure(guest, recorded[i], stream, maps, count);
        else
            fprintf(stderr, "skipped: %s (tests/data is not here)\n", recorded[i]);
    }
    for (size_t i = 0; i < own; i++) {
        balloon_tracker_destroy(((struct ours *)maps[i].self)->tracker);
        free(maps[i].self);
    }
    page_maps_free(maps + own, count - own);
}

int main(int argc, char **argv)
{
    uint32_t *stream = malloc(STREAM_PAGES * sizeof(*stream));

    if (!stream)
        return 1;
    if (argc > 1)
        only = argv[1];
    measure_guest("4GiB", UINT64_C(1) << 20, false, stream);
    measure_guest("64GiB", UINT64_C(1) << 24, true, stream);
    measure_guest("1TiB", UINT64_C(1) << 28, false, stream);
    free(stream);
    return 0;
}
