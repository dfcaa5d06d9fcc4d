/* A toy guest: an operating system of a few dozen lines with a page allocator, programs, a cache,
 * and a balloon driver that sends the same bytes as Linux does.
 *
 * It sees its RAM and the device of its machine, and nothing else. Each function that moves memory
 * does a bounded piece of work, so that one can watch it.
 */
#ifndef DEMO_GUEST_H
#define DEMO_GUEST_H

#include <balloon/virtio.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- The machine, as the guest sees it ---- */
struct machine;

/* Put a buffer on a queue and wait until the device has given it back; statistics stay there. */
void machine_kick(struct machine *machine, balloon_virtio_queue queue,
                  const balloon_virtio_buffer *buffer);
uint32_t machine_config_read(struct machine *machine, uint64_t offset);
void machine_config_write(struct machine *machine, uint64_t offset, uint32_t value);

/* ---- The guest ---- */
enum owner {
    OWNER_FREE,     /* free, and may hold old data */
    OWNER_REPORTED, /* free, and the host knows */
    OWNER_DATA,     /* in use for good; what the checksum is about */
    OWNER_PROGRAM,  /* in use until the program ends */
    OWNER_CACHE,    /* in use, but easily given up */
    OWNER_BALLOON,
    OWNER_COUNT
};

struct page_list {
    uint32_t *pages; /* a stack */
    uint32_t count;
};

struct guest {
    struct machine *machine;
    uint8_t *ram;
    uint32_t pages;
    uint8_t *owner;              /* of each page */
    uint32_t owned[OWNER_COUNT]; /* pages of each owner */
    struct page_list free, cache, balloon;
    uint32_t filled;  /* pages written while booting */
    uint32_t scan;    /* how far the free list has been told to the host */
    uint32_t hinting; /* the round of hints it takes part in */
    uint64_t random;
};

/* Lay out memory; nothing is written yet. Returns false when there is no memory for the guest's
 * own lists. */
bool guest_init(struct guest *guest, struct machine *machine, void *ram, uint32_t pages);
void guest_destroy(struct guest *guest);

/* Write up to so many pages more of what the layout says. Returns whether there is more to do. */
bool guest_boot(struct guest *guest, uint32_t pages);

/* Read files: turn up to so many free pages into cache. Returns how many. */
uint32_t guest_read_files(struct guest *guest, uint32_t pages);

/* End the program and free its memory. */
void guest_end_program(struct guest *guest);

/* Go towards the target by a buffer of at most 256 pages. Returns whether there is more to do. */
bool guest_balloon(struct guest *guest);

/* Put the statistics on their queue: when the driver starts, and when the device asks. Returns
 * what was sent. */
balloon_sample guest_send_stats(struct guest *guest);

/* Tell the host of free pages by a buffer of up to 32 ranges: as reports, or as hints of the round
 * that the device shows. Returns whether there is more to do. */
bool guest_report(struct guest *guest);
bool guest_hint(struct guest *guest);

/* Sum of every byte of the data that the guest must not lose, read from memory. */
uint64_t guest_checksum(const struct guest *guest);

#endif
