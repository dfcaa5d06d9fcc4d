/* A guest without an operating system: what its parts offer each other. Addresses are physical
 * ones. */
#ifndef METAL_H
#define METAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <balloon/types.h>

enum { MEMORY_REGIONS = 8 };

/* start.S calls it; when it returns, the machine ends. */
void metal_main(const void *start_info);

/* --- serial.c --------------------------------------------------------------------------------- */

void serial_text(const char *text);
/* Prints " name=value". */
void serial_number(const char *name, uint64_t value);
/* A whole line without its end, once there is one, or NULL. Good until the next call. */
const char *serial_line(void);

/* --- memory.c --------------------------------------------------------------------------------- */

/* Take over all RAM that the loader tells of, but what this program is in. A part of it is in use
 * for ever, the rest is free. Returns false when the loader makes no sense. */
bool memory_start(const void *start_info);

/* RAM, with what this program is in. */
size_t memory_regions(balloon_region *regions);

/* Take up to that many free pages in at most max_runs runs: aligned blocks of block pages, then
 * smaller ones. With written_only, whole blocks or nothing, of which some page was written since it
 * was given away last. Returns the number of runs. */
size_t memory_take(uint64_t pages, uint32_t block, uint32_t max_runs, bool written_only,
                   balloon_range *runs);

/* What was taken is free again. The host had it in between, and should have left nothing in it;
 * who fills or verifies memory looks. Putting reads nothing: on some hosts reading takes memory. */
void memory_put(balloon_range range);

/* The host says that these pages, which are taken, read as zeros. */
void memory_zeroed(balloon_range range);

/* From now on this kernel wants zeros in what comes back: it zeroes what is not said to be. */
void memory_wipe(void);

/* Free pages in whole blocks that memory_take() would find with written_only. */
uint64_t memory_whole(uint64_t block);

/* Write a new pattern to every page that is not away. What came back is read before. */
void memory_fill(void);

struct memory_counts {
    uint64_t total; /* pages of RAM */
    uint64_t free;  /* of these, free */
    uint64_t away;  /* taken */
    uint64_t bad;   /* pages that do not hold what was written last; memory_verify() looks */
    uint64_t stale; /* pages that came back with something in them, of those looked into */
    uint64_t wrong; /* pages put, or said to be zero, that were not taken */
    uint64_t wiped; /* pages that were zeroed when they came back, */
    uint64_t saved; /* and those that were not, since the host says that they are */
};

/* Read every page that is not away and was written, or came back. */
void memory_verify(void);
const struct memory_counts *memory_counts(void);

/* --- virtio_mmio.c ---------------------------------------------------------------------------- */

/* Find the balloon device and reset it. Returns the version of its register layout, 1 (before
 * virtio 1.0) or 2, or 0 when there is none. */
uint32_t virtio_find(void);

uint64_t virtio_offered(void);
/* Returns false when the device does not agree. */
bool virtio_choose(uint64_t features);
/* Set up a queue; returns its size, or 0 when the device has no such queue. */
uint32_t virtio_start_queue(unsigned queue);
void virtio_ready(void);

void virtio_config_read(uint32_t *words, size_t bytes);
void virtio_config_write(uint32_t offset, uint32_t value);

/* Send one buffer, bytes to read and room behind them to write to; there must be none on its way in
 * that queue. */
void virtio_send(unsigned queue, const void *bytes, size_t count, size_t room);
/* The same with a descriptor for each of these pages, for the device to write to. */
void virtio_send_ranges(unsigned queue, const balloon_range *ranges, size_t count);

/* Whether the buffer on its way came back, once for each, and with how many bytes written. */
bool virtio_came_back(unsigned queue, uint32_t *bytes);

#endif
