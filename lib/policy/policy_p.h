/* What the built-in policies share: who can be changed, averages, and the two ways to divide
 * memory. */
#ifndef BALLOON_POLICY_POLICY_P_H
#define BALLOON_POLICY_POLICY_P_H

#include <balloon/policy.h>

#include "../core/sized.h"
#include "../core/wide.h"

#define MIB    (UINT64_C(1) << (20 - BALLOON_PAGE_SHIFT)) /* in pages */
#define GIB    (1024 * MIB)
#define SECOND UINT64_C(1000000000)

static inline uint64_t bl_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t bl_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* a - b, or 0. */
static inline uint64_t bl_less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* a * b, or the largest number. */
static inline uint64_t bl_sat_mul(uint64_t a, uint64_t b)
{
    struct bl_wide w = bl_mul(a, b);

    return w.high ? UINT64_MAX : w.low;
}

/* The lower limit wins where a guest has two that contradict each other. */
static inline uint64_t bl_clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return bl_max(bl_min(value, high), low);
}

/* Averages have 8 bits behind the point, so that they come near small values too. */
static inline uint64_t bl_average(uint64_t average, uint64_t value, uint64_t part)
{
    value <<= 8;
    return value > average ? average + bl_div(value - average, part)
                           : average - bl_div(average - value, part);
}

/* The square root, rounded down. */
uint64_t bl_sqrt(uint64_t value);

/* Can its size be changed at the moment? */
static inline bool bl_movable(const balloon_guest_view *g)
{
    return !(g->flags & ((uint32_t)BALLOON_GUEST_NO_DRIVER | (uint32_t)BALLOON_GUEST_INACTIVE |
                         (uint32_t)BALLOON_GUEST_PINNED | (uint32_t)BALLOON_GUEST_BOOTING));
}

static inline bool bl_knows(const balloon_guest_view *g, uint32_t signals)
{
    return (g->known & signals) == signals;
}

/* Like bl_knows(), of what the guest itself says: that can be old. */
static inline bool bl_says(const balloon_guest_view *g, uint32_t signals)
{
    return !(g->flags & (uint32_t)BALLOON_GUEST_STALE) && bl_knows(g, signals);
}

/* Has waiting been measured since *last? Decisions may come more often than statistics. */
static inline bool bl_measured(uint32_t *last, const balloon_guest_view *g)
{
    bool news = bl_says(g, BALLOON_KNOWS_STALL) && *last != g->stall_sample;

    *last = g->stall_sample;
    return news;
}

/* Waiting that counts as such, in millionths of the time. */
#define BL_WAITING 1000u

/* Does it wait for memory, more than is nothing? */
static inline bool bl_waits(const balloon_guest_view *g)
{
    return bl_says(g, BALLOON_KNOWS_STALL) && g->stall >= BL_WAITING;
}

/* What a guest has or was promised. */
static inline uint64_t bl_held(const balloon_guest_view *g)
{
    return bl_max(g->size, g->target);
}

/* Keep the target, for a reason. */
void bl_keep(const balloon_guest_view *g, balloon_wish *wish, balloon_why why);

/* Keep the target of a guest that is not movable. */
void bl_keep_fixed(const balloon_guest_view *g, balloon_wish *wish);

/* Wish a size for a reason, which is the limit where it meets one. */
void bl_wish(const balloon_guest_view *g, balloon_wish *wish, uint64_t size, balloon_why why);

/* Is it time again? Then the next time is a period later. An early call of up to a tenth of the
 * period counts, since a caller's timer is not exact; so does the first one. */
bool bl_due(balloon_time_t *next, balloon_time_t now, balloon_time_t period);

/* What a guest of that size should have available at least: the floor that Linux' driver for
 * Hyper-V keeps (drivers/hv/hv_balloon.c). */
uint64_t bl_guest_floor(uint64_t size);

/* ---- A level (level.c)
 * --------------------------------------------------------------------------- */

/* A vessel that is filled as the level x rises: claim * x pages, of which those beyond `active` pay
 * the tax, between lo and hi. */
typedef struct bl_vessel {
    uint64_t active, lo, hi; /* pages */
    uint64_t got;            /* result, in pages */
    uint32_t claim;          /* shares in 256ths, below 2^27 so that no product overflows */
    uint32_t guest;          /* for the caller */
} bl_vessel;

#define BL_VESSEL_WORDS ((sizeof(bl_vessel) + 7) / 8)
#define BL_TAX_MAX      240u /* in 256ths */

/* Fill to the highest level that the budget allows, and divide what is left by order, each no more
 * than the next level would give it. All get lo when the budget is less than that. *level is where
 * to look first, 0 for anywhere, and is set; it makes no difference to the result. */
void bl_level_fill(bl_vessel *vessels, uint32_t count, uint32_t tax, uint64_t budget,
                   uint64_t *level);

/* ---- Curves (curve.c, hull.c)
 * -------------------------------------------------------------------- */

/* The lower convex hull of a curve from lo to hi: bit i is set when point i is a corner of it. The
 * ends are corners too and have no bit. Points behind the 32nd are not looked at. */
uint32_t bl_curve_hull(const balloon_curve *curve, uint64_t lo, uint64_t hi);

/* A guest with a curve. The first five are the caller's. */
typedef struct bl_slope {
    balloon_curve curve;
    uint64_t lo, hi;
    uint32_t weight; /* what a miss counts */
    uint32_t guest;  /* for the caller */
    uint64_t got;    /* result, in pages */
    uint64_t kept;   /* got before the piece that did not fit */
    uint64_t misses; /* at got */
    uint32_t hull;   /* corners still ahead */
} bl_slope;

/* How steep the next piece of a slope is. Apart from it, so that a heap of them is small. */
typedef struct bl_steep {
    uint64_t key;
    uint32_t slope;
} bl_steep;

#define BL_SLOPE_WORDS ((sizeof(bl_slope) + sizeof(bl_steep) + 7) / 8)

/* Divide a budget so that weighted misses are few: lo for all, then the steepest pieces of the
 * hulls. What saves nothing is not given to anybody. The heap has room for count entries. */
void bl_hull_fill(bl_slope *slopes, bl_steep *heap, uint32_t count, uint64_t budget);

#endif
