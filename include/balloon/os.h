/** @file
 * @brief The hosted edge: give memory back to the host, prove that it works, read how short the
 * host is.
 */
#ifndef BALLOON_OS_H
#define BALLOON_OS_H

#include <balloon/types.h>

/** @defgroup balloon_os Operating system
 * @brief Discard guest memory and read the host. The only part that makes system calls.
 *
 * Which call really frees a page depends on how the page is backed, and the wrong one often
 * succeeds and frees nothing, or destroys what it should not. A @ref balloon_os knows the backing
 * of each region, takes the call that is right for it and makes few of them: neighbouring runs
 * become one range, and up to 1024 ranges leave in one process_madvise() where the kernel does
 * that. Where it is in doubt it refuses: call balloon_os_selftest() once at start to see the
 * memory come back.
 *
 * - Private anonymous memory: MADV_DONTNEED frees the pages; MADV_DONTNEED_LOCKED where they are
 *   locked, with Linux 5.18 and later.
 * - memfd, tmpfs, shared anonymous memory, shared file: MADV_REMOVE punches the file, for every
 *   process that maps it. Where it is refused (locked memory), fallocate() punches the same hole
 *   through the file descriptor.
 * - hugetlb, shared: the same, in whole huge pages.
 * - hugetlb, private: MADV_DONTNEED frees the huge pages, with Linux 5.18 and later.
 * - Private mapping of a file: mmap() puts fresh anonymous memory over it. The file is not touched.
 * - Read-only mappings, shared files that cannot be written, memfd_secret(): refused.
 *
 * All of them make the pages read as zeros. What replaces a private file mapping has its protection
 * and lock, but none of the marks that madvise() or userfaultfd put on the old one; and it takes
 * mappings, which are counted and bounded. @ref memory has a table of what each kind of memory
 * gives back, and of what can go wrong later.
 *
 * Not handled here: pages a device reaches without the CPU (VFIO), that are locked by RDMA, or in
 * buffers registered with io_uring. They would go on using the old page, and nothing is freed;
 * inhibit discarding for such guests, see balloon_device_inhibit(). Guests in encrypted or
 * guest_memfd memory are not supported either.
 *
 * On other systems than Linux every function here answers BALLOON_ERR_UNSUPPORTED.
 * @{ */

BALLOON_BEGIN_DECLS

/** Knows how guest memory is backed, and discards it; opaque. One caller at a time. */
typedef struct balloon_os balloon_os;

/** Never use process_madvise(): one call a range. For processes under a seccomp filter that does
 * not allow it; a filter that answers with an error is noticed by itself. */
#define BALLOON_OS_NO_BATCH ((uint32_t)1 << 0)

/** Mark regions whose granule is smaller than a transparent huge page by MADV_NOHUGEPAGE, when they
 * are added. Guests run a bit slower without huge pages; with them, and small granules, the host
 * gets less back than was discarded. See balloon_os_region_get(). */
#define BALLOON_OS_NO_HUGE ((uint32_t)1 << 1)

/** How a balloon_os is set up. Set size; 0 elsewhere means the default. */
typedef struct balloon_os_config {
    size_t size;          /**< sizeof(balloon_os_config). */
    uint32_t max_regions; /**< Ids go from 0 to this less 1; 0 means 8, at most 4096. */
    uint32_t flags;       /**< BALLOON_OS_* flags. */
} balloon_os_config;

/** How a region is backed. */
typedef enum balloon_os_backing {
    BALLOON_OS_AUTO = 0,            /**< Find out from /proc/self/maps and the file. */
    BALLOON_OS_PRIVATE_ANON = 1,    /**< Anonymous memory of this process alone. */
    BALLOON_OS_SHARED = 2,          /**< memfd, shmem, tmpfs or another file, mapped shared, also
                                         into other processes. */
    BALLOON_OS_HUGETLB_SHARED = 3,  /**< Reserved huge pages, mapped shared. */
    BALLOON_OS_HUGETLB_PRIVATE = 4, /**< Reserved huge pages, mapped private: anonymous, or of a
                                         hugetlbfs file that is empty and stays so. */
    BALLOON_OS_PRIVATE_FILE = 5     /**< A file mapped private and writable, such as a snapshot. */
} balloon_os_backing;

/** A way to discard. */
typedef enum balloon_os_method {
    BALLOON_OS_METHOD_AUTO = 0, /**< The right one for the backing; see the list above. */
    BALLOON_OS_DONTNEED = 1,    /**< madvise(MADV_DONTNEED). On shared memory it frees nothing; on a
                                     private file mapping the file's bytes come back. */
    BALLOON_OS_REMOVE = 2,      /**< madvise(MADV_REMOVE). Shared mappings only. */
    BALLOON_OS_PUNCH = 3,       /**< fallocate(FALLOC_FL_PUNCH_HOLE). Shared mappings with a file
                                     descriptor only. */
    BALLOON_OS_REMAP = 4        /**< mmap(MAP_FIXED). Private mappings without huge pages only. */
} balloon_os_method;

/** A region of guest memory, as this process maps it. Set size, pages, host and fd. */
typedef struct balloon_os_region {
    size_t size;          /**< sizeof(balloon_os_region). */
    balloon_region pages; /**< The same as given to the tracker or device. Its granule must be
                               a multiple of the host's page, or huge page. */
    void *host;           /**< Where its first page is mapped; the mapping stays as it is while
                               the region is here. */
    int32_t fd;           /**< The file it maps, or -1: not known, or none. Duplicated. */
    balloon_os_backing backing; /**< How it is backed; 0 finds out, which needs /proc. Any other
                                     value is checked where /proc can be read, and believed
                                     where it cannot. */
    uint64_t fd_offset;         /**< Where the region begins in the file, in bytes. */
    balloon_os_method method;   /**< 0 means the right one. Anything else is for tests and
                                     measurements; those that could destroy what others use are
                                     refused. */
    uint32_t reserved;          /**< 0. */
} balloon_os_region;

/** What a balloon_os has counted since it was made. Pages a call are bytes / 4096 / calls. */
typedef struct balloon_os_counters {
    uint64_t calls;    /**< System calls made to discard. */
    uint64_t ranges;   /**< Ranges discarded, after merging runs. */
    uint64_t bytes;    /**< Bytes discarded. */
    uint64_t failures; /**< Ranges the host refused. */
    uint64_t refused;  /**< Runs not discarded, or not wholly: no such region, outside of it, or not
                            whole host pages. */
    uint64_t shorts;   /**< Calls that did a part and were continued. */
} balloon_os_counters;

/** Why a region or a discard was refused. */
typedef enum balloon_os_reason {
    BALLOON_OS_REASON_NONE = 0,      /**< It was not. */
    BALLOON_OS_REASON_SYSTEM = 1,    /**< The system refused a call; errno said why. */
    BALLOON_OS_REASON_ARGUMENT = 2,  /**< A number is outside of its limits. */
    BALLOON_OS_REASON_GRANULE = 3,   /**< Granule, addresses and file offset do not fit the host's
                                          page, or huge page. */
    BALLOON_OS_REASON_MAPPING = 4,   /**< Not mapped throughout, in one way. */
    BALLOON_OS_REASON_FILE = 5,      /**< fd is not the file mapped there, or not at fd_offset. */
    BALLOON_OS_REASON_BACKING = 6,   /**< The backing is not the one that was stated. */
    BALLOON_OS_REASON_READ_ONLY = 7, /**< It cannot be written, or its file is sealed. */
    BALLOON_OS_REASON_CONTENTS = 8, /**< A private mapping of a hugetlbfs file that has contents, or
                                         nobody can tell. */
    BALLOON_OS_REASON_DEVICE = 9,   /**< The file is no regular file. */
    BALLOON_OS_REASON_SECRET = 10,  /**< memfd_secret() memory: no call frees single pages. */
    BALLOON_OS_REASON_METHOD = 11,  /**< The method does not suit the backing. */
    BALLOON_OS_REASON_MAPPINGS = 12, /**< It would take more mappings than is safe: half of
                                          vm.max_map_count are in use. */
    BALLOON_OS_REASON_LOCKED = 13,   /**< mlockall(MCL_FUTURE) brings back what is discarded. */
    BALLOON_OS_REASON_RANGE = 14 /**< A run outside of its region, or not of whole host pages. */
} balloon_os_reason;

/** A reason in words.
 * @param reason any number.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_os_reason_text(balloon_os_reason reason);

/** @name Setting up
 * @{ */

/** What is wrong with a config, for the eyes of whoever wrote it.
 * @return NULL when nothing is; else a static text of the name of the first wrong field, a colon
 * and the reason. By the same rules as the layout. */
BALLOON_API const char *balloon_os_config_check(const balloon_os_config *config);

/** Memory a balloon_os needs: about 60 KiB.
 * @param      config how it will be set up.
 * @param[out] layout bytes and alignment.
 * @return OK; ERR_INVALID for a config outside its limits; ERR_UNSUPPORTED on other systems. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_layout(const balloon_os_config *config,
                                                             balloon_layout *layout);

/** Make a balloon_os in the caller's memory, without regions. Tries out on a few pages of its own
 * what the kernel can do in batches.
 * @param      memory aligned as the layout says; used until balloon_os_destroy().
 * @param      bytes  its size.
 * @param      config the config given to balloon_os_layout(); not kept.
 * @param[out] os     the new object.
 * @return OK; ERR_INVALID for a bad config or alignment; ERR_NOSPACE when bytes is too small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_init(void *memory, size_t bytes,
                                                           const balloon_os_config *config,
                                                           balloon_os **os);

/** Close the file descriptors it owns. The memory is the caller's again, or is freed when
 * balloon_os_create() made the object. Guest memory is not touched.
 * @param os may be NULL. */
BALLOON_API void balloon_os_destroy(balloon_os *os);

/** Say how a region is backed. Give its id and pages as the tracker or device has them.
 * @param os     a balloon_os.
 * @param id     the region's id, as runs will name it; not in use.
 * @param region the region; not kept, the file descriptor is duplicated.
 * @return OK; ERR_INVALID for a bad id, region, alignment or granule, when the region is not
 *         mapped throughout in one way, or when fd is not what is mapped there; ERR_UNSUPPORTED for
 *         a backing that cannot be discarded safely: read-only, sealed, a private mapping of a
 *         hugetlbfs file that has contents or whose fd was not given, or a device; ERR_SYSTEM when
 *         the system could not be asked, errno says why. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_add_region(balloon_os *os, uint32_t id,
                                                                 const balloon_os_region *region);

/** Why the last balloon_os_add_region() or balloon_os_discard() refused something, or the first
 * thing of several.
 * @param os a balloon_os.
 * @return the reason; NONE when all went well. */
BALLOON_API balloon_os_reason balloon_os_refusal(const balloon_os *os);

/* What to know about a region. */
/** Transparent huge pages larger than the granule can come here. They are freed as a whole: what is
 * discarded of one stays in use until all of it is, or until the kernel splits it for want of
 * memory; and one page that is touched again can bring all of them back, or khugepaged does so
 * unasked. Give regions the granule that balloon_os_region_status names, or set BALLOON_OS_NO_HUGE.
 * Otherwise more is in use than balloon_device_status has it: tell balloon_pool_set_owed(). */
#define BALLOON_OS_NOTE_HUGE ((uint32_t)1 << 0)
/** Discarded huge pages stay reserved for this process (hugetlb, private): no other can have them.
 */
#define BALLOON_OS_NOTE_RESERVED ((uint32_t)1 << 1)
/** A touch of a discarded page needs a new one from a supply that others use, too (hugetlb, shared;
 * files): if it is empty, the touch kills the process by SIGBUS. */
#define BALLOON_OS_NOTE_SIGBUS ((uint32_t)1 << 2)
/** Each discard far from the others takes two mappings, of which a process may have few: small
 * granules can be refused, see BALLOON_OS_REASON_MAPPINGS. */
#define BALLOON_OS_NOTE_MAPPINGS ((uint32_t)1 << 3)
/** Memory is locked by mlock(): what comes back is, too. */
#define BALLOON_OS_NOTE_LOCKED ((uint32_t)1 << 4)

/** A note in words.
 * @param note one BALLOON_OS_NOTE_*.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_os_note_text(uint32_t note);

/** What is known about a region. Set size before the call. */
typedef struct balloon_os_region_status {
    size_t size;                /**< sizeof(balloon_os_region_status). */
    balloon_os_backing backing; /**< How it is backed. */
    balloon_os_method method;   /**< How it is discarded. */
    uint32_t notes;             /**< BALLOON_OS_NOTE_* bits. */
    balloon_os_reason reason;   /**< Why ranges of it were refused: the last one. */
    uint64_t failures;          /**< Ranges of it that were refused. */
    uint64_t page;              /**< Host page, or huge page of hugetlb, in pages. */
    uint64_t huge;              /**< The largest transparent huge page that may come here, in pages;
                                     0 for none. It changes with madvise() and the settings of the
                                     machine. */
    uint64_t granule;           /**< The smallest granule of which all is given back: the larger of
                                     the two. */
    uint64_t in_huge;           /**< Pages in transparent huge pages now, also beside it in the same
                                     mappings. */
    uint64_t mappings;          /**< Mappings that the region takes of vm.max_map_count. */
} balloon_os_region_status;

/** Ask about a region. Reads /proc/self/smaps, for which the kernel walks all page tables: ask once
 * at start, and when something seems wrong.
 * @param         os     a balloon_os.
 * @param         id     the region.
 * @param[in,out] status filled in.
 * @return OK; ERR_INVALID for a null pointer, too small a size or no such region; ERR_SYSTEM when
 *         /proc cannot be read. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_region_get(balloon_os *os, uint32_t id,
                                                                 balloon_os_region_status *status);

/** Forget a region. Its memory is not touched.
 * @return OK, or ERR_INVALID when there is no such region. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_remove_region(balloon_os *os, uint32_t id);
/** @} */

/** @name Discarding
 * @{ */

/** Give pages back to the host: the answer to BALLOON_ACTION_DISCARD. All runs are tried, whatever
 * becomes of the others; discarding a page twice does no harm. Hand each failed run to
 * balloon_device_discard_failed().
 *
 * A run has one entry in failed at most: the smallest range that holds all its pages that may not
 * have been discarded. So there is always room for every failure.
 * @param      os           a balloon_os.
 * @param      runs         what to discard; from the tracker or device in ascending order for the
 *                          best merging.
 * @param      count        how many runs.
 * @param[out] failed       room for count runs, not overlapping runs; all of it may be written.
 * @param[out] failed_count how many of them are failures.
 * @return OK when everything was discarded; ERR_SYSTEM when the host refused something, errno says
 *         why for the first; ERR_RANGE when runs were not in a region or not whole host pages
 *         (their inner whole pages are discarded all the same); ERR_INVALID for a null pointer,
 *         with nothing done. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_discard(balloon_os *os,
                                                              const balloon_run *runs, size_t count,
                                                              balloon_run *failed,
                                                              size_t *failed_count);

/** What a balloon_os has counted.
 * @param      os       a balloon_os.
 * @param[out] counters filled in. */
BALLOON_API void balloon_os_counters_get(const balloon_os *os, balloon_os_counters *counters);

/** Name of a method, for example "madvise(MADV_REMOVE)".
 * @param method any number.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_os_method_text(balloon_os_method method);
/** @} */

/** @name Self-test
 * @{ */

/** What balloon_os_selftest() found. Set size before the call. */
typedef struct balloon_os_selftest_result {
    size_t size;              /**< sizeof(balloon_os_selftest_result). */
    balloon_os_method method; /**< How the region is discarded. */
    uint32_t batched;         /**< Nonzero: in batches, by process_madvise(). */
    uint32_t frees;           /**< Nonzero: it works. The pages went back, read as zeros, and no
                                   other page was harmed. */
    uint32_t zeros;           /**< Nonzero: discarded pages read as zeros. */
    uint32_t intact;          /**< Nonzero: pages between discarded ones kept their contents. */
    uint32_t huge;            /**< Nonzero: transparent huge pages of so many pages keep discards of
                                   this region's granule from freeing anything, or may. See
                                   BALLOON_OS_NOTE_HUGE. */
    uint64_t pages;           /**< Pages tried. */
    uint64_t populated;       /**< Pages that could be seen to take memory before. */
    uint64_t freed;           /**< Pages of them that took none afterwards. */
    char words[160];          /**< All this in a sentence. */
} balloon_os_selftest_result;

/** Prove that discarding a region really frees memory: discard pages, fill them, discard every
 * second granule and then the others, and look at what the process (mincore) or the file (allocated
 * blocks) still holds. The memory may be there already, by MAP_POPULATE, fallocate() or mlock().
 * Call it before the guest starts.
 * @param         os     a balloon_os.
 * @param         id     the region.
 * @param         range  pages of it that nobody uses yet; their contents are destroyed, and they
 * hold nothing afterwards. At least one host page, or huge page; several granules are better; 64
 * MiB at most are used.
 * @param[in,out] result filled in.
 * @return OK when the test could be made: result->frees tells the outcome; ERR_INVALID for a null
 *         pointer, too small a size or no such region; ERR_RANGE when the range is not inside the
 *         region or has no whole host page; ERR_SYSTEM when the pages could not be filled (no
 *         memory or huge pages left), errno says why. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_selftest(balloon_os *os, uint32_t id,
                                                               balloon_range range,
                                                               balloon_os_selftest_result *result);
/** @} */

/** @name Residency
 * A guest can use pages of its balloon, and no host can forbid it: they come back to memory, and
 * the device does not notice. Huge pages can bring them back as well. An audit finds them.
 * @{ */

/** What balloon_os_resident() has found; calls add up. Set size before the first, the rest to 0. */
typedef struct balloon_os_residency {
    size_t size;          /**< sizeof(balloon_os_residency). */
    uint64_t looked;      /**< Pages looked at. */
    uint64_t resident;    /**< Of them, in RAM. */
    uint64_t swapped;     /**< Of them, in swap, where this can be told. */
    uint32_t may_be_more; /**< Nonzero: pages that only other processes have touched could not be
                               seen (shared hugetlb; files of others, without write access). */
    uint32_t may_be_less; /**< Nonzero: pages that take no memory of their own were counted, such as
                               the one of zeros that a read maps (before Linux 6.7). */
} balloon_os_residency;

/** Look which pages of a run are in memory. Give it runs of the balloon, see balloon_tracker_next()
 * and BALLOON_SET_HELD, some thousand pages a second; what is found there, beyond
 * held - returned of @ref balloon_device_status, is owed to the host: balloon_pool_set_owed().
 * docs/examples/residency_audit.c does it. Nothing is changed by looking.
 *
 * Asked are the process's page tables (PAGEMAP_SCAN, Linux 6.7; before that mincore()), for memfd,
 * shared anonymous memory and files the page cache (mincore()). Not seen is what is left of
 * transparent huge pages of which other parts are in use.
 * @param         os    a balloon_os.
 * @param[in,out] run   where to look, inside of its region; afterwards what is left of it. Host
 * pages of which it has only a part are passed over.
 * @param         most  pages to look at, at most; 0 means 65536. At least a host page is.
 * @param[in,out] found what was found is added.
 * @return OK; ERR_INVALID for a null pointer or too small a size; ERR_RANGE when the run is not
 *         inside of a region; ERR_SYSTEM when the system does not tell. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_resident(balloon_os *os, balloon_run *run,
                                                               uint64_t most,
                                                               balloon_os_residency *found);
/** @} */

/** @name Host readings
 * @{ */

/* What of balloon_os_host is there. */
#define BALLOON_OS_HAS_TOTAL               ((uint32_t)1 << 0) /**< total. */
#define BALLOON_OS_HAS_AVAILABLE           ((uint32_t)1 << 1) /**< available. */
#define BALLOON_OS_HAS_PRESSURE_SOME       ((uint32_t)1 << 2) /**< pressure.some_*. */
#define BALLOON_OS_HAS_PRESSURE_FULL       ((uint32_t)1 << 3) /**< pressure.full_*. */
#define BALLOON_OS_HAS_CGROUP_LIMIT        ((uint32_t)1 << 4) /**< cgroup_limit: some limit is set. */
#define BALLOON_OS_HAS_CGROUP_CURRENT      ((uint32_t)1 << 5)  /**< cgroup_current. */
#define BALLOON_OS_HAS_CGROUP_HEADROOM     ((uint32_t)1 << 6)  /**< cgroup_headroom. */
#define BALLOON_OS_HAS_CGROUP_SOME         ((uint32_t)1 << 7)  /**< cgroup_pressure.some_*. */
#define BALLOON_OS_HAS_CGROUP_FULL         ((uint32_t)1 << 8)  /**< cgroup_pressure.full_*. */
#define BALLOON_OS_HAS_EFFECTIVE_TOTAL     ((uint32_t)1 << 9)  /**< effective_total. */
#define BALLOON_OS_HAS_EFFECTIVE_AVAILABLE ((uint32_t)1 << 10) /**< effective_available. */

/** Time lost for want of memory, as the kernel's pressure stall information tells it. */
typedef struct balloon_os_pressure {
    uint32_t some_avg10;       /**< Share of the last 10 s in which some task stalled, in hundredths
                                    of a percent. */
    uint32_t full_avg10;       /**< The same for all tasks at once. */
    balloon_time_t some_total; /**< Stall time of some task since boot. */
    balloon_time_t full_total; /**< The same for all tasks at once. */
} balloon_os_pressure;

/** How short of memory the host is. Set size before the call. What could not be read is 0, and its
 * bit of present is not set. Sizes are in bytes. */
typedef struct balloon_os_host {
    size_t size;                  /**< sizeof(balloon_os_host). */
    uint32_t present;             /**< BALLOON_OS_HAS_* bits. */
    uint32_t reserved;            /**< 0. */
    uint64_t total;               /**< RAM of the machine. */
    uint64_t available;           /**< What programs can get without swapping. */
    balloon_os_pressure pressure; /**< Pressure on the machine. */
    uint64_t cgroup_limit;        /**< The lowest memory.max or memory.high of this process's
                                       cgroup and those around it. */
    uint64_t cgroup_current;      /**< What the process's own cgroup uses, with caches. */
    uint64_t cgroup_headroom;     /**< What can still be used before the first of these limits
                                       is met. Caches that can be dropped count as unused, as they
                                       do in available: active_file, inactive_file and
                                       slab_reclaimable of each group's memory.stat. Protection by
                                       memory.min and memory.low is not looked at. */
    balloon_os_pressure cgroup_pressure; /**< Pressure on the process's own cgroup. */
    uint64_t effective_total;            /**< The lower of total and cgroup_limit. */
    uint64_t effective_available;        /**< The lower of available and cgroup_headroom. */
} balloon_os_host;

/** Read /proc/meminfo, /proc/pressure/memory and the memory controller of cgroup v2 at
 * /sys/fs/cgroup. Limits of cgroup v1 are not read.
 * @param         root where the file tree to read begins; NULL for the machine's own.
 * @param[in,out] host filled in.
 * @return OK when anything could be read; ERR_UNSUPPORTED when nothing could; ERR_INVALID for a
 *         null pointer or too small a size. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_os_host_read(const char *root,
                                                                balloon_os_host *host);
/** @} */

BALLOON_END_DECLS

/** @} */

#endif
