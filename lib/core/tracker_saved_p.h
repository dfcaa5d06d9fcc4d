/* What a device asks of its tracker beyond the public questions. */
#ifndef BALLOON_CORE_TRACKER_SAVED_P_H
#define BALLOON_CORE_TRACKER_SAVED_P_H

#include <balloon/range.h>
#include <balloon/tracker.h>

/* The first regions of a tracker, in any order; their ids are 0, 1, 2 ... Takes N log N steps for N
 * of them, and one for each 2 MiB. Changes nothing when it fails; see balloon_tracker_add_region().
 */
balloon_status bl_tracker_add_regions(balloon_tracker *t, const balloon_region *regions,
                                      size_t count);

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
