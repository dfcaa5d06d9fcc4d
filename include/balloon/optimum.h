/** @file
 * @brief The best that could have been done: how memory had best been divided, knowing all.
 */
#ifndef BALLOON_OPTIMUM_H
#define BALLOON_OPTIMUM_H

#include <balloon/policy.h>
#include <balloon/types.h>

/** @defgroup balloon_optimum Optimum
 * @brief Offline optima to measure policies against.
 *
 * For guests with known miss-ratio curves: sizes p with min <= p <= max and a sum within the budget
 * that make the weighted misses least. Convex curves are solved by a greedy choice of the largest
 * gain, which is exact for them (Gross 1956, Fox 1966); curves with cliffs by dynamic programming.
 * @{ */

BALLOON_BEGIN_DECLS

/** A guest of which all is known. */
typedef struct balloon_optimum_guest {
    balloon_curve curve; /**< Its misses by its size. */
    uint64_t weight;     /**< What a miss counts; times the misses at most 2^50. */
    uint64_t min;        /**< Least size in pages. */
    uint64_t max;        /**< Largest size in pages. */
} balloon_optimum_guest;

/** What came out. Costs are weighted misses in a thousand seconds. */
typedef struct balloon_optimum_result {
    uint64_t cost;  /**< Least cost with sizes of min + n * unit, or max. */
    uint64_t bound; /**< No sizes whatever cost less: the cost on the lower convex hulls or, where
                         that is more and the units are many more than the guests, with a unit more
                         for each guest. */
    bool exact;     /**< Some sizes cost bound, to a page: all curves are convex. */
} balloon_optimum_result;

/** Scratch memory that balloon_optimum() needs, with the alignment of a uint64_t.
 * @param guests how many.
 * @param budget pages for all.
 * @param unit   step of sizes in pages.
 * @return bytes; SIZE_MAX when there is no such memory. */
BALLOON_API size_t balloon_optimum_bytes(uint32_t guests, uint64_t budget, uint64_t unit);

/** Divide memory among guests at best. Takes time N log N + units log N for convex curves, and
 * units^2 more for each guest with another.
 * @param      guests  the guests.
 * @param      count   how many.
 * @param      budget  pages for all.
 * @param      unit    step of sizes in pages, at least 1; 1024 (4 MiB) is usual.
 * @param      scratch memory as balloon_optimum_bytes() says.
 * @param      bytes   its size.
 * @param[out] sizes   best size of each guest; may be NULL.
 * @param[out] result  the costs.
 * @return OK; ERR_INVALID for unit 0, a guest with max < min, or a curve that rises or has too much
 *         weight; ERR_RANGE when the least sizes do not fit into the budget; ERR_NOSPACE when bytes
 *         is too small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_optimum(const balloon_optimum_guest *guests,
                                                           uint32_t count, uint64_t budget,
                                                           uint64_t unit, void *scratch,
                                                           size_t bytes, uint64_t *sizes,
                                                           balloon_optimum_result *result);

/** Guests that change, and sizes that can change only so fast. */
typedef struct balloon_optimum_path {
    const balloon_optimum_guest *guests; /**< phases times count: all guests of the first phase,
                                              then of the next. min and max of a guest must be the
                                              same in all of them. */
    const uint32_t *steps;               /**< How many steps each phase lasts. */
    uint32_t phases;                     /**< How many phases. */
    uint32_t count;                      /**< How many guests. */
    uint64_t budget;                     /**< Pages for all guests. */
    uint64_t unit;                       /**< Step of sizes in pages. */
    uint32_t grow;                       /**< Units that a guest can grow in a step. */
    uint32_t shrink;                     /**< Units that it can shrink in a step. */
} balloon_optimum_path;

/** Scratch memory that balloon_optimum_paced() needs, with the alignment of a uint64_t.
 * @return bytes; SIZE_MAX when there is no such memory. */
BALLOON_API size_t balloon_optimum_paced_bytes(const balloon_optimum_path *path);

/** The best that can be done with balloons of limited speed, from the best start.
 *
 * For one guest and for two this is exact on the grid of units. For more it is a lower bound: the
 * budget is replaced by a price of memory in each phase, which is moved to where the bound is best
 * (Lagrangian relaxation).
 * @param      path    what changes when, and how fast.
 * @param      scratch memory as balloon_optimum_paced_bytes() says.
 * @param      bytes   its size.
 * @param[out] cost    sum over all steps of the weighted misses in a thousand seconds, at best.
 * @param[out] exact   whether it can be reached; may be NULL.
 * @return as balloon_optimum(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_optimum_paced(const balloon_optimum_path *path,
                                                                 void *scratch, size_t bytes,
                                                                 uint64_t *cost, bool *exact);

/** @} */

BALLOON_END_DECLS

#endif
