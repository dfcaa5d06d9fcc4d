/* The host: all guests that are found, the pool they share, and what was decided. */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "config.h"
#include "room.h"
#include "vmm.h"

#include <balloon/pool.h>

#include <poll.h>
#include <sys/types.h>
#include <time.h>

enum { HOST_GUESTS_MOST = 4096, HOST_EXTRA = 8 };

/* A guest and its place in the pool. */
struct member {
    struct vmm vmm;
    bool found;        /* it was there the last time we looked, */
    uint64_t instance; /* this one */
    bool in_pool;
    uint64_t id;
    uint64_t ram;             /* that the pool was told of, bytes, */
    uint32_t flags;           /* and these */
    balloon_time_t driver_at; /* when to look again for a driver */
    uint64_t size;            /* as it was last, bytes */
    balloon_sample noted;     /* statistics when it had done something last */
    bool looked;              /* it was asked what the decision of this second needs */
    balloon_change change;    /* the last one; target 0 for none */
    balloon_time_t shown_at;  /* for who shows it: when it was shown last, */
    bool shown;               /* and whether that was all */
};

/* What is told to whom shows it. */
enum host_event {
    HOST_CAME,  /* a guest is in the pool */
    HOST_WENT,  /* it is no more */
    HOST_ERROR, /* see its error */
    HOST_WELL   /* that is over */
};

struct host {
    const struct config *config;
    balloon_pool *pool;
    struct member **members;
    unsigned count, capacity;
    struct pollfd *polled;
    int error; /* of poll(), an errno: nothing can be heard any more; else 0 */
    balloon_time_t scan_at, ask_at;
    balloon_time_t calm_until;   /* the pool's next deadline, a second away; 0 when it is sooner */
    balloon_time_t quiet_at;     /* when nothing will have happened for long */
    balloon_time_t nap_until;    /* answers are read together then, */
    balloon_time_t answer_until; /* and awaited until then; 0 when none are */
    balloon_time_t settle_until; /* the first decision waits for all guests, but not longer */
    struct room room;            /* of the pool, and how it follows the host */
    uint64_t reserve;            /* of the pool as configured, pages */
    const char *root;            /* where /proc and /sys are; NULL for the root */
    balloon_time_t room_at;      /* when to look at the host again */
    balloon_verdict verdict;
    bool hold; /* look at guests, and decide nothing */
    bool dry;  /* decide, and tell no guest */
    void (*tell)(void *context, const struct member *member, enum host_event event);
    void *context;
};

balloon_time_t host_clock(void);

/* Returns NULL, or what is wrong with the configuration. */
const char *host_init(struct host *host, const struct config *config);

/* Leave all guests as they are. */
void host_end(struct host *host);

/* One round: wait until there is something to do, not longer than until a time; do it. Up to
 * HOST_EXTRA more file descriptors are polled. When that cannot be done any more, error is set. */
void host_round(struct host *host, struct pollfd *extra, unsigned extra_count,
                balloon_time_t until);

/* Decide now, once, and wait until the guests have been told, but not for those that are silent. */
void host_decide(struct host *host);

/* Whether each guest that was found is in the pool, or cannot be asked. */
bool host_is_complete(const struct host *host);

#endif
