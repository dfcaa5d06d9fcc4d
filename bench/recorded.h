/* Streams of inflate buffers that a Linux guest of 256 MiB has sent, from tests/data. */
#ifndef BENCH_RECORDED_H
#define BENCH_RECORDED_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "patterns.h"

#define RECORDED_PAGES 65536u /* of the guest */

static inline uint32_t recorded_number(const uint8_t *b)
{
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* The full buffers of its first inflation, or as many as fit; 0 when the file is not there. A
 * record is a byte that is 0 for inflate, a zero byte, a count of 16 bits and so many page numbers
 * of 32, little-endian. */
static inline uint32_t recorded_read(const char *name, uint32_t *v)
{
    uint8_t bytes[4 + 4 * BUFFER_PAGES], head[4];
    uint32_t buffers = 0;
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "tests/data/256M_%s.bpt", name);
    file = fopen(path, "rb");
    if (!file)
        return 0;
    if (fread(head, 4, 1, file) == 1 && memcmp(head, "BPT1", 4) == 0)
        while (buffers < BUFFERS && fread(head, 4, 1, file) == 1 && head[0] == 0 &&
               (head[2] | head[3] << 8) == BUFFER_PAGES &&
               fread(bytes, 4 * BUFFER_PAGES, 1, file) == 1) {
            for (uint32_t i = 0; i < BUFFER_PAGES; i++)
                v[buffers * BUFFER_PAGES + i] = recorded_number(bytes + 4 * i);
            buffers++;
        }
    fclose(file);
    return buffers;
}

/* A whole stream: the recorded one again and again, each time as if from another guest of its size
 * that lies above the one before. False when there is none. */
static inline bool make_recorded(const char *name, uint32_t *v)
{
    uint32_t pages = BUFFER_PAGES * recorded_read(name, v), first = UINT32_MAX;

    for (uint32_t i = 0; i < pages; i++)
        first = v[i] < first ? v[i] : first;
    for (uint32_t i = 0; i < pages; i++)
        v[i] -= first & ~UINT32_C(511);
    for (uint32_t i = pages; pages && i < STREAM_PAGES; i++)
        v[i] = v[i - pages] + RECORDED_PAGES;
    return pages > 0;
}

#endif
