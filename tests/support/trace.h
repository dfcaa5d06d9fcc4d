/* Recorded streams of page numbers: what a real Linux guest sent, buffer by buffer. */
#ifndef TEST_TRACE_H
#define TEST_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_buffer {
    bool deflate;
    uint16_t count;
    uint32_t *pfns;
};

struct trace {
    struct trace_buffer *buffers;
    size_t count;
    uint32_t *storage;
    uint32_t highest; /* Page number. */
};

/* Reads a file of tests/data. Returns false when it is missing or not a trace. */
bool trace_read(const char *path, struct trace *trace);
void trace_free(struct trace *trace);

#endif
