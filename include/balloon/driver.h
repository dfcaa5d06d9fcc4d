/** @file
 * @brief The guest end of a balloon: what a kernel runs, without I/O and without an allocator.
 */
#ifndef BALLOON_DRIVER_H
#define BALLOON_DRIVER_H

#include <balloon/stats.h>
#include <balloon/tracker.h>
#include <balloon/types.h>

/** @defgroup balloon_driver Driver
 * @brief The mirror image of the device, for kernels, unikernels and firmware.
 *
 * The binding of a transport (virtio.h, hyperv.h, vmware.h, xen.h) passes on what the host says;
 * the kernel answers the actions of balloon_driver_poll(): allocate these pages, free those, send
 * this message. After each input, poll until it returns false; then again at
 * balloon_driver_deadline() at the latest. Every page is the kernel's, the driver's (allocated, on
 * its way) or the balloon's, and never two of these.
 *
 * The host is not trusted. Its target is a wish, kept within the floor; what it says it gives back
 * is freed only if it is in the balloon; an answer to nothing is counted and dropped. A host that
 * does not answer keeps what is on its way, nothing else.
 *
 * **The order.** A page that goes into the balloon is told to the host after it was allocated; a
 * page that comes out of it is freed after the host has answered that it knows. The driver waits
 * for this answer on every transport that has one, whether or not MUST_TELL_HOST was negotiated.
 *
 * **A list of the kernel's own**, without regions. Pages enter it when they are given for INFLATE,
 * and the new page of balloon_driver_migrate() with that call; they leave it when a FREE names
 * them, and not before. So a page that was named for a TAKE is still in the list: the host may keep
 * it, and a reset names what was on its way into the balloon only, then all of the list by a FREE
 * without runs. Pages for HINT and REPORT are never in the list.
 * @{ */

BALLOON_BEGIN_DECLS

/** The guest end of one balloon; opaque, and living in memory of the caller. One caller at a time.
 */
typedef struct balloon_driver balloon_driver;

/** How a driver is set up. Set size and either regions or total_pages; 0 elsewhere means the
 * default. */
typedef struct balloon_driver_config {
    size_t size;                   /**< sizeof(balloon_driver_config). */
    const balloon_region *regions; /**< The guest's RAM, whose balloon pages the driver keeps
                                      itself, by a tracker; copied, granules do not matter. NULL:
                                      the kernel keeps a list of them (see
                                        @ref BALLOON_DRIVER_TAKE), and total_pages says how large
                                        the guest is. */
    size_t region_count;           /**< Entries of regions. */
    uint64_t max_pages;            /**< Most pages of RAM with all that is plugged in later; 0 means
                                        what there is at first. */
    uint32_t max_regions;          /**< Most regions; 0 means 8, or region_count if that is more. */
    uint32_t page_pages;           /**< The guest's own page size, in pages of 4 KiB: 1, 4 or 16;
                                        0 means 1. All that is allocated and freed comes in
                                        multiples of it, aligned to it. */
    uint64_t total_pages;          /**< Without regions: RAM of the guest, below 2^40. */
    uint64_t floor_pages;          /**< Keep the guest at least this large, whatever the host asks;
                                        0 means what Linux keeps under Hyper-V: half of a small guest
                                        to a 32nd of a large one, and follows what is plugged in
                                        and unplugged. UINT64_MAX means no floor. */
    uint32_t chunk_pages;          /**< Most pages in one message; 0 means what suits the transport:
                                        256 on virtio, what every device takes, and 512 (2 MiB) on
                                        the others. At most 2^20. */
    uint32_t chunk_runs;           /**< Most separate blocks in one message; 0 means chunk_pages or
                                        512, whichever is less. At most 4096. */
    uint32_t block_pages;          /**< Largest block worth asking for; a power of two; 0 means 512
                                        (2 MiB), and never more than chunk_pages. */
    balloon_time_t retry_delay;    /**< After an allocation that failed wait this long, then twice
                                        that each time up to 64 times as long; 0 means 200 ms. */
    balloon_time_t oom_delay;      /**< After balloon_driver_oom() do not inflate for this long; 0
                                        means 5 s. */
    balloon_time_t report_delay;   /**< Time between two rounds of free page reporting; 0 means
                                        2 s. */
    uint32_t report_block;         /**< Smallest block worth reporting, in pages; a power of two; 0
                                        means 512. */
    uint32_t poison;               /**< The pattern that free pages of this guest hold and that it
                                        checks for, if poisoned. */
    bool poisoned;       /**< Free pages hold a pattern. Without it they may come back from
                              the host as zeros. */
    bool deflate_on_oom; /**< The kernel calls balloon_driver_oom(). */
    bool stats;          /**< The kernel answers @ref BALLOON_DRIVER_STATS. */
    bool reporting;      /**< The kernel answers requests to report free pages. */
    bool hinting;        /**< The kernel answers requests to hint at free pages. */
} balloon_driver_config;

/** What a message or an allocation is about. The numbers are those of balloon_virtio_queue. */
typedef enum balloon_driver_channel {
    BALLOON_CHANNEL_INFLATE = 0, /**< Pages into the balloon. */
    BALLOON_CHANNEL_DEFLATE = 1, /**< Pages out of it. */
    BALLOON_CHANNEL_STATS = 2,   /**< Statistics. */
    BALLOON_CHANNEL_HINT = 3,    /**< Free page hints. */
    BALLOON_CHANNEL_REPORT = 4,  /**< Free page reports. */
    BALLOON_CHANNEL_CONTROL = 5, /**< What a transport needs beside: greetings, questions. */
    BALLOON_CHANNELS = 6         /**< Number of channels. */
} balloon_driver_channel;

/** What the kernel has to do. */
typedef enum balloon_driver_action_type {
    BALLOON_DRIVER_ALLOC = 1,  /**< Allocate up to pages pages in up to max_runs blocks, if it can
                                    be blocks of block pages, and answer by
                                    balloon_driver_give(); without waiting for memory or killing
                                    for it. For INFLATE any pages; for REPORT and HINT free ones in
                                    blocks of block pages or more. */
    BALLOON_DRIVER_FREE = 2,   /**< The pages of runs[0 .. run_count) are the kernel's again, and
                                    leave its list if it has one. For HINT without runs: pages pages
                                    of those given for it, which the kernel keeps itself. Without
                                    regions and without runs, for INFLATE: all pages that are still
                                    in the list. */
    BALLOON_DRIVER_SEND = 3,   /**< Send the message that the transport's write function makes now,
                                    at most bytes long, and pass its answer to the transport. */
    BALLOON_DRIVER_STATS = 4,  /**< Collect statistics: balloon_driver_give_stats(). */
    BALLOON_DRIVER_CONFIG = 5, /**< virtio: write value, as 4 bytes little-endian, to the
                                    configuration space at offset. */
    BALLOON_DRIVER_TAKE = 6,   /**< Only without regions: name up to pages pages of the list that
                                    shall leave it, by balloon_driver_give() for DEFLATE, each once.
                                    They stay in the list until FREE. What was named before and is
                                    still there the host has kept: name other pages first, or it
                                    keeps them for ever. */
    BALLOON_DRIVER_PLUG = 7,   /**< Hyper-V: take the new memory runs[0] into use, in a region
                                    runs[1] of which the rest must stay unused, and answer by
                                    balloon_hyperv_driver_plugged(). */
    BALLOON_DRIVER_SUSPENDED = 8, /**< The driver is at rest, as balloon_driver_suspend() asked. */
    BALLOON_DRIVER_ZEROED = 9 /**< Experimental, see balloon_virtio_driver_options: the host says
                                   that the pages of runs[0 .. run_count) read as zeros. So they do
                                   until the kernel writes to them, or gives or lends them again: a
                                   kernel that marks them need not zero them when a FREE has named
                                   them. Comes for INFLATE as soon as they are in the balloon, for
                                   REPORT just before their FREE. */
} balloon_driver_action_type;

/** One answer of balloon_driver_poll(). Fields that do not belong to the type are 0. */
typedef struct balloon_driver_action {
    balloon_driver_action_type type; /**< What to do. */
    balloon_driver_channel channel;  /**< What it is about: ALLOC, FREE, SEND. */
    uint64_t pages;                  /**< ALLOC, TAKE: how many pages at the most. */
    uint32_t block;                  /**< ALLOC: preferred size of a block, in pages. */
    uint32_t max_runs;               /**< ALLOC, TAKE: how many blocks at the most. */
    const balloon_range *runs;       /**< FREE, PLUG, ZEROED: which pages; valid until the next
                                          call. */
    uint32_t run_count;              /**< How many. */
    uint32_t bytes;                  /**< SEND: room to offer to the write function. */
    uint32_t offset;                 /**< CONFIG: where. */
    uint32_t value;                  /**< CONFIG: what. */
} balloon_driver_action;

/** What a driver is at. */
typedef enum balloon_driver_state {
    BALLOON_DRIVER_DETACHED = 0,   /**< No host. */
    BALLOON_DRIVER_ATTACHED = 1,   /**< At work. */
    BALLOON_DRIVER_SUSPENDING = 2, /**< On its way to rest: the balloon is being emptied, on
                                        transports that can. */
    BALLOON_DRIVER_RESTING = 3     /**< At rest. */
} balloon_driver_state;

/** Where a driver stands. Pages, except as noted. */
typedef struct balloon_driver_status {
    balloon_driver_state state; /**< What it is at. */
    uint64_t total;             /**< RAM of the guest. */
    uint64_t target;            /**< Balloon size that the host wants. */
    uint64_t goal;              /**< Of that, what the floor allows: what the driver works for. */
    uint64_t held;              /**< Balloon size. */
    uint64_t on_way_in;         /**< Allocated, and not yet in the balloon. */
    uint64_t on_way_out;        /**< Still in the balloon; the host was told they shall leave it. */
    uint64_t hinted;            /**< Taken for hints, and not yet freed. */
    uint64_t reporting;         /**< Taken for a report, and not yet freed. */
    uint64_t window;            /**< Pages that the next allocation asks for at the most. */
    balloon_time_t pause_until; /**< No inflation before; 0 when there is no pause. */
    uint32_t negotiated;        /**< virtio: BALLOON_F_* in use. */
} balloon_driver_status;

/** What a driver has counted since it was made. */
typedef struct balloon_driver_counters {
    uint64_t inflated;        /**< Pages that went into the balloon. */
    uint64_t deflated;        /**< Pages that left it. */
    uint64_t refused;         /**< Pages that the host did not take, freed again. */
    uint64_t kept;            /**< Pages that the host did not let out of the balloon. */
    uint64_t allocs;          /**< Requests for pages. */
    uint64_t allocs_short;    /**< Of these, with less pages than asked. */
    uint64_t alloc_unusable;  /**< Answers of the kernel that could not be used. */
    uint64_t messages;        /**< Messages sent. */
    uint64_t answers_unasked; /**< Answers of the host to nothing. */
    uint64_t foreign;         /**< Pages that the host gave back though they were not in the
                                   balloon. */
    uint64_t protocol_errors; /**< Everything else a sane host does not do. */
    uint64_t target_cut;      /**< Targets that the floor cut. */
    uint64_t oom_pages;       /**< Pages given back for balloon_driver_oom(). */
    uint64_t reported;        /**< Pages reported free. */
    uint64_t hinted;          /**< Pages hinted free. */
    uint64_t migrated;        /**< Pages replaced by balloon_driver_migrate(). */
    uint64_t resets;          /**< Times that the host was lost, or asked for a new start. */
    uint64_t zeroed;          /**< Pages that were named by ZEROED. */
    uint64_t zeroed_foreign;  /**< Bits of the host for pages that were not in the message. */
} balloon_driver_counters;

/** @name Setting up
 * @{ */

/** What is wrong with a config, for the eyes of whoever wrote it.
 * @return NULL when nothing is; else a static text of the name of the first wrong field, a colon
 * and the reason. Regions are looked at, too. */
BALLOON_API const char *balloon_driver_config_check(const balloon_driver_config *config);

/** Memory a driver needs: about 36 KiB, and with regions 2 bits a page.
 * @param      config how it will be set up.
 * @param[out] layout bytes and alignment.
 * @return OK, or ERR_INVALID for a config outside its limits. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_driver_layout(const balloon_driver_config *config, balloon_layout *layout);

/** Make a driver in the caller's memory. There is nothing to undo.
 * @param      memory aligned as the layout says; used as long as the driver is.
 * @param      bytes  its size.
 * @param      config the config given to balloon_driver_layout(); not kept.
 * @param[out] driver the new driver, detached.
 * @return OK; ERR_INVALID for a bad config, region or alignment; ERR_NOSPACE when bytes is too
 *         small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_init(void *memory, size_t bytes,
                                                               const balloon_driver_config *config,
                                                               balloon_driver **driver);

/** The kernel has plugged in RAM. Without regions, only region->count matters, and all of RAM stays
 * below 2^40 pages.
 * @return OK; ERR_INVALID, ERR_RANGE or ERR_NOSPACE as balloon_tracker_add_region(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_add_region(balloon_driver *driver,
                                                                     const balloon_region *region,
                                                                     uint32_t *id);

/** Pages are in the balloon from the start: they are RAM of the guest, but have no memory, and get
 * it when the host lets the balloon shrink. So a guest of Xen that starts below its maximum has
 * room to grow, and one that has used that up gets more by balloon_driver_add_region() for
 * addresses that are not in use, and this call for the same pages.
 *
 *     // A PV guest with 200 MiB of 400 in its memory map; then 128 MiB above 4 GiB.
 *     balloon_driver_declare_out(driver, (balloon_range){51200, 51200});
 *     balloon_driver_add_region(driver, &(balloon_region){0x100000, 32768, 1}, &id);
 *     balloon_driver_declare_out(driver, (balloon_range){0x100000, 32768});
 *
 * The host must take them for the balloon's, too, and a reset must not bring memory for them: as on
 * Xen. They count as held, not as inflated.
 * @param driver a driver, detached or at work.
 * @param range  the pages, not used by the kernel until a FREE names them; without regions only
 * their number matters, and the kernel has put them on its list.
 * @return OK; ERR_INVALID for no pages, pages outside of RAM, of the balloon or on their way, or
 * not aligned to the guest's page size; ERR_BUSY while pages wait to be named by FREE. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_declare_out(balloon_driver *driver,
                                                                      balloon_range range);

/** The kernel unplugs RAM; no page of it may be the balloon's or the driver's. Without regions the
 * driver only sees that what is left can hold the balloon; which pages it is, the kernel's list
 * knows. Pages that the kernel keeps for hints are not looked at once the host has their names.
 * @param driver a driver.
 * @param id     number of the region; without regions, ignored.
 * @param pages  without regions: how much goes.
 * @return OK; ERR_INVALID when there is no such region; ERR_BUSY while a page of it is in the
 *         balloon or on its way: migrate or deflate first; and while one is lent for a report or
 *         a hint on its way, or waits to be named by FREE: poll, and try again. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_remove_region(balloon_driver *driver,
                                                                        uint32_t id,
                                                                        uint64_t pages);
/** @} */

/** @name Inputs
 * @{ */

/** Answer an ALLOC: these pages are the driver's now, and come back by FREE. Or answer a TAKE:
 * these pages of the list shall leave the balloon, and do when a FREE names them.
 * @param driver  a driver.
 * @param channel that of the action; DEFLATE for TAKE.
 * @param runs    the blocks; copied.
 * @param count   how many; 0 when there is no memory. Less pages than asked make the driver ask
 *                for less, and later.
 * @param now     the time.
 * @return OK; ERR_STATE when nothing was asked; ERR_INVALID, and the pages stay the kernel's, for
 *         more pages or blocks than asked, pages outside of RAM, not aligned to the guest's page
 *         size, named twice, or (INFLATE) in the balloon already: the request counts as failed. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_give(balloon_driver *driver,
                                                               balloon_driver_channel channel,
                                                               const balloon_range *runs,
                                                               size_t count, balloon_time_t now);

/** Answer STATS. On transports that send statistics unasked, the answer also says how much of the
 * guest is in use.
 * @return OK; ERR_STATE when nothing was asked. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_give_stats(balloon_driver *driver,
                                                                     const balloon_sample *sample,
                                                                     balloon_time_t now);

/** The kernel is out of memory: give back up to that many pages, hinted ones first, even below the
 * target, and do not inflate for a while, whatever is returned while attached. Poll; the pages come
 * by FREE, those of the balloon after the host has answered. A request under way on Hyper-V ends.
 * @param      driver a driver.
 * @param      pages  how many are wanted.
 * @param[out] coming how many will come if the host answers; may be NULL.
 * @param      now    the time.
 * @return OK; ERR_UNSUPPORTED when the host does not allow it and nothing is hinted; ERR_STATE when
 *         detached. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_oom(balloon_driver *driver,
                                                              uint64_t pages, uint64_t *coming,
                                                              balloon_time_t now);

/** The kernel wants the place of a page of the balloon (compaction): put another page into the
 * balloon for it. The old page comes by FREE, or the new one if the host does not take it.
 * @param driver a driver.
 * @param from   a page in the balloon.
 * @param to     a page of the kernel's; the driver's from now on.
 * @param now    the time.
 * @return OK; ERR_BUSY while pages are on their way: poll, then try again; ERR_INVALID when from is
 *         not in the balloon, to is, or either is not a page of the guest's size in its RAM;
 *         ERR_STATE when detached; ERR_UNSUPPORTED on transports on which guests cannot deflate. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_migrate(balloon_driver *driver,
                                                                  balloon_pfn_t from,
                                                                  balloon_pfn_t to,
                                                                  balloon_time_t now);

/** Before suspend, hibernation or removal of the driver: stop inflating, give all pages back to the
 * kernel where the transport lets guests deflate, come to rest, and say so by SUSPENDED. Then reset
 * the device and call balloon_driver_reset(); after the resume, attach again by the transport.
 * @return OK; ERR_STATE when detached. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_driver_suspend(balloon_driver *driver,
                                                                  balloon_time_t now);

/** The device was reset, or is gone, and so all pages are the guest's: they come by FREE. Also the
 * way out when a host does not answer any more: reset the device first. Nothing that was sent will
 * be answered. */
BALLOON_API void balloon_driver_reset(balloon_driver *driver);
/** @} */

/** @name Poll
 * @{ */

/** What to do next. An ALLOC, TAKE, STATS or SEND is told once, and until it was answered nothing
 * more is asked of the same channel.
 * @param      driver a driver.
 * @param      now    the time.
 * @param[out] action what to do; untouched when there is nothing.
 * @return whether there is something to do. Poll until it returns false. */
BALLOON_API bool balloon_driver_poll(balloon_driver *driver, balloon_time_t now,
                                     balloon_driver_action *action);

/** When balloon_driver_poll() has something to do next, if nothing else happens.
 * @return a time, possibly past; BALLOON_TIME_NEVER when there is none. */
BALLOON_API balloon_time_t balloon_driver_deadline(const balloon_driver *driver);
/** @} */

/** @name Questions
 * @{ */

/** Where the driver stands.
 * @param      driver a driver.
 * @param[out] status filled in. */
BALLOON_API void balloon_driver_status_get(const balloon_driver *driver,
                                           balloon_driver_status *status);

/** What the driver has counted.
 * @param      driver   a driver.
 * @param[out] counters filled in. */
BALLOON_API void balloon_driver_counters_get(const balloon_driver *driver,
                                             balloon_driver_counters *counters);

/** The pages of the balloon; NULL without regions. */
BALLOON_API const balloon_tracker *balloon_driver_tracker(const balloon_driver *driver);

/** Check every rule inside the driver; for tests and fuzzers. Takes time linear in guest memory.
 * @param      driver a driver.
 * @param[out] why    the rule that is broken, a static string; may be NULL.
 * @return whether all hold. */
BALLOON_API bool balloon_driver_check(const balloon_driver *driver, const char **why);
/** @} */

BALLOON_END_DECLS

/** @} */

#endif
