/** @file
 * @brief Arithmetic on page ranges that cannot overflow.
 */
#ifndef BALLOON_RANGE_H
#define BALLOON_RANGE_H

#include <balloon/types.h>

/** @defgroup balloon_range Ranges
 * @brief Intersect and round page ranges.
 *
 * All functions accept any input, also ranges that run past the end of the 64-bit space; such a
 * range is cut there.
 * @{ */

BALLOON_BEGIN_DECLS

/** First page after a range.
 * @return first + count, or UINT64_MAX where that does not fit. */
BALLOON_API uint64_t balloon_range_end(balloon_range range);

/** The pages two ranges have in common.
 * @return the common part; count is 0 when there is none. */
BALLOON_API balloon_range balloon_range_intersect(balloon_range a, balloon_range b);

/** The whole granules that lie inside a range. A discard is rounded this way, so that no page
 * outside of what was given is ever lost.
 * @param range   any range.
 * @param granule pages, a power of two; 0 means 1.
 * @return the aligned part; count is 0 when no whole granule fits. */
BALLOON_API balloon_range balloon_range_inward(balloon_range range, uint64_t granule);

/** The whole granules that a range touches.
 * @param range   any range; an empty one stays empty.
 * @param granule pages, a power of two; 0 means 1.
 * @return the aligned range around it, cut at the last granule of the 64-bit space. */
BALLOON_API balloon_range balloon_range_outward(balloon_range range, uint64_t granule);

/** The whole pages inside a span of guest physical bytes.
 * @param address first byte.
 * @param bytes   length; a span past the end of the address space is cut there.
 * @return whole pages only; count is 0 when no page fits. */
BALLOON_API balloon_range balloon_range_from_bytes(uint64_t address, uint64_t bytes);

BALLOON_END_DECLS

/** @} */

#endif
