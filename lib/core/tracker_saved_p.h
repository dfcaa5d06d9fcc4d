/* What others ask of a tracker beyond the public functions. */
#ifndef BALLOON_CORE_TRACKER_SAVED_P_H
#define BALLOON_CORE_TRACKER_SAVED_P_H

#include <balloon/range.h>
#include <balloon/tracker.h>

struct granule_runs;

/* balloon_tracker_add_region(). Without runs the region has granules of single pages, whatever it
 * asks for: the guest's end needs no others, and a kernel does not link what is for them. All
 * regions of a tracker are added in one way. */
balloon_status bl_tracker_add(balloon_tracker *t, const balloon_region *region,
                              const struct granule_runs *runs, uint32_t *id);

/* balloon_tracker_init() of memory that is zero, which is not read: to look at what a system has
 * promised and not given yet takes most of the time there. */
balloon_status bl_tracker_init_zero(void *memory, size_t bytes,
                                    const balloon_tracker_config *config,
                                    balloon_tracker **tracker);

/* The first regions of a tracker, in any order; their ids are 0, 1, 2 ... Takes N log N steps for N
 * of them, and one for each 2 MiB. Changes nothing when it fails; see balloon_tracker_add_region().
 */
balloon_status bl_tracker_add_regions(balloon_tracker *t, const balloon_region *regions,
                                      size_t count);

/* Is a page the guest's, and if so, is it in the balloon? */
bool bl_tracker_has(const balloon_tracker *t, balloon_pfn_t pfn, bool *held);

/* Gathering mode: pages go into the balloon in their order, as far as each is the guest's and is
 * not in it already, or out of it as far as each is in it and in a region of single pages. Whoever
 * goes on page by page from there gets what page by page from the start would have given. Return
 * how many went, and add them to the tally; none where pages are reported. */
size_t bl_tracker_inflate_in_order(balloon_tracker *t, const uint32_t *pfns, size_t count,
                                   balloon_tally *tally);
size_t bl_tracker_deflate_in_order(balloon_tracker *t, const uint32_t *pfns, size_t count,
                                   balloon_tally *tally);

/* balloon_tracker_inflate() and balloon_tracker_deflate() of numbers in memory of the peer, which
 * may change at any moment and need not be aligned. Each is read once. They are as this machine has
 * numbers. */
void bl_tracker_inflate_from(balloon_tracker *t, const void *peer, size_t count,
                             balloon_tally *tally);
void bl_tracker_deflate_from(balloon_tracker *t, const void *peer, size_t count,
                             balloon_tally *tally);

/* Page numbers that stand some bits up in words: the lowest 32 bits of each. */
struct narrowed {
    uint64_t any, all; /* the bits that are set in some of the words, and in each of them */
    bool found;        /* `one` is among the numbers */
};
struct narrowed bl_tracker_narrow(const uint64_t *words, size_t count, unsigned shift, uint32_t one,
                                  uint32_t *pfns);

/* Pages that are pending only because they were reported. Takes time linear in the reports since
 * the last settle. */
uint64_t bl_tracker_reported(const balloon_tracker *t);

/* Settling mode: were all held pages that are not pending given back, in all blocks that a range
 * touches? */
bool bl_tracker_all_returned(const balloon_tracker *t, balloon_range range);

/* Settling mode: the granules in a range that are wholly held, and wholly not pending, were given
 * back. Only where nothing was before. */
void bl_tracker_set_returned(balloon_tracker *t, balloon_range range);

#endif
