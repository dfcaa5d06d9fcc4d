/* What saving a device asks of its tracker beyond the public questions. */
#ifndef BALLOON_CORE_TRACKER_SAVED_P_H
#define BALLOON_CORE_TRACKER_SAVED_P_H

#include <balloon/range.h>
#include <balloon/tracker.h>

/* Settling mode: were all held pages that are not pending given back, in all blocks that a range
 * touches? */
bool bl_tracker_all_returned(const balloon_tracker *t, balloon_range range);

/* Settling mode: the granules in a range that are wholly held, and wholly not pending, were given
 * back. Only where nothing was before. */
void bl_tracker_set_returned(balloon_tracker *t, balloon_range range);

#endif
