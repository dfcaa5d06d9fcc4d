/* Random operations on a tracker and on the naive model at once, compared after every one. */
#ifndef TEST_TRACKER_DUEL_H
#define TEST_TRACKER_DUEL_H

#include "model.h"
#include "prng.h"

struct tracker_duel {
    balloon_tracker *tracker;
    void *memory;
    struct model model;
    uint64_t base;   /* Regions lie somewhere in base .. base + window. */
    uint64_t window; /* Larger than what regions can fill, so that there are gaps. */
    balloon_run taken[64];
    size_t taken_count;
    uint64_t steps;
    uint64_t check_every; /* Whole sets are compared every so many steps. */
    bool long_lists;      /* Lists fill batches. */
    char why[256];
};

/* Make both sides; max_pages and what else there is to choose comes from the numbers. */
void tracker_duel_start(struct tracker_duel *duel, struct prng *prng, uint64_t max_pages);
void tracker_duel_end(struct tracker_duel *duel);

/* One operation. NULL when both sides agree, else what went wrong. */
const char *tracker_duel_step(struct tracker_duel *duel, struct prng *prng);

/* An import of a random bitmap. */
const char *tracker_duel_import(struct tracker_duel *duel, struct prng *prng);

/* Compare everything now. */
const char *tracker_duel_compare(struct tracker_duel *duel);

#endif
