/* A random pool with guests, an embedder and, unless told otherwise, a policy that do what they
 * like, and beside it a naive ledger that says after each decision whether what the pool promises
 * was kept. */
#ifndef TEST_POOL_WORLD_H
#define TEST_POOL_WORLD_H

#include <balloon/pool.h>

#include "prng.h"

#define WORLD_GUESTS   24
#define WORLD_PROMISES 8

enum world_kind {
    WORLD_WILD,  /* nobody keeps any rule, and the host changes its size */
    WORLD_HONEST /* guests stay between their size and what they were told; all else is wild */
};

/* The naive side of a guest. */
struct world_guest {
    uint64_t id;
    uint64_t min, max;
    uint64_t actual;   /* pages it really has */
    uint64_t told;     /* target it knows of */
    uint64_t reported; /* size that the pool knows of */
    uint64_t target;   /* what the pool wants */
    /* Targets that it may still act on, the newest last. */
    uint64_t promises[WORLD_PROMISES];
    uint32_t promise_count;
    balloon_time_t told_at;
    uint32_t flags; /* as set */
    uint32_t ways;  /* how it behaves */
    balloon_sample sample;
};

struct pool_world {
    enum world_kind kind;
    struct prng prng;
    balloon_pool *pool;
    void *memory;
    uint64_t pages, reserve, reserved;
    balloon_time_t now;
    struct world_guest guests[WORLD_GUESTS];
    uint32_t count;
    uint64_t digest; /* of all that came out */
    uint64_t grown, shrunk, shorts, emergencies;
    char why[256];
};

/* Make a world, with that policy or, for NULL, one that wishes anything; fill is what its memory is
 * filled with before. */
void pool_world_start(struct pool_world *world, enum world_kind kind, const balloon_policy *policy,
                      const struct prng *prng, unsigned char fill);
void pool_world_end(struct pool_world *world);

/* Things happen, and a decision. NULL when all promises were kept, else the one that was not. */
const char *pool_world_tick(struct pool_world *world);

#endif
