/** @file
 * @brief The vocabulary every other header uses: pages, ranges, time, status.
 */
#ifndef BALLOON_TYPES_H
#define BALLOON_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <balloon/export.h>

/** @defgroup balloon_types Types
 * @brief Pages, ranges, regions, time and status codes.
 *
 * A *page* is always 4 KiB, whatever the guest's or the host's own page size is, because that is
 * the unit of every balloon protocol. Counts and positions are in pages unless a name says bytes.
 * @{ */

#define BALLOON_PAGE_SHIFT  12                                /**< log2 of the page size. */
#define BALLOON_PAGE_SIZE   ((size_t)1 << BALLOON_PAGE_SHIFT) /**< 4096 bytes. */
#define BALLOON_GRANULE_MAX ((uint64_t)1 << 18)               /**< Largest granule: 1 GiB. */
#define BALLOON_TIME_NEVER  UINT64_MAX                        /**< "No deadline". */

BALLOON_BEGIN_DECLS

/** Guest page frame number: guest physical address divided by 4096. */
typedef uint64_t balloon_pfn_t;

/** A point in time, or a span of it, in nanoseconds of any clock that does not go back.
 * The library never reads a clock; the caller passes the time in. */
typedef uint64_t balloon_time_t;

/** What a call came to. On anything but @ref BALLOON_OK nothing has changed, unless the function
 * says otherwise. */
typedef enum balloon_status {
    BALLOON_OK = 0,          /**< Done. */
    BALLOON_ERR_INVALID,     /**< The caller passed something the function does not accept. */
    BALLOON_ERR_RANGE,       /**< A page or count lies outside of guest memory. */
    BALLOON_ERR_PROTOCOL,    /**< The peer sent nonsense. It was counted; carry on. */
    BALLOON_ERR_NOSPACE,     /**< The memory given is too small. */
    BALLOON_ERR_STATE,       /**< Not in this state: no driver, feature not negotiated. */
    BALLOON_ERR_BUSY,        /**< Poll first, then try again. */
    BALLOON_ERR_UNSUPPORTED, /**< This build, host or backing cannot do it. */
    BALLOON_ERR_SYSTEM       /**< A system call failed (os.h only); errno says why. */
} balloon_status;

/** Pages first .. first + count - 1. A count of 0 is an empty range. */
typedef struct balloon_range {
    balloon_pfn_t first; /**< First page. */
    uint64_t count;      /**< Number of pages. */
} balloon_range;

/** A piece of guest RAM that the host backs in one way. */
typedef struct balloon_region {
    balloon_pfn_t first; /**< First page. */
    uint64_t count;      /**< Number of pages, at least 1. */
    uint64_t granule;    /**< Smallest unit the host can give back, in pages: 1 for 4 KiB host
                              pages, 4 for 16 KiB, 16 for 64 KiB, 512 for 2 MiB huge pages,
                              262144 for 1 GiB. A power of two up to @ref BALLOON_GRANULE_MAX;
                              0 means 1. Granules lie at multiples of their size in guest PFNs,
                              so guest and host addresses must agree modulo the granule. */
} balloon_region;

/** A run of pages inside one region, as handed out for discarding. */
typedef struct balloon_run {
    uint32_t region;     /**< Which region: the id that adding it returned. */
    uint32_t reserved;   /**< 0. */
    balloon_range range; /**< The pages, in guest PFNs; whole granules only. */
} balloon_run;

/** One contiguous piece of readable memory. Guest memory may change while it is read; the library
 * reads each byte once. */
typedef struct balloon_iov {
    const void *base; /**< First byte; may be NULL when bytes is 0. */
    size_t bytes;     /**< Length in bytes. */
} balloon_iov;

/** How much memory an object needs. */
typedef struct balloon_layout {
    size_t bytes; /**< Size in bytes. */
    size_t align; /**< Alignment in bytes, a power of two. */
} balloon_layout;

/** Words for a status code.
 * @param status any value, also one that is not in the enum.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_status_text(balloon_status status);

BALLOON_END_DECLS

/** @} */

#endif
