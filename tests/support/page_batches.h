/* Batches of page numbers as guests send them, with mistakes; and two devices, or trackers,
 * that got the same in two ways. */
#ifndef TEST_PAGE_BATCHES_H
#define TEST_PAGE_BATCHES_H

#include <balloon/device.h>

#include "prng.h"

#define BATCH_MOST 512u

/* 4096 pages from 0 on, 1000 from 10000 on, and 700 that no number of 32 bits reaches. */
#define BATCH_REGIONS 3u
void batch_regions(balloon_region regions[BATCH_REGIONS], uint64_t granule);

/* Page numbers of that memory in one of the orders that guests have, 1 to BATCH_MOST of them. Now
 * and then some come twice, or are in no region. */
size_t draw_batch(struct prng *prng, uint64_t pfns[BATCH_MOST]);

/* A tracker of that memory, in the mode asked for. */
balloon_tracker *batch_tracker(uint64_t granule, bool gather);

/* Have two of them the same counts and pages, and is the first one sound? Ends the test if not. */
void trackers_agree(const balloon_tracker *a, const balloon_tracker *b);

/* Take as many runs of both; they must be the same. */
void trackers_take(balloon_tracker *a, balloon_tracker *b, size_t max);

/* Do two devices have the same state, saved form and counters but for those of messages? Ends the
 * test if not. */
void devices_agree(const balloon_device *a, const balloon_device *b, balloon_time_t now);

/* Poll both until there is nothing to do; what they say must be the same. */
void devices_poll(balloon_device *a, balloon_device *b, balloon_time_t now);

#endif
