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

/** Whose names for statistics. */
typedef enum balloon_stat_names {
    BALLOON_STAT_NAMES_QEMU = 0,   /**< QMP's, of the balloon device's guest-stats, as in
                                        "stat-free-memory". Bytes. */
    BALLOON_STAT_NAMES_LIBVIRT = 1 /**< libvirt's, of virConnectGetAllDomainStats(), as in
                                        "balloon.unused". KiB; "available" is TOTAL there, "usable"
                                        is AVAILABLE. Without "balloon." they are those of
                                        "virsh dommemstat". */
} balloon_stat_names;

/** Set one statistic of a sample as a VMM or a manager of VMMs names it. A value from 2^63 bytes on
 * counts as ignored: QEMU shows 2^64 - 1 for what the guest did not send, and Windows sends the
 * like for what it could not find out.
 * @param sample a sample; start from an all-zero one.
 * @param names  whose names.
 * @param name   the name.
 * @param value  the value, in the unit that goes with the names.
 * @return whether it is the name of a statistic of the guest; others change nothing. Sizes that
 *         libvirt tells beside them ("balloon.current", "balloon.rss") are none. */
BALLOON_API bool balloon_sample_set_named(balloon_sample *sample, balloon_stat_names names,
                                          const char *name, uint64_t value);

/** The same by number: a virDomainMemoryStatTags of virDomainMemoryStats().
 * @return as balloon_sample_set_named(). */
BALLOON_API bool balloon_sample_set_libvirt(balloon_sample *sample, uint32_t tag, uint64_t value);

/** Whether statistics are a new answer of the guest or the last one shown again. QEMU and libvirt
 * stamp answers with whole seconds, so a guest that is asked more often may have said two different
 * things in one second: they are the same answer when stamp and all values are.
 * @param sample     what is shown now; its time does not matter.
 * @param stamp      "last-update" that goes with it; 0 means that the guest never answered.
 * @param last       what was shown before; NULL means nothing.
 * @param last_stamp the "last-update" of that.
 * @return whether it is new. */
BALLOON_API bool balloon_sample_is_new(const balloon_sample *sample, uint64_t stamp,
                                       const balloon_sample *last, uint64_t last_stamp);

BALLOON_END_DECLS

/** @} */

#endif
