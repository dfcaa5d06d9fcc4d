/** @file
 * @brief What a guest says about its memory: values, which of them are present, and their age.
 */
#ifndef BALLOON_STATS_H
#define BALLOON_STATS_H

#include <balloon/types.h>

/** @defgroup balloon_stats Statistics
 * @brief One vocabulary for the statistics of every transport.
 *
 * All values are the guest's claims. Nothing bounds them and no two of them need to agree;
 * cumulative ones may go back when the guest reboots.
 * @{ */

BALLOON_BEGIN_DECLS

/** Statistics a guest may send. The first sixteen equal the virtio tags; the others come from other
 * transports, or from an agent in the guest. */
typedef enum balloon_stat {
    BALLOON_STAT_SWAP_IN = 0,         /**< Bytes swapped in, cumulative. Not with
                                           BALLOON_SAMPLE_READS. */
    BALLOON_STAT_SWAP_OUT = 1,        /**< Bytes swapped out, cumulative. */
    BALLOON_STAT_MAJOR_FAULTS = 2,    /**< Major faults, cumulative. */
    BALLOON_STAT_MINOR_FAULTS = 3,    /**< Minor faults, cumulative; Linux counts major ones too. */
    BALLOON_STAT_FREE = 4,            /**< Bytes unused. */
    BALLOON_STAT_TOTAL = 5,           /**< Bytes the guest manages. Linux takes the balloon off
                                           this unless DEFLATE_ON_OOM was negotiated. */
    BALLOON_STAT_AVAILABLE = 6,       /**< Bytes that can be had without swapping. */
    BALLOON_STAT_CACHES = 7,          /**< Bytes of file cache. */
    BALLOON_STAT_HUGE_ALLOC = 8,      /**< Huge page allocations, cumulative. */
    BALLOON_STAT_HUGE_FAIL = 9,       /**< Failed huge page allocations, cumulative. */
    BALLOON_STAT_OOM_KILL = 10,       /**< OOM kills, cumulative. */
    BALLOON_STAT_ALLOC_STALL = 11,    /**< Allocations that had to wait, cumulative. */
    BALLOON_STAT_ASYNC_SCAN = 12,     /**< Bytes scanned in the background, cumulative. */
    BALLOON_STAT_DIRECT_SCAN = 13,    /**< Bytes scanned by allocators, cumulative. */
    BALLOON_STAT_ASYNC_RECLAIM = 14,  /**< Bytes reclaimed in the background, cumulative. */
    BALLOON_STAT_DIRECT_RECLAIM = 15, /**< Bytes reclaimed by allocators, cumulative. */
    BALLOON_STAT_COMMITTED = 16,      /**< Bytes the guest has promised to its programs, the balloon
                                           included. Hyper-V. */
    BALLOON_STAT_STALL_SOME = 17,     /**< Microseconds in which some task waited for memory,
                                           cumulative: "some" of Linux' PSI. */
    BALLOON_STAT_STALL_FULL = 18      /**< Microseconds in which all tasks did, cumulative. */
} balloon_stat;

#define BALLOON_STAT_COUNT 19 /**< Number of statistics known to this version. */
#define BALLOON_STAT_SLOTS 32 /**< Room in a sample; the ABI's bound on the number above. */

/** A bit of balloon_sample.present beside the statistics: SWAP_IN has the bytes that hard faults
 * have read, of files as well as of swap. The virtio driver of Windows sends it so, and a guest
 * that reads files is not short of memory. */
#define BALLOON_SAMPLE_READS ((uint32_t)1 << 31)

/** One answer of a guest. */
typedef struct balloon_sample {
    balloon_time_t time;                /**< When it arrived, in the caller's clock. */
    uint32_t present;                   /**< Bit i is set when value[i] was sent; and
                                             BALLOON_SAMPLE_READS. */
    uint32_t ignored;                   /**< Records with a tag this version does not know, or with
                                             a value that stands for none. */
    uint64_t value[BALLOON_STAT_SLOTS]; /**< Values by @ref balloon_stat; 0 where absent. */
} balloon_sample;

/** One statistic of a sample.
 * @param      sample a sample.
 * @param      stat   which one; any number is accepted.
 * @param[out] value  the value; untouched when it is absent. May be NULL.
 * @return whether the guest sent it. */
BALLOON_API bool balloon_sample_get(const balloon_sample *sample, balloon_stat stat,
                                    uint64_t *value);

/** Set one statistic of a sample, as a guest does before encoding it.
 * @param sample a sample; start from an all-zero one.
 * @param stat   which one; numbers this version does not know count as ignored.
 * @param value  the value. */
BALLOON_API void balloon_sample_set(balloon_sample *sample, balloon_stat stat, uint64_t value);

/** Short name of a statistic, for example "major_faults".
 * @param stat any number.
 * @return a static string; "unknown" for numbers this version does not know. */
BALLOON_API const char *balloon_stat_name(balloon_stat stat);

BALLOON_END_DECLS

/** @} */

#endif
