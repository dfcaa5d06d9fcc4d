/* What libballoon's tracker is compared with: other ways to keep the set of pages in a balloon. */
#ifndef BENCH_PAGE_MAPS_H
#define BENCH_PAGE_MAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_ROARING
#include <roaring/roaring.h>
#endif

#include "patterns.h"

/* Takes part in a measurement: apply a whole stream of STREAM_PAGES page numbers. */
struct page_map {
    const char *name;
    void *self;
    void (*inflate)(void *self, const uint32_t *stream);
    void (*deflate)(void *self, const uint32_t *stream); /* NULL: has no state */
};

#define PAGE_MAPS 4

/* Keeps results alive. */
static volatile uint64_t page_maps_sink;

/* --- the floor ---------------------------------------------------------------------------- */

/* Vectors of 16 bytes, which every machine can do somehow. */
typedef uint32_t lanes __attribute__((vector_size(16)));

static void floor_pass(void *self, const uint32_t *stream)
{
    lanes sum[4] = {{0}, {0}, {0}, {0}}, all;

    (void)self;
    for (uint32_t i = 0; i < STREAM_PAGES; i += 16) {
        lanes v[4];

        memcpy(v, stream + i, sizeof(v));
        sum[0] += v[0];
        sum[1] += v[1];
        sum[2] += v[2];
        sum[3] += v[3];
    }
    all = sum[0] + sum[1] + sum[2] + sum[3];
    page_maps_sink += all[0] + all[1] + all[2] + all[3];
}

/* --- bitmaps ------------------------------------------------------------------------------ */

struct bitmap {
    uint64_t guest_pages;
    uint64_t *map;
    bool sort;
};

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void bitmap_inflate(void *self, const uint32_t *stream)
{
    struct bitmap *n = self;
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
    page_maps_sink += changed + ranges;
}

static void bitmap_deflate(void *self, const uint32_t *stream)
{
    struct bitmap *n = self;
    uint64_t changed = 0;

    for (uint32_t i = 0; i < STREAM_PAGES; i++) {
        uint64_t bit = UINT64_C(1) << stream[i] % 64;

        if (stream[i] >= n->guest_pages)
            continue;
        changed += (n->map[stream[i] / 64] & bit) != 0;
        n->map[stream[i] / 64] &= ~bit;
    }
    page_maps_sink += changed;
}

static void *bitmap_make(uint64_t guest_pages, bool sort)
{
    struct bitmap *n = malloc(sizeof(*n));

    if (!n)
        abort();
    *n = (struct bitmap){guest_pages, calloc((size_t)guest_pages / 64, 8), sort};
    if (!n->map)
        abort();
    return n;
}

/* --- CRoaring ----------------------------------------------------------------------------- */

#ifdef HAVE_ROARING
static void roaring_inflate(void *self, const uint32_t *stream)
{
    roaring_bitmap_t *set = self;
    uint64_t changed = 0;

    for (uint32_t i = 0; i < STREAM_PAGES; i++)
        changed += roaring_bitmap_add_checked(set, stream[i]);
    page_maps_sink += changed;
}

static void roaring_deflate(void *self, const uint32_t *stream)
{
    roaring_bitmap_t *set = self;
    uint64_t changed = 0;

    for (uint32_t i = 0; i < STREAM_PAGES; i++)
        changed += roaring_bitmap_remove_checked(set, stream[i]);
    page_maps_sink += changed;
}
#endif

/* The floor: a sum over the stream. Bitmaps of a guest of that many pages, with runs as the pages
 * come, and with a sort that finds maximal runs; neither keeps counts. And CRoaring, which keeps
 * the set and counts but finds no runs.
 * @return how many; one less without CRoaring. */
static inline size_t page_maps_make(struct page_map *maps, uint64_t guest_pages)
{
    size_t count = 0;

    maps[count++] = (struct page_map){"read floor", NULL, floor_pass, NULL};
    maps[count++] = (struct page_map){"bitmap and merge", bitmap_make(guest_pages, false),
                                      bitmap_inflate, bitmap_deflate};
    maps[count++] = (struct page_map){"bitmap, sort and merge", bitmap_make(guest_pages, true),
                                      bitmap_inflate, bitmap_deflate};
#ifdef HAVE_ROARING
    maps[count++] =
        (struct page_map){"CRoaring", roaring_bitmap_create(), roaring_inflate, roaring_deflate};
#else
    fprintf(stderr, "skipped: CRoaring (libroaring-dev is not installed)\n");
#endif
    return count;
}

static inline void page_maps_free(struct page_map *maps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (maps[i].inflate == bitmap_inflate) {
            free(((struct bitmap *)maps[i].self)->map);
            free(maps[i].self);
        }
#ifdef HAVE_ROARING
        if (maps[i].inflate == roaring_inflate)
            roaring_bitmap_free(maps[i].self);
#endif
    }
}

#endif
