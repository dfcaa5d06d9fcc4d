/* Inflate and deflate: bytes of the wire in, page state and ranges to discard out. Beside ours: a
 * bitmap with a merge in order of arrival, a bitmap with a sort that finds the same maximal ranges
 * as ours, and CRoaring, which keeps the set and counts but finds no ranges. */
#include <stdbool.h>
#include <string.h>

#include <balloon/alloc.h>
#include <balloon/virtio.h>

#ifdef HAVE_ROARING
#include <roaring/roaring.h>
#endif

#include "measure.h"
#include "patterns.h"

/* Keeps results alive. */
static volatile uint64_t sink;

static balloon_virtio_reader open_buffer(const uint32_t *pfns, balloon_iov *iov)
{
    balloon_virtio_reader reader;

    iov->base = pfns;
    iov->bytes = BUFFER_PAGES * sizeof(*pfns);
    balloon_virtio_reader_init(&reader, iov, 1, UINT64_MAX, BALLOON_LITTLE_ENDIAN);
    return reader;
}

/* --- ours --------------------------------------------------------------------------------- */

struct ours {
    balloon_tracker *tracker;
    bool gather;
};

static void ours_take(struct ours *o)
{
    balloon_run runs[BUFFER_PAGES];
    size_t n;

    do {
        n = balloon_tracker_take(o->tracker, runs, BUFFER_PAGES);
        sink += n;
    } while (n == BUFFER_PAGES);
}

static void ours_inflate(void *self, const uint32_t *stream)
{
    struct ours *o = self;
    balloon_tally tally = {0};

    for (uint32_t b = 0; b < BUFFERS; b++) {
        uint32_t pfns[BUFFER_PAGES];
        balloon_iov iov;
        balloon_virtio_reader reader = open_buffer(stream + b * BUFFER_PAGES, &iov);

        balloon_tracker_inflate(o->tracker, pfns,
                                balloon_virtio_read_pfns(&reader, pfns, BUFFER_PAGES), &tally);
        if (o->gather)
            continue;
        ours_take(o);
        balloon_tracker_settle(o->tracker);
    }
    ours_take(o);
    sink += tally.changed;
}

static void ours_deflate(void *self, const uint32_t *stream)
{
    struct ours *o = self;
    balloon_tally tally = {0};

    for (uint32_t b = 0; b < BUFFERS; b++) {
        uint32_t pfns[BUFFER_PAGES];
        balloon_iov iov;
        balloon_virtio_reader reader = open_buffer(stream + b * BUFFER_PAGES, &iov);

        balloon_tracker_deflate(o->tracker, pfns,
                                balloon_virtio_read_pfns(&reader, pfns, BUFFER_PAGES), &tally);
    }
    sink += tally.changed;
}

/* --- baselines ---------------------------------------------------------------------------- */

struct naive {
    uint64_t *map;
    uint64_t guest_pages;
    bool sort;
};

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void naive_inflate(void *self, const uint32_t *stream)
{
    struct naive *n = self;
    uint64_t changed = 0, ranges = 0;

    for (uint32_t b = 0; b < BUFFERS; b++) {
        uint32_t pfns[BUFFER_PAGES], kept = 0;
        uint64_t first = 0, count = 0;

        for (uint32_t i = 0; i < BUFFER_PAGES; i++) {
            uint32_t pfn = stream[b * BUFFER_PAGES + i];
            uint64_t bit = UINT64_C(1) << pfn % 64;

            if (pfn >= n->guest_pages || n->map[pfn / 64] & bit)
                continue;
            n->map[pfn / 64] |= bit;
            pfns[kept++] = pfn;
        }
        changed += kept;
        if (n->sort)
            qsort(pfns, kept, sizeof(*pfns), by_number);
        for (uint32_t i = 0; i < kept; i++) {
            if (count && pfns[i] == first + count) {
                count++;
            } else if (count && pfns[i] + UINT64_C(1) == first) {
                first--, count++;
            } else {
                ranges += count > 0;
                first = pfns[i], count = 1;
            }
        }
        ranges += count > 0;
    }
    sink += changed + ranges;
}

static void naive_deflate(void *self, const uint32_t *stream)
{
    struct naive *n = self;
    uint64_t changed = 0;

    for (uint32_t i = 0; i < STREAM_PAGES; i++) {
        uint64_t bit = UINT64_C(1) << stream[i] % 64;

        if (stream[i] >= n->guest_pages)
            continue;
        changed += (n->map[stream[i] / 64] & bit) != 0;
        n->map[stream[i] / 64] &= ~bit;
    }
    sink += changed;
}

#ifdef HAVE_ROARING
static void roaring_inflate(void *self, const uint32_t *stream)
{
    roaring_bitmap_t *set = self;
    uint64_t changed = 0;

    for (uint32_t i = 0; i < STREAM_PAGES; i++)
        changed += roaring_bitmap_add_checked(set, stream[i]);
    sink += changed;
}

static void roaring_deflate(void *self, const uint32_t *stream)
{
    roaring_bitmap_t *set = self;
    uint64_t changed = 0;

    for (uint32_t i = 0; i < STREAM_PAGES; i++)
        changed += roaring_bitmap_remove_checked(set, stream[i]);
    sink += changed;
}
#endif

/* --- measuring ---------------------------------------------------------------------------- */

typedef void pass(void *self, const uint32_t *stream);

static void measure(const char *impl, const char *guest, char pattern, const uint32_t *stream,
                    void *self, pass *inflate, pass *deflate)
{
    double in[MEASURE_RUNS], out[MEASURE_RUNS];
    char name[64];

    inflate(self, stream);
    deflate(self, stream);
    for (int i = 0; i < MEASURE_RUNS; i++) {
        double start = measure_now(), middle;

        inflate(self, stream);
        middle = measure_now();
        deflate(self, stream);
        in[i] = middle - start;
        out[i] = measure_now() - middle;
    }
    snprintf(name, sizeof(name), "inflate/%c/%s", pattern, guest);
    measure_print(name, impl, STREAM_PAGES, measure_median(in, MEASURE_RUNS));
    snprintf(name, sizeof(name), "deflate/%c/%s", pattern, guest);
    measure_print(name, impl, STREAM_PAGES, measure_median(out, MEASURE_RUNS));
}

static void measure_guest(const char *guest, uint64_t pages, uint32_t *stream)
{
    balloon_region region = {0, pages, 1};
    balloon_tracker_config config = {.size = sizeof(config), .max_pages = pages};
    struct ours settling = {NULL, false}, gathering = {NULL, true};
    struct naive merged = {calloc((size_t)pages / 64, 8), pages, false}, sorted = merged;

    sorted.sort = true;
    if (!merged.map || balloon_tracker_create(&config, &settling.tracker) != BALLOON_OK ||
        balloon_tracker_create(&config, &gathering.tracker) != BALLOON_OK ||
        balloon_tracker_add_region(settling.tracker, &region, NULL) != BALLOON_OK ||
        balloon_tracker_add_region(gathering.tracker, &region, NULL) != BALLOON_OK) {
        fprintf(stderr, "no memory for a guest of %s\n", guest);
        exit(1);
    }
    balloon_tracker_set_gather(gathering.tracker, true);
    for (char pattern = 'a'; pattern <= 'e'; pattern++) {
        make_pattern(pattern, stream, pages);
        measure("libballoon", guest, pattern, stream, &settling, ours_inflate, ours_deflate);
        measure("libballoon gathering", guest, pattern, stream, &gathering, ours_inflate,
                ours_deflate);
        measure("bitmap and merge", guest, pattern, stream, &merged, naive_inflate, naive_deflate);
        measure("bitmap, sort and merge", guest, pattern, stream, &sorted, naive_inflate,
                naive_deflate);
#ifdef HAVE_ROARING
        roaring_bitmap_t *set = roaring_bitmap_create();

        measure("CRoaring", guest, pattern, stream, set, roaring_inflate, roaring_deflate);
        roaring_bitmap_free(set);
#endif
    }
    balloon_tracker_destroy(settling.tracker);
    balloon_tracker_destroy(gathering.tracker);
    free(merged.map);
}

int main(void)
{
    uint32_t *stream = malloc(STREAM_PAGES * sizeof(*stream));

    if (!stream)
        return 1;
#ifndef HAVE_ROARING
    fprintf(stderr, "skipped: CRoaring (libroaring-dev is not installed)\n");
#endif
    measure_guest("4GiB", UINT64_C(1) << 20, stream);
    measure_guest("1TiB", UINT64_C(1) << 28, stream);
    free(stream);
    return 0;
}
