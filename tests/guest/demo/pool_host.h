/* A host with one pool and real Linux guests in it: what a VMM does when the pool says so. */
#ifndef POOL_HOST_H
#define POOL_HOST_H

#include "../guest.h"

#include <balloon/pool.h>

enum { HOST_GUESTS = 2, PAGES_PER_MIB = 256 };

struct pool_guest {
    struct linux_guest *linux_guest;
    uint64_t id;  /* in the pool */
    uint64_t ram; /* pages; also those of the kernel itself, which the device never sees */

    /* As of the last look. Pages, unless noted. */
    uint64_t size;     /* RAM less what has really come back to the host */
    uint64_t resident; /* what the host's memory file of the guest takes */
    uint64_t allowed;  /* what it may take: its size, before and after we looked at the file */
    uint32_t stall;    /* share of time that it waits, in millionths */

    /* As of the last statistics. */
    uint64_t free, available;
    uint64_t swapped_in; /* read back from its swap since it has booted */
    uint64_t waited;     /* when it last read much from there: guest_clock() */
    bool asked;          /* the next are on their way */
};

struct host {
    struct backend *backend;
    balloon_pool *pool;
    struct pool_guest guests[HOST_GUESTS];
};

/* Boot all guests, each with `start` MiB of its RAM, into a pool of `pool` MiB. */
void host_start(struct host *host, unsigned ram, unsigned start, unsigned floor, unsigned pool);
void host_end(struct host *host);

/* Until that time of guest_clock(): ask guests what the pool wants to know, let it decide when it
 * is due, and ask the guests for what it has decided. */
void host_live(struct host *host, uint64_t until);

/* Look at the memory of all guests, with nothing decided in between. */
void host_look(struct host *host);

/* Pages that have gone into a guest's balloon and out of it, and discards for them. */
struct pool_work {
    uint64_t inflated, deflated, discarded, runs, calls;
};
struct pool_work host_work(struct host *host, unsigned guest);

#endif
