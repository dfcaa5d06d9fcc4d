#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file: `BPT1`, then for each buffer a byte 0 (inflate) or 1 (deflate), a zero byte, a 16-bit
 * count and that many 32-bit page numbers, all little-endian. */
static bool parse(const uint8_t *bytes, size_t size, struct trace *trace)
{
    size_t used = 0;
    for (size_t at = 4; at < size;) {
        if (size - at < 4 || bytes[at] > 1)
            return false;
        struct trace_buffer *buffer = &trace->buffers[trace->count++];
        buffer->deflate = bytes[at];
        buffer->count = (uint16_t)(bytes[at + 2] | bytes[at + 3] << 8);
        buffer->pfns = trace->storage + used;
        at += 4;
        if ((size - at) / 4 < buffer->count)
            return false;
        for (size_t i = 0; i < buffer->count; i++, at += 4) {
            uint32_t pfn = bytes[at] | (uint32_t)bytes[at + 1] << 8 |
                           (uint32_t)bytes[at + 2] << 16 | (uint32_t)bytes[at + 3] << 24;
            trace->storage[used++] = pfn;
            if (pfn > trace->highest)
                trace->highest = pfn;
        }
    }
    return trace->count > 0;
}

bool trace_read(const char *path, struct trace *trace)
{
    memset(trace, 0, sizeof(*trace));
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    fseek(file, 0, SEEK_END);
    long end = ftell(file);
    rewind(file);
    size_t size = end > 0 ? (size_t)end : 0;
    uint8_t *bytes = malloc(size + 1);
    trace->buffers = calloc(size / 4 + 1, sizeof(*trace->buffers));
    trace->storage = calloc(size / 4 + 1, sizeof(*trace->storage));
    bool good = bytes && trace->buffers && trace->storage && fread(bytes, 1, size, file) == size &&
                size > 4 && !memcmp(bytes, "BPT1", 4) && parse(bytes, size, trace);
    fclose(file);
    free(bytes);
    if (!good)
        trace_free(trace);
    return good;
}

void trace_free(struct trace *trace)
{
    free(trace->buffers);
    free(trace->storage);
    memset(trace, 0, sizeof(*trace));
}
