/* A toy guest: an operating system of a few dozen lines with a page allocator,
 * a program, a file cache and statistics. All its pages are real memory, and
 * each page in use holds words that nothing else would leave there, so that a
 * page lost is a page noticed.
 *
 * It knows nothing of balloons but this: somebody in it may ask for pages, and
 * give them back.
 */
#ifndef DEMO_GUEST_H
#define DEMO_GUEST_H

#include <balloon/stats.h>
#include <balloon/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGES_PER_MIB = 256, STEP_MS = 100 };

enum owner {
    OWNER_FREE, /* may hold old data */
    OWNER_KERNEL,
    OWNER_PROGRAM,
    OWNER_CACHE, /* in use, but can be read again */
    OWNER_BALLOON,
    OWNER_COUNT
};

struct guest {
    uint8_t *ram;
    uint32_t pages;
    uint32_t unit;               /* pages that the balloon gets at a time, at least */
    uint8_t *owner;              /* of each page */
    uint32_t *stamp;             /* of each page: what its contents follow from */
    uint32_t owned[OWNER_COUNT]; /* pages of each owner */
    uint32_t *program;           /* its pages, as a stack */
    uint32_t demand;             /* pages that the program wants */
    uint32_t cursor;             /* where the last free page was found */
    uint32_t next_stamp;
    uint64_t random;
    uint64_t stalls, faults, scanned; /* counted for the statistics */
    uint64_t checked, lost;           /* pages whose contents were looked at, and were wrong */
};

/* Take memory into use and write what the kernel itself needs. Returns false
 * when there is no memory for the guest's own tables. */
bool guest_init(struct guest *guest, void *ram, uint32_t pages, uint32_t unit, uint32_t seed);
void guest_destroy(struct guest *guest);

/* Live for STEP_MS: the program goes towards its demand, files are read. */
void guest_step(struct guest *guest);

/* Allocate for the balloon: as many blocks as there are, large ones first;
 * never waits. */
size_t guest_take(struct guest *guest, uint64_t pages, uint32_t block, balloon_range *runs,
                  size_t max);

/* These pages are free again. */
void guest_return(struct guest *guest, balloon_range range);

balloon_sample guest_stats(const struct guest *guest);

/* What it could not do without: kernel, program and the files in use all the
 * time. */
uint32_t guest_need(const struct guest *guest);

/* Look at the contents of all pages in use. */
void guest_check_all(struct guest *guest);

#endif
