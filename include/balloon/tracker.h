/** @file
 * @brief Which guest pages are in the balloon, and which host granules can be given back now.
 */
#ifndef BALLOON_TRACKER_H
#define BALLOON_TRACKER_H

#include <balloon/types.h>

/** @defgroup balloon_tracker Tracker
 * @brief The page map under every device and driver, usable alone.
 *
 * Two bits a page. *Held*: the page is in the balloon. *Pending*: the page may be given back to
 * the host and has not been yet. A granule whose pages are all pending is *ready*;
 * balloon_tracker_take() hands out ready granules as maximal runs, whatever the order, the
 * batches and the duplicates the pages came in.
 *
 * The rule the tracker keeps: a page is pending only while its owner has promised not to use it.
 * Inflating makes the promise. In *settling* mode (the default) it ends when the owner is
 * answered: call balloon_tracker_settle() just before, after which nothing is pending any more.
 * In *gathering* mode it lasts until the page is deflated, so granules may fill up and runs may
 * merge over any number of batches. In that mode every held page is either pending or given back.
 *
 * No function allocates, locks, or does work that is not bounded by its input, except where it says
 * so. A page number costs about the same in granules of any size, and in any state of the guest. A
 * range costs a step for each 2 MiB of guest memory that it names, or for each 256 KiB where only
 * a part of 2 MiB is in the set that it changes; so does handing it out.
 * @{ */

BALLOON_BEGIN_DECLS

/** The page map; opaque, and living in memory of the caller. One caller at a time. */
typedef struct balloon_tracker balloon_tracker;

/** How large a tracker may become. Set size, leave the rest 0 for the defaults. */
typedef struct balloon_tracker_config {
    size_t size;          /**< sizeof(balloon_tracker_config). */
    uint64_t max_pages;   /**< Most pages of all regions together; 1 .. 2^40. */
    uint32_t max_regions; /**< Most regions at any time; 0 means 8, at most 4096. */
    uint32_t hints;       /**< Nonzero: keep a third bit a page for free-page hints. */
} balloon_tracker_config;

/** What became of the pages of one or more batches; the functions add to it. */
typedef struct balloon_tally {
    uint64_t changed;   /**< Pages that changed their state. */
    uint64_t unchanged; /**< Pages that were in that state already: duplicates on inflating, pages
                             not held on deflating. */
    uint64_t outside;   /**< Pages that are in no region. */
    uint64_t cancelled; /**< Of the changed pages, those that were pending when they were deflated,
                             and so need not be given back any more. */
} balloon_tally;

/** Sets of pages that can be asked for. */
typedef enum balloon_set {
    BALLOON_SET_HELD = 0,    /**< Pages in the balloon. */
    BALLOON_SET_FREE = 1,    /**< Pages of the guest that are not in the balloon. */
    BALLOON_SET_PENDING = 2, /**< Pages that may still be given back. */
    BALLOON_SET_HINTED = 3,  /**< Pages the guest hinted free in the current round. */
    BALLOON_SET_SKIP = 4 /**< What a migration need not copy: hinted, and in gathering mode held,
                              pages. In settling mode the guest may be using a page of the
                              balloon before it says so. */
} balloon_set;

/** What is wrong with a config, for the eyes of whoever wrote it.
 * @return NULL when nothing is; else a static text of the name of the first wrong field, a colon
 * and the reason. By the same rules as the layout. */
BALLOON_API const char *balloon_tracker_config_check(const balloon_tracker_config *config);

/** Memory a tracker needs: 2 bits a page and 5 % more, 3 bits with hints.
 * @param      config the limits.
 * @param[out] layout bytes and alignment.
 * @return OK, or ERR_INVALID for a config outside its limits. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_tracker_layout(const balloon_tracker_config *config, balloon_layout *layout);

/** Make a tracker in the caller's memory. It starts without regions, in settling mode.
 * @param      memory  aligned as the layout says; used until the caller drops the tracker. There
 *                     is nothing to undo: the memory is simply the caller's again. What is zero in
 *                     it is only read, so what the system has promised (by mmap() or calloc())
 *                     and not given yet is not taken before pages come.
 * @param      bytes   its size.
 * @param      config  the config that was given to balloon_tracker_layout(); not kept.
 * @param[out] tracker the new tracker.
 * @return OK; ERR_INVALID for a bad config or alignment; ERR_NOSPACE when bytes is too small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_init(
    void *memory, size_t bytes, const balloon_tracker_config *config, balloon_tracker **tracker);

/** Forget all pages, as after a reset of the guest: nothing is held, pending or hinted. Regions
 * and mode stay. Takes time linear in guest memory. */
BALLOON_API void balloon_tracker_reset(balloon_tracker *tracker);

/** Choose the mode; see the top of this page.
 * @param tracker a tracker.
 * @param gather  true only while the guest has promised not to touch a held page before its
 *                deflation was acknowledged (virtio's MUST_TELL_HOST). Leaving the mode forgets
 *                what is pending; entering it makes pending what is held of incomplete granules. */
BALLOON_API void balloon_tracker_set_gather(balloon_tracker *tracker, bool gather);

/** @name Regions
 * @{ */

/** Add guest memory; none of it is held. Takes time linear in the regions, and in the guest memory
 * above the new region once a page of any is held.
 * @param      tracker a tracker.
 * @param      region  the memory; must not overlap another region.
 * @param[out] id      its number, less than max_regions, which runs will name; may be NULL.
 * @return OK; ERR_INVALID for an empty or overlapping region or a bad granule; ERR_RANGE above
 *         page 2^40; ERR_NOSPACE when max_pages or max_regions is used up. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_add_region(balloon_tracker *tracker,
                                                                      const balloon_region *region,
                                                                      uint32_t *id);

/** Remove guest memory. What was held or pending there is forgotten; the other regions keep their
 * state and their ids. Takes time linear in guest memory.
 * @return OK, or ERR_INVALID when there is no such region. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_remove_region(balloon_tracker *tracker,
                                                                         uint32_t id);

/** A region by its id.
 * @param      tracker a tracker.
 * @param      id      its number.
 * @param[out] region  the region; untouched on error.
 * @return OK, or ERR_INVALID when there is no such region. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_region(const balloon_tracker *tracker,
                                                                  uint32_t id,
                                                                  balloon_region *region);
/** @} */

/** @name Pages in and out of the balloon
 * Input is always consumed whole and in any order. tally may be NULL.
 * @{ */

/** Pages go into the balloon and become pending.
 * @param         tracker a tracker.
 * @param         pfns    page numbers in the host's byte order; the caller's own copy, not guest
 *                        memory.
 * @param         count   how many.
 * @param[in,out] tally   what became of them is added here. */
BALLOON_API void balloon_tracker_inflate(balloon_tracker *tracker, const uint32_t *pfns,
                                         size_t count, balloon_tally *tally);

/** Pages leave the balloon. They are not pending any more, and no granule that they are part of is
 * ready any more. In gathering mode what is still held of such a granule becomes pending again,
 * since the guest will bring the granule back to memory. Parameters as for
 * balloon_tracker_inflate(). */
BALLOON_API void balloon_tracker_deflate(balloon_tracker *tracker, const uint32_t *pfns,
                                         size_t count, balloon_tally *tally);

/** balloon_tracker_inflate() for a range; pages outside of every region are counted, not walked.
 * Takes time linear in the part of the range that is guest memory, by steps of 2 MiB. */
BALLOON_API void balloon_tracker_inflate_range(balloon_tracker *tracker, balloon_range range,
                                               balloon_tally *tally);

/** balloon_tracker_deflate() for a range. */
BALLOON_API void balloon_tracker_deflate_range(balloon_tracker *tracker, balloon_range range,
                                               balloon_tally *tally);

/** Pages are free for a moment without being in the balloon (free page reporting): the whole
 * granules inside the range become pending until balloon_tracker_settle(). In the tally, pages
 * of granules that are not wholly inside count as unchanged. In gathering mode, pages of them that
 * are held are pending again once the granule was taken or settled. */
BALLOON_API void balloon_tracker_report(balloon_tracker *tracker, balloon_range range,
                                        balloon_tally *tally);

/** Pages are hinted free: nothing is pending, they only join BALLOON_SET_HINTED. Without hints
 * in the config nothing changes. */
BALLOON_API void balloon_tracker_hint(balloon_tracker *tracker, balloon_range range,
                                      balloon_tally *tally);

/** Forget all hints, as a new round of hinting asks. Takes time linear in guest memory. */
BALLOON_API void balloon_tracker_forget_hints(balloon_tracker *tracker);
/** @} */

/** @name Pages back to the host
 * @{ */

/** Take ready granules, lowest addresses first, as maximal runs. They are not pending any more:
 * the caller must discard them before it answers the guest or calls anything else on the tracker.
 * @param      tracker a tracker.
 * @param[out] runs    room for max runs.
 * @param      max     how many at the most.
 * @return how many were written; less than max only when nothing is ready any more. */
BALLOON_API size_t balloon_tracker_take(balloon_tracker *tracker, balloon_run *runs, size_t max);

/** Give back a run, or a part of one, whose discard failed. In gathering mode the granules of it
 * that are still wholly held become pending again; in settling mode nothing does, since they can
 * only be discarded before the answer, and they just do not count as given back any more.
 * @return pages that became pending. */
BALLOON_API uint64_t balloon_tracker_put_back(balloon_tracker *tracker, const balloon_run *run);

/** The guest is about to be answered: forget what may not be discarded after that. In settling
 * mode that is everything pending, in gathering mode what was only reported. Takes time linear in
 * the input since the last call. */
BALLOON_API void balloon_tracker_settle(balloon_tracker *tracker);
/** @} */

/** @name Questions
 * @{ */

/** Pages of all regions. */
BALLOON_API uint64_t balloon_tracker_pages(const balloon_tracker *tracker);

/** Pages in the balloon. */
BALLOON_API uint64_t balloon_tracker_held(const balloon_tracker *tracker);

/** Pages that are pending, ready or not. */
BALLOON_API uint64_t balloon_tracker_pending(const balloon_tracker *tracker);

/** Pages in the balloon that were given back to the host: taken while they were held, in granules
 * of which no page was deflated since, and not put back; in gathering mode also those imported.
 * Never more than is true, and less where nobody knows: in settling mode, a block of 2 MiB of which
 * only a part was given back counts each deflate of a whole granule as one of those; pages that
 * were reported while they were held do not count, nor do any after the mode was left. */
BALLOON_API uint64_t balloon_tracker_returned(const balloon_tracker *tracker);

/** Pages of granules that balloon_tracker_take() would hand out now. */
BALLOON_API uint64_t balloon_tracker_ready(const balloon_tracker *tracker);

/** Pages hinted free in this round. */
BALLOON_API uint64_t balloon_tracker_hinted(const balloon_tracker *tracker);

/** Count the pages of a set in a range: about one step for each 2 MiB (for each 256 KiB with
 * BALLOON_SET_HINTED and BALLOON_SET_SKIP).
 * @return pages; those outside of every region count nowhere. */
BALLOON_API uint64_t balloon_tracker_count(const balloon_tracker *tracker, balloon_set set,
                                           balloon_range range);

/** The first run of a set in a range. To walk a set, ask again from the end of each run. Takes
 * about the same time in any guest, whatever is in the set; with BALLOON_SET_HINTED and
 * BALLOON_SET_SKIP time linear in the part of the range up to the end of the run.
 * @param      tracker a tracker.
 * @param      set     which pages.
 * @param      range   where to look.
 * @param[out] run     the maximal run inside range and inside one region; untouched when there is
 *                     none.
 * @return whether there is one. */
BALLOON_API bool balloon_tracker_next(const balloon_tracker *tracker, balloon_set set,
                                      balloon_range range, balloon_run *run);

/** Write a set as a bitmap, as a migration wants it. Takes time linear in the range.
 * @param      tracker a tracker.
 * @param      set     which pages.
 * @param      range   the pages that the bitmap stands for.
 * @param[out] bits    bit i % 8 of byte i / 8 is page range.first + i; pages outside of every
 *                     region are 0, and so are the spare bits of the last byte.
 * @param      bytes   size of bits.
 * @return OK, or ERR_NOSPACE when the bitmap has more than bytes bytes. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_export(const balloon_tracker *tracker,
                                                                  balloon_set set,
                                                                  balloon_range range,
                                                                  uint8_t *bits, size_t bytes);

/** balloon_tracker_export() that only sets bits and leaves the others as they are. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_merge(const balloon_tracker *tracker,
                                                                 balloon_set set,
                                                                 balloon_range range, uint8_t *bits,
                                                                 size_t bytes);

/** Take pages from a bitmap into the balloon, as the receiving side of a migration does. They
 * count as given back already. In gathering mode, what is held of an incomplete granule becomes
 * pending, and a granule that they complete while other pages of it are pending becomes ready.
 * @param         tracker a tracker.
 * @param         range   the pages that the bitmap stands for.
 * @param         bits    as written by balloon_tracker_export().
 * @param         bytes   size of bits.
 * @param[in,out] tally   what became of the set bits is added here; may be NULL.
 * @return OK, or ERR_NOSPACE when the bitmap has more than bytes bytes. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_tracker_import(balloon_tracker *tracker,
                                                                  balloon_range range,
                                                                  const uint8_t *bits, size_t bytes,
                                                                  balloon_tally *tally);

/** Check every rule the tracker keeps between its bitmaps, counters and summaries; for tests and
 * fuzzers. Takes time linear in guest memory.
 * @param      tracker a tracker.
 * @param[out] why     the rule that is broken, a static string; may be NULL.
 * @return whether all hold. */
BALLOON_API bool balloon_tracker_check(const balloon_tracker *tracker, const char **why);
/** @} */

BALLOON_END_DECLS

/** @} */

#endif
