/** @file
 * @brief The host end of a balloon: state machine for one guest, without I/O.
 */
#ifndef BALLOON_DEVICE_H
#define BALLOON_DEVICE_H

#include <balloon/stats.h>
#include <balloon/tracker.h>
#include <balloon/types.h>

/** @defgroup balloon_device Device
 * @brief What a VMM runs for each guest.
 *
 * Bytes and time go in through the binding of a transport (virtio.h), wishes through the commands
 * below, and balloon_device_poll() answers with what to do: discard these runs, acknowledge this
 * buffer, interrupt the guest. After each input or command, poll until it returns false; then
 * again at balloon_device_deadline() at the latest.
 *
 * The guest is not trusted: nothing it sends can fail the device, make it work more than its
 * bytes are worth, or have a page discarded that it may be using. A page number costs about the
 * same whatever the granule is, and whatever the guest did before. A range can name much memory in
 * few bytes (a report, a range of Hyper-V): it costs a step for each 2 MiB, or for each 256 KiB of
 * those blocks of 2 MiB that are in the balloon only in part, and of one buffer the device takes at
 * most 16 GiB. So 16 bytes may cost 50 microseconds, once for each answer that the guest gets.
 *
 * **What a guest can do.** A page of the balloon is RAM of the guest, which gets fresh memory when
 * it touches the page without a word. No virtio host can forbid that, and no device sees it. So
 * `returned` is what came back, and stays free as long as the guest keeps its promise. What must
 * not depend on that needs a limit of the host (a memory cgroup for each VMM, of the guest's size
 * and some more), and what is promised to others should be compared with what is resident:
 * balloon_os_resident() in balloon/os.h is such an audit, and balloon_pool_set_owed() takes what it
 * finds.
 *
 * **When pages are discarded.** Without MUST_TELL_HOST a guest may reuse a page as soon as its
 * buffer is acknowledged, so all discards of a buffer come before its acknowledgement, and a
 * granule that is still incomplete by then is never discarded. With MUST_TELL_HOST the
 * acknowledgement comes at once, discards gather over many buffers and leave in large runs, and a
 * deflate of a page that still waits just cancels it. Reported free pages are always discarded
 * before their acknowledgement; hinted pages never are.
 * @{ */

BALLOON_BEGIN_DECLS

/** One guest's balloon; opaque, and living in memory of the caller. One caller at a time. */
typedef struct balloon_device balloon_device;

/** @name Features
 * What can be offered to the guest. The bits are those of virtio.
 * @{ */
#define BALLOON_F_MUST_TELL      ((uint32_t)1 << 0)  /**< The guest waits for a deflate's answer. */
#define BALLOON_F_STATS          ((uint32_t)1 << 1)  /**< The guest sends statistics. */
#define BALLOON_F_DEFLATE_ON_OOM ((uint32_t)1 << 2)  /**< The guest may deflate when short. */
#define BALLOON_F_HINTING        ((uint32_t)1 << 3)  /**< Free page hints, for migration. */
#define BALLOON_F_POISON         ((uint32_t)1 << 4)  /**< The guest says what free pages hold. */
#define BALLOON_F_REPORTING      ((uint32_t)1 << 5)  /**< The guest reports free pages. */
#define BALLOON_F_ALL            ((uint32_t)0x3f)    /**< All of the above. */
#define BALLOON_F_DEFAULT        ((uint32_t)0x37)    /**< All but hinting, which costs memory. */
#define BALLOON_F_NONE           ((uint32_t)1 << 31) /**< Offer nothing; 0 means the default. */
/** @} */

/** @name Experimental features
 * So that a guest need not zero pages again that the host has just discarded. Drafts: bits and
 * bytes may change, or never be standard, and none of this is in BALLOON_F_ALL or the default.
 *
 * Source: oasis-tcs/virtio-spec issues 244 and 242, third version on virtio-comment (5 May 2026),
 * and the drafts of Linux (branch balloon of the vhost tree, May and June 2026) and QEMU by the
 * same author, all looked at on 30 November 2026. Not in Linux 7.3-rc7, nor in QEMU 11.1.
 * @ref virtio_balloon says what they have and where they differ.
 *
 * Nothing is claimed unless the embedder says so each time, by balloon_device_discard_zeroed().
 * **Never offer them to a confidential guest,** which must not believe its host.
 * @{ */

/** The used length of a report is its length if all of it reads as zeros. Needs
 * BALLOON_F_REPORTING. */
#define BALLOON_F_DEVICE_INIT_REPORTED ((uint32_t)1 << 6)

/** Behind the page numbers of an inflate buffer there is room for a bitmap of pages that read as
 * zeros. Such a buffer is discarded before its answer, also with MUST_TELL_HOST: discards do not
 * gather then. Of each buffer the first 256 pages can have bits; takes 1.1 KiB. */
#define BALLOON_F_DEVICE_INIT_ON_INFLATE ((uint32_t)1 << 7)

/** Both. */
#define BALLOON_F_EXPERIMENTAL ((uint32_t)0xc0)
/** @} */

/** How a device is set up. Set size, regions and region_count; 0 elsewhere means the default. */
typedef struct balloon_device_config {
    size_t size;                   /**< sizeof(balloon_device_config). */
    const balloon_region *regions; /**< Guest RAM at start, by the page numbers of 4 KiB that the
                                        guest knows it under: RAM at 2 GiB starts at page 0x80000.
                                        Copied. May be NULL when region_count is 0 and max_pages is
                                        set. */
    size_t region_count;           /**< Entries of regions; their ids are 0, 1, 2 ... */
    uint64_t max_pages;            /**< Most pages of guest RAM with all that is plugged in later;
                                        0 means what regions have. */
    uint32_t max_regions;          /**< Most regions; 0 means 8, or region_count if that is more. */
    uint32_t features;             /**< BALLOON_F_* to offer; 0 means BALLOON_F_DEFAULT. Those that
                                        are experimental are never in it by themselves. */
    uint32_t target_align;         /**< set_target() rounds down to a multiple of this many pages;
                                        a power of two; 0 means 16 (64 KiB), which every guest
                                        page size can meet exactly. */
    uint32_t run_batch;            /**< Most runs in one discard action; 0 means 256, at most
                                        1024, which balloon_os_discard() can do in one system
                                        call. */
    uint32_t max_buffers;          /**< Most buffers between two polls; 0 means 256, at most
                                        65536. */
    uint32_t max_buffer_bytes;     /**< What is read of one buffer at the most; the rest is
                                        ignored and counted; 0 means 1 MiB. */
    uint64_t gather_pages;         /**< Discard when this many pages are ready; 0 means 65536
                                        (256 MiB). Only with MUST_TELL_HOST, as the next. */
    balloon_time_t gather_delay;   /**< Discard what has been ready for this long; 0 means 100 ms,
                                        1 ns in effect at once. */
    balloon_time_t stats_timeout;  /**< How long a guest may take over statistics; 0 means 1 s
                                        (Hyper-V 3 s), at most an hour. */
} balloon_device_config;

/** What the caller has to do; @ref embedding has a table with more words, for PRESSURE above all.
 */
typedef enum balloon_action_type {
    BALLOON_ACTION_DISCARD = 1,    /**< Discard runs[0 .. run_count), all of it before the next call
                                        on the device. Tell failures by
                                        balloon_device_discard_failed(). */
    BALLOON_ACTION_ACK = 2,        /**< Give the buffer cookie of queue back to the guest with
                                        used_bytes, and interrupt it. If used is not NULL, write the
                                        used_bytes bytes there to the start of the device-writable
                                        part of the buffer before; where that cannot be done, give it
                                        back with 0. */
    BALLOON_ACTION_CONFIG_IRQ = 3, /**< Tell the guest that the configuration changed. Comes for
                                        a new target, for a target that there is when the driver
                                        comes, and to wake a driver: see
                                        balloon_device_set_target(). */
    BALLOON_ACTION_STATS = 4,      /**< Fresh statistics: balloon_device_sample(). */
    BALLOON_ACTION_STATS_LATE = 5, /**< The guest has not answered in time; the last sample is
                                        stale. */
    BALLOON_ACTION_PRESSURE = 6,   /**< The guest takes pages back below its target: it is short of
                                        memory. Sent once until it is back at the target or gets
                                        another. Not for what the host itself gave back, nor for the
                                        little that a transport is off: see pressure in
                                        balloon_device_status. */
    BALLOON_ACTION_HINTED = 7,     /**< The guest has ended its round of hints. */
    BALLOON_ACTION_SEND = 8        /**< Send the guest a message: the transport's write function
                                        makes it. Not with virtio. */
} balloon_action_type;

/** One answer of balloon_device_poll(). Fields that do not belong to the type are 0. */
typedef struct balloon_action {
    balloon_action_type type; /**< What to do. */
    uint32_t queue;           /**< Queue number as the transport counts. */
    uint64_t cookie;          /**< The caller's name for the buffer. */
    uint32_t used_bytes;      /**< Used length of the buffer: 0 without experimental features. */
    uint32_t run_count;       /**< Number of runs. */
    const balloon_run *runs;  /**< Runs to discard; valid until the next call on the device. */
    const uint8_t *used;      /**< Bytes to write into the buffer, at most 32, or NULL; valid until
                                   the next call on the device. */
} balloon_action;

/** How far free page hinting is. */
typedef enum balloon_hinting {
    BALLOON_HINTING_OFF = 0,       /**< Nothing under way; the guest has its pages. */
    BALLOON_HINTING_REQUESTED = 1, /**< A round is asked for; the guest has not begun. */
    BALLOON_HINTING_RUNNING = 2,   /**< The guest is sending hints. */
    BALLOON_HINTING_STOPPED = 3    /**< The round is over; the guest still keeps the pages. */
} balloon_hinting;

/** Where a device stands. Pages, except as noted. */
typedef struct balloon_device_status {
    uint64_t guest_pages;    /**< RAM of all regions. */
    uint64_t target;         /**< Balloon size asked for. */
    uint64_t actual;         /**< Balloon size the guest claims; never trusted for accounting. */
    uint64_t held;           /**< Balloon size as counted page by page. */
    uint64_t pending;        /**< Held, and may still be given back to the host. */
    uint64_t ready;          /**< Of those, pages in complete granules. */
    uint64_t hinted;         /**< Pages hinted free in this round. */
    uint64_t returned;       /**< Held, and given back to the host since. What is pending, inhibited
                                  or withheld, or could not be discarded, is not in it, so a guest
                                  that keeps its promise has up to guest_pages - returned of the
                                  host's memory. With MUST_TELL_HOST it is held - pending; without,
                                  it is exact where all of a 2 MiB block was given back or none, and
                                  never more, see balloon_tracker_returned(). **It counts what the
                                  host discarded, not what is resident:** see "What a guest can do"
                                  above. */
    uint32_t offered;        /**< BALLOON_F_* offered. */
    uint32_t negotiated;     /**< BALLOON_F_* in use; 0 without a driver. */
    uint32_t inhibited;      /**< How many balloon_device_inhibit() are not yet released. */
    balloon_hinting hinting; /**< How far hinting is. */
    bool driver;             /**< A driver is there. */
    bool settled;            /**< The guest has done what was asked: both what it claims and what it
                                  has named are the target, as closely as its pages and the
                                  transport allow. That is less than one page of the guest off, in
                                  either direction, and with slack above it. */
    bool stats_late;         /**< The last request for statistics was not answered in time. */
    bool pressure;           /**< The guest took pages back below its target, 16 or more, of its own
                                  accord. What the host itself gave back is none: not what a guest
                                  of VMware goes below the target by its pages of 2 MiB, nor what it
                                  takes too much of at first, or any guest within 5 s of a target
                                  that was raised while it still went down, unless it does not come
                                  again in 5 s. With virtio a guest that goes to sleep or unloads
                                  its driver empties its balloon in full buffers, and claims the new
                                  size at the end; one in need claims it at once. So full buffers
                                  without a claim are pressure 1 s after the last one, 10 s after
                                  the first at the latest, and not at all if the balloon is empty by
                                  then: that is BALLOON_REASON_GUEST_LEAVES. A guest in need that
                                  takes back all of a balloon at once cannot be told from one that
                                  leaves, until it sends statistics without memory for it. */
    uint32_t slack;          /**< Fewer pages than this above the target, and a guest of this
                                  transport may have done what was asked: 256 with virtio (guests
                                  that move whole MiB), 512 with VMware (pages of 2 MiB), 16 with
                                  others (guest pages of 64 KiB). */
} balloon_device_status;

/** What a device has counted since it was made; a reset does not clear it. */
typedef struct balloon_device_counters {
    uint64_t buffers;           /**< Buffers received, on all queues. */
    uint64_t acks;              /**< Buffers given back. */
    uint64_t inflated;          /**< Pages that went into the balloon. */
    uint64_t inflate_duplicate; /**< Pages inflated though they were held. */
    uint64_t inflate_outside;   /**< Pages inflated that are not guest RAM. */
    uint64_t inflate_withheld;  /**< Pages acknowledged without a discard, for good: granules that
                                   were  incomplete, or inhibited. Only without MUST_TELL_HOST. */
    uint64_t deflated;          /**< Pages that left the balloon. */
    uint64_t deflate_unheld;    /**< Pages deflated that were not held. */
    uint64_t deflate_outside;   /**< Pages deflated that are not guest RAM. */
    uint64_t deflated_below;    /**< Pages taken back below the target. */
    uint64_t cancelled;         /**< Pages deflated before they were discarded. */
    uint64_t discarded;         /**< Pages handed out for discarding. */
    uint64_t discard_runs;      /**< Runs handed out: ranges of discard calls. */
    uint64_t discard_failed;    /**< Pages whose discard failed. */
    uint64_t reported;          /**< Pages reported free and marked for discarding. */
    uint64_t report_withheld;   /**< Pages reported free but kept: inhibited or poisoned. Where that
                                     came after they were marked, they are in reported, too. */
    uint64_t report_partial;    /**< Pages reported that fill no whole granule. */
    uint64_t report_outside;    /**< Pages reported that are not guest RAM. */
    uint64_t hints;             /**< Pages hinted free in time. */
    uint64_t hints_stale;       /**< Pages hinted free out of a round. */
    uint64_t stats_received;    /**< Statistics accepted. */
    uint64_t stats_late;        /**< Requests not answered in time. */
    uint64_t stats_unasked;     /**< Statistics nobody asked for, dropped unread. */
    uint64_t tail_bytes;        /**< Bytes at the end of buffers that make no whole element. */
    uint64_t truncated_bytes;   /**< Bytes of a buffer beyond max_buffer_bytes, and of guest memory
                                     that one buffer reports or hints beyond 16 GiB. */
    uint64_t protocol_errors;   /**< Everything else a sane driver does not do. */
    uint64_t resets;            /**< Resets. */
    uint64_t zeroed;            /**< Pages that the guest was told read as zeros. */
} balloon_device_counters;

/** Why no (more) memory comes back from a guest. Up to 14 the smaller is the more important;
 * balloon_device_explain() knows for all. */
typedef enum balloon_reason {
    BALLOON_REASON_NONE = 0,                /**< Nothing stands in the way. */
    BALLOON_REASON_NO_DRIVER = 1,           /**< No driver is attached. */
    BALLOON_REASON_INHIBITED = 2,           /**< Discarding is inhibited (pinned memory). */
    BALLOON_REASON_ADDRESSES = 3,           /**< RAM above 16 TiB: 32-bit page numbers of the guest
                                                 could name the wrong page. */
    BALLOON_REASON_DISCARD_FAILS = 4,       /**< The last discard failed. */
    BALLOON_REASON_NO_TARGET = 5,           /**< The target is 0 and pages are not reported. */
    BALLOON_REASON_PRESSURE = 6,            /**< The guest took pages back: it is short. No longer
                                                 when the balloon has grown since, or newer
                                                 statistics show memory for what is missing. */
    BALLOON_REASON_GUEST_SLOW = 7,          /**< Below the target without progress for 5 s: the
                                                 guest finds no free pages, or its driver sleeps or
                                                 hangs. */
    BALLOON_REASON_GATHERING = 8,           /**< Pages wait for more to be discarded with them. */
    BALLOON_REASON_PARTIAL = 9,             /**< Held pages do not, or did not when they came, fill
                                                 whole host granules. */
    BALLOON_REASON_TARGET_MET = 10,         /**< The guest has given what was asked. */
    BALLOON_REASON_REPORT_NOT_OFFERED = 11, /**< Free page reporting was not offered. */
    BALLOON_REASON_REPORT_REFUSED = 12,     /**< The driver did not take free page reporting. */
    BALLOON_REASON_POISON = 13,             /**< Reported pages must keep a pattern. */
    BALLOON_REASON_STATS_LATE = 14,    /**< Statistics are not answered: decisions are blind. */
    BALLOON_REASON_CLAIM_DIFFERS = 15, /**< The guest claims another size than it has named
                                            pages: its RAM was unplugged with pages in the
                                            balloon, or it counts wrongly. held counts. */
    BALLOON_REASON_OUTSIDE = 16,       /**< The guest has inflated or reported pages outside
                                           the regions you gave, since its driver came or the
                                           last region was added. Regions are page numbers of
                                           4 KiB as the guest counts: RAM at 2 GiB starts at
                                           page 0x80000. */
    BALLOON_REASON_NO_ANSWER = 17,   /**< Hyper-V: the guest does not answer requests. Linux that is
                                          set up to hibernate does so. */
    BALLOON_REASON_GUEST_LEAVES = 18 /**< The guest took all pages back as one that suspends, or
                                          whose driver is being removed: see pressure in
                                          balloon_device_status. */
} balloon_reason;

/** @name Setting up
 * @{ */

/** What is wrong with a config, for the eyes of whoever wrote it.
 * @return NULL when nothing is; else a static text of the name of the first wrong field, a colon
 * and the reason. Regions are looked at, too. */
BALLOON_API const char *balloon_device_config_check(const balloon_device_config *config);

/** Memory a device needs.
 * @param      config how it will be set up.
 * @param[out] layout bytes and alignment.
 * @return OK, or ERR_INVALID for a config outside its limits. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_device_layout(const balloon_device_config *config, balloon_layout *layout);

/** Make a device in the caller's memory. There is nothing to undo: to destroy it, drop the memory.
 * @param      memory aligned as the layout says; used as long as the device is.
 * @param      bytes  its size.
 * @param      config the config given to balloon_device_layout(); not kept.
 * @param[out] device the new device.
 * @return OK; ERR_INVALID for a bad config, region or alignment; ERR_NOSPACE when bytes is too
 *         small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_init(void *memory, size_t bytes,
                                                               const balloon_device_config *config,
                                                               balloon_device **device);

/** Plug in guest RAM; see balloon_tracker_add_region() for the statuses. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_add_region(balloon_device *device,
                                                                     const balloon_region *region,
                                                                     uint32_t *id);

/** Unplug guest RAM. Pages of it that were held are forgotten. A target that is larger than what
 * is left stays: set a new one.
 * @return OK; ERR_INVALID when there is no such region. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_remove_region(balloon_device *device,
                                                                        uint32_t id);

/** Pages that are in the balloon although the guest has not put them there: a guest of Xen started
 * with less memory than it may have, a region was plugged in for a guest to fill by itself, or the
 * balloon of a guest comes from another VMM without a saved form of this library. They are held
 * from now on, and discarded like pages that were inflated, so that they are known to be the
 * host's; only where MUST_TELL_HOST is not in use, and the guest may touch them at any time, they
 * are not.
 *
 *     // A Xen guest with 256 MiB of 512 MiB.
 *     balloon_xen_configure(device, &(balloon_xen_options){.size = sizeof(balloon_xen_options)});
 *     balloon_device_declare_held(device, (balloon_range){65536, 65536}, now);
 *     balloon_device_set_target(device, 65536, now);
 *
 * With Xen call it before the guest runs, and again after each reset; on other transports guests
 * start with all their pages, so there has to be a driver.
 * @param device a device.
 * @param range  the pages: guest RAM that is not in the balloon.
 * @param now    the time.
 * @return OK; ERR_INVALID for no pages, pages that are no RAM or are in the balloon; ERR_STATE
 *         without a driver, but with Xen; ERR_BUSY while buffers wait: poll first; ERR_UNSUPPORTED
 *         while some RAM lies above 16 TiB, but on transports of wide page numbers. Else nothing
 * has changed. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_declare_held(balloon_device *device,
                                                                       balloon_range range,
                                                                       balloon_time_t now);

/** The guest was reset, or its driver is gone: all pages are the guest's again, buffers that were
 * received and not acknowledged are forgotten (the transport has reset its rings), there is no
 * driver until the binding says so. Target, statistics period and inhibitions stay. */
BALLOON_API void balloon_device_reset(balloon_device *device);
/** @} */

/** @name Commands
 * @{ */

/** Ask the guest for a balloon of this size. Without a driver the target waits for one, and is told
 * to it when it comes.
 *
 * Some drivers try once and then sleep until they are told of the target again: Linux after it has
 * deflated for lack of memory, OpenBSD's viomb and Haiku always. The same target again wakes them,
 * unless the balloon is there or something moved within the last second. So does the device by
 * itself: 10 s after something last moved, then after twice as long each time, up to 10 minutes;
 * but not while statistics that are newer than what the guest took back show that it is short. A
 * target that changes starts that anew.
 * @param device a device.
 * @param pages  balloon size, rounded down to config.target_align.
 * @param now    the time.
 * @return OK; ERR_RANGE when it exceeds guest RAM or 2^32 - 1; ERR_UNSUPPORTED for a nonzero target
 *         while some RAM lies above 16 TiB. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_set_target(balloon_device *device,
                                                                     uint64_t pages,
                                                                     balloon_time_t now);

/** Ask for fresh statistics. The answer is BALLOON_ACTION_STATS or BALLOON_ACTION_STATS_LATE.
 * @return OK; ERR_STATE without a driver or without BALLOON_F_STATS; ERR_BUSY while a request is
 *         under way. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_request_stats(balloon_device *device,
                                                                        balloon_time_t now);

/** Ask for statistics regularly, as long as there is a driver.
 * @param device a device.
 * @param period time between requests; 0 stops them.
 * @param now    the time; the first request is due at once. */
BALLOON_API void balloon_device_set_stats_period(balloon_device *device, balloon_time_t period,
                                                 balloon_time_t now);

/** Begin a new round of free page hints, ending the one under way and forgetting its hints. For
 * live migration: begin a round after each sync of the dirty log; before the next sync, stop the
 * round and clear the bits of BALLOON_SET_SKIP in the dirty bitmap. A page the guest writes after
 * hinting it is dirty in the log again and is copied then.
 * @return OK; ERR_STATE without a driver or without BALLOON_F_HINTING. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_start_hinting(balloon_device *device);

/** End the round: hints that arrive from now on are dropped. The hints so far stay in
 * BALLOON_SET_SKIP, and the guest keeps the pages.
 * @return OK; ERR_STATE when no round is asked for or running. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_stop_hinting(balloon_device *device);

/** Give the hinted pages back to the guest and forget the hints. Call it when a migration ends in
 * whatever way, or the guest's memory stays taken.
 * @return OK; ERR_STATE when hinting is off. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_finish_hinting(balloon_device *device);

/** Do not discard anything for now: guest memory is pinned (VFIO, RDMA, buffers registered with
 * io_uring), or being copied. Counts; buffers are acknowledged all the same. What waits in
 * gathering mode stays pending until the release. Without MUST_TELL_HOST, pages inflated meanwhile
 * are not given back, not even later. */
BALLOON_API void balloon_device_inhibit(balloon_device *device);

/** Undo one balloon_device_inhibit().
 * @return OK; ERR_STATE when there is none to undo. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_release(balloon_device *device);

/** Discard at the next poll all that is ready, without waiting for more. After a failed discard it
 * still waits for the next try. */
BALLOON_API void balloon_device_flush(balloon_device *device);

/** The discard of a run failed, or of a part of one. Call it before the next poll. In gathering
 * mode it is tried again, after gather_delay and then twice that each time up to 10 s.
 * @param device a device.
 * @param run    a run, or a part of a run, of the last discard action.
 * @param now    the time. */
BALLOON_API void balloon_device_discard_failed(balloon_device *device, const balloon_run *run,
                                               balloon_time_t now);

/** Experimental: all runs of the last discard action read as zeros now, and the guest may be told.
 * Call it after that action, before anything else on the device; without experimental features it
 * does nothing. A buffer's pages are claimed only when all discards between its receipt and its
 * answer were confirmed, none failed, and no deflate came between.
 *
 * Only the embedder can know that it is true:
 * - balloon_os_discard() returned OK, by a method that was not forced on it, or the embedder's own
 *   discards are as good: they do not leave a page as it was, as advice may (MADV_FREE).
 * - Nothing else writes to guest memory that the guest has given away: no other process, no device
 *   behind the guest's back.
 * - **While guest memory is being copied** (migration, snapshot), what is copied must be zeros as
 *   well. No dirty log of a hypervisor knows of a discard: a page that was copied before it, and is
 *   not copied again, has its old contents at the other side, where the guest believes it to be
 *   empty. So log each run as dirty, or do not call this while a copy is under way; and what
 *   BALLOON_SET_SKIP lets the copy leave out must read as zeros at the other side. */
BALLOON_API void balloon_device_discard_zeroed(balloon_device *device);
/** @} */

/** @name Poll
 * @{ */

/** What to do next.
 * @param      device a device.
 * @param      now    the time.
 * @param[out] action what to do; untouched when there is nothing.
 * @return whether there is something to do. Poll until it returns false. */
BALLOON_API bool balloon_device_poll(balloon_device *device, balloon_time_t now,
                                     balloon_action *action);

/** A buffer to give back to the guest. */
typedef struct balloon_ack {
    uint64_t cookie;     /**< The caller's name for the buffer. */
    uint32_t queue;      /**< Queue number as the transport counts. */
    uint32_t used_bytes; /**< Used length of the buffer: 0 so far. */
} balloon_ack;

/** Which buffers can be given back now, without anything to be done before: those that
 * balloon_device_poll() would name, one in each call. Ask when an action has been carried out. Who
 * takes several buffers from a queue at a time saves these calls, and can interrupt the guest once
 * for all of them; for others balloon_device_poll() says everything.
 *
 *     while (balloon_device_poll(device, now, &action)) {
 *         // carry out the action, an ACK too; then:
 *         while ((n = balloon_device_poll_acks(device, acks, 16)) > 0)
 *             // give back n buffers
 *     }
 * @param      device a device.
 * @param[out] acks   room for max of them.
 * @param      max    how many at the most.
 * @return how many were written. 0: there are none, or something comes first, a discard or an
 * answer that has more to say; go on with balloon_device_poll(). */
BALLOON_API size_t balloon_device_poll_acks(balloon_device *device, balloon_ack *acks, size_t max);

/** When balloon_device_poll() has something to do next, if nothing else happens.
 * @return a time, possibly past; BALLOON_TIME_NEVER when there is none. */
BALLOON_API balloon_time_t balloon_device_deadline(const balloon_device *device);
/** @} */

/** @name Questions
 * @{ */

/** Where the device stands.
 * @param      device a device.
 * @param[out] status filled in. */
BALLOON_API void balloon_device_status_get(const balloon_device *device,
                                           balloon_device_status *status);

/** The last statistics.
 * @param      device a device.
 * @param[out] sample the sample; its time tells its age.
 * @return whether there has been one since the last reset; sample is untouched otherwise. */
BALLOON_API bool balloon_device_sample(const balloon_device *device, balloon_sample *sample);

/** What the device has counted.
 * @param      device   a device.
 * @param[out] counters filled in. */
BALLOON_API void balloon_device_counters_get(const balloon_device *device,
                                             balloon_device_counters *counters);

/** The page map, for questions: counts, runs, the skip bitmap of a migration. */
BALLOON_API const balloon_tracker *balloon_device_tracker(const balloon_device *device);

/** Why is nothing (more) reclaimed?
 * @param      device a device.
 * @param      now    the time.
 * @param[out] all    bit (1 << reason) for every reason that applies; may be NULL.
 * @return the most important one. */
BALLOON_API balloon_reason balloon_device_explain(const balloon_device *device, balloon_time_t now,
                                                  uint32_t *all);

/** A sentence for a reason.
 * @param reason any number.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_reason_text(balloon_reason reason);

/** Check every rule inside the device and its tracker; see balloon_tracker_check(). */
BALLOON_API bool balloon_device_check(const balloon_device *device, const char **why);
/** @} */

/** @name Save and load
 * The saved form is the same on every machine and in every later version. Buffers that were
 * received and not acknowledged are part of it, by their cookies: for a guest that moves to
 * another process, cookies must mean something there (a descriptor index does, a pointer does
 * not). Times are saved relative to now.
 * @{ */

/** Bytes balloon_device_save() needs now. Takes time linear in guest memory. */
BALLOON_API size_t balloon_device_save_bytes(const balloon_device *device);

/** Save everything but counters, config and inhibitions.
 * @param      device a device.
 * @param      now    the time.
 * @param[out] buffer room for the saved form.
 * @param      bytes  its size.
 * @param[out] used   bytes written, or needed when the status is ERR_NOSPACE.
 * @return OK; ERR_NOSPACE when bytes is too small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_save(const balloon_device *device,
                                                               balloon_time_t now, void *buffer,
                                                               size_t bytes, size_t *used);

/** Load what was saved into a device with the same regions, offered features and options of its
 * binding (balloon_virtio_configure()); host granules may differ. Then poll. Every byte is
 * validated before anything changes. A round of hinting that was under way is finished, and the
 * guest told so. Of buffers that waited nothing is claimed to read as zeros. What was given back to
 * the host at the saving side must read as zeros here: these pages count as given back, as far as
 * they fill granules here, and without MUST_TELL_HOST only where all that was held of their 2 MiB
 * had been.
 * @param device a device.
 * @param now    the time.
 * @param buffer the saved form; not guest memory.
 * @param bytes  its size, exactly.
 * @return OK; ERR_PROTOCOL for bytes that no device can have saved, or that do not fit this
 *         device's regions, features, options or max_buffers; ERR_UNSUPPORTED for a newer format.
 */
BALLOON_API BALLOON_CHECKED balloon_status balloon_device_load(balloon_device *device,
                                                               balloon_time_t now,
                                                               const void *buffer, size_t bytes);
/** @} */

BALLOON_END_DECLS

/** @} */

#endif
