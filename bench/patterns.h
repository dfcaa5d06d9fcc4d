/* Streams of inflate buffers, as guests send them. Every page occurs once. */
#ifndef BENCH_PATTERNS_H
#define BENCH_PATTERNS_H

#include <stdint.h>
#include <stdlib.h>

#include "measure.h"

#define BUFFER_PAGES 256u
#define BUFFERS      2048u
#define STREAM_PAGES (BUFFER_PAGES * BUFFERS)

static inline void shuffle(uint32_t *v, size_t n, size_t unit, uint64_t *seed)
{
    for (size_t i = n / unit - 1; i > 0; i--) {
        size_t j = (size_t)(measure_random(seed) % (i + 1));

        for (size_t k = 0; k < unit; k++) {
            uint32_t swap = v[i * unit + k];

            v[i * unit + k] = v[j * unit + k];
            v[j * unit + k] = swap;
        }
    }
}

/* Runs of `unit` pages at random places, each place once: a random one in each of equal parts of
 * the guest, then shuffled. */
static inline void scatter(uint32_t *v, uint64_t guest_pages, uint32_t unit, uint64_t *seed)
{
    uint64_t places = STREAM_PAGES / unit, part = guest_pages / unit / places;

    for (uint64_t i = 0; i < places; i++) {
        uint64_t at = (i * part + measure_random(seed) % part) * unit;

        for (uint32_t k = 0; k < unit; k++)
            v[i * unit + k] = (uint32_t)(at + k);
    }
    shuffle(v, STREAM_PAGES, unit, seed);
}

/* a: contiguous, ascending. b: buffers descend inside, as Linux sends them. c: runs of 16 at
 * random places. d: random pages. e: shuffled inside blocks of 2 MiB. */
static inline void make_pattern(char pattern, uint32_t *v, uint64_t guest_pages)
{
    uint64_t seed = (uint64_t)pattern;

    for (uint32_t i = 0; i < STREAM_PAGES; i++)
        v[i] = i;
    switch (pattern) {
    case 'b':
        for (uint32_t i = 0; i < STREAM_PAGES; i++)
            v[i] = i / BUFFER_PAGES * BUFFER_PAGES + (BUFFER_PAGES - 1 - i % BUFFER_PAGES);
        break;
    case 'c':
        scatter(v, guest_pages, 16, &seed);
        break;
    case 'd':
        scatter(v, guest_pages, 1, &seed);
        break;
    case 'e':
        for (uint32_t block = 0; block < STREAM_PAGES / 512; block++)
            shuffle(v + block * 512, 512, 1, &seed);
        break;
    default:
        break;
    }
}

#endif
