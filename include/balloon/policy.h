/** @file
 * @brief What decides how large guests should be: the interface of policies, and the built-in ones.
 */
#ifndef BALLOON_POLICY_H
#define BALLOON_POLICY_H

#include <balloon/types.h>

/** @defgroup balloon_policy Policies
 * @brief From what is known of N guests and their host to a wished size for each.
 *
 * A *size* is a guest's RAM less its balloon, in pages. A policy is a constant table. Its decide
 * function is pure: it reads the view, reads and writes the state given to it, and writes one wish
 * a guest. It has no clock, no random numbers, no floating point and no memory of its own, so equal
 * inputs give equal decisions on every machine.
 *
 * A policy need not be careful. The pool (pool.h) cleans what guests say before the policy sees it,
 * and bounds what the policy wishes before a guest sees that: a wrong policy can be bad, never
 * unsafe.
 * @{ */

BALLOON_BEGIN_DECLS

/** A point of a miss-ratio curve: with that many pages a guest misses so often. */
typedef struct balloon_curve_point {
    uint64_t pages;  /**< Size of the guest. */
    uint64_t misses; /**< Misses in a thousand seconds. Falls, or stays, from point to point. */
} balloon_curve_point;

/** A miss-ratio curve: straight between its points, level before the first and after the last. */
typedef struct balloon_curve {
    const balloon_curve_point *points; /**< By rising pages. */
    uint32_t count;                    /**< How many; 0 means that nothing is known. */
} balloon_curve;

#define BALLOON_CURVE_POINTS_MAX 32 /**< Points that a pool keeps of a guest's curve. */

/** Misses at a size.
 * @return misses in a thousand seconds; 0 for a curve without points. */
BALLOON_API uint64_t balloon_curve_at(const balloon_curve *curve, uint64_t pages);

/** What holds for a guest at the moment. */
typedef enum balloon_guest_flag {
    BALLOON_GUEST_NO_DRIVER = 1 << 0, /**< Its size cannot be changed: no balloon driver. */
    BALLOON_GUEST_STALE = 1 << 1,     /**< Its statistics are old, or there are none. */
    BALLOON_GUEST_INACTIVE = 1 << 2,  /**< It was asked to change and did not move. */
    BALLOON_GUEST_PINNED = 1 << 3,    /**< Its memory must stay: a device, a migration. */
    BALLOON_GUEST_BOOTING = 1 << 4,   /**< It has just started. */
    BALLOON_GUEST_HELD = 1 << 5       /**< It grew under pressure a short while ago. */
} balloon_guest_flag;

/** What is known of a guest beside its size; bits of balloon_guest_view.known. */
typedef enum balloon_signal {
    BALLOON_KNOWS_AVAILABLE = 1 << 0, /**< available. */
    BALLOON_KNOWS_FREE = 1 << 1,      /**< free. */
    BALLOON_KNOWS_CACHES = 1 << 2,    /**< caches. */
    BALLOON_KNOWS_COMMITTED = 1 << 3, /**< committed. */
    BALLOON_KNOWS_STALL = 1 << 4,     /**< stall: from stall times, or from faults and swapping. */
    BALLOON_KNOWS_ACTIVE = 1 << 5,    /**< active. */
    BALLOON_KNOWS_SWAP = 1 << 6,      /**< swapped and swap_in_rate. */
    BALLOON_KNOWS_CURVE = 1 << 7      /**< curve. */
} balloon_signal;

/** One guest, cleaned: free <= available <= size, no counter runs backwards. Pages unless noted. */
typedef struct balloon_guest_view {
    void *state;           /**< The policy's own memory for this guest, guest_bytes long; all zero
                                at first. */
    uint64_t id;           /**< Number that the guest keeps for life. */
    uint64_t size;         /**< How large it is. */
    uint64_t target;       /**< How large it was last asked to be. */
    uint64_t min;          /**< It may never be asked to be smaller, */
    uint64_t max;          /**< or larger. */
    uint32_t shares;       /**< Its claim relative to others: 1 to 10000. */
    uint32_t priority;     /**< Higher goes first when it is about survival. */
    uint32_t flags;        /**< @ref balloon_guest_flag. */
    uint32_t known;        /**< @ref balloon_signal; what is not known is 0. */
    uint64_t age;          /**< Nanoseconds since the statistics were taken. */
    uint64_t sample;       /**< Counts statistics: the same number means nothing new. */
    uint64_t available;    /**< Could be had without swapping. */
    uint64_t free;         /**< Not used at all. */
    uint64_t caches;       /**< File cache. */
    uint64_t committed;    /**< Promised to programs; the balloon not counted. */
    uint64_t active;       /**< Working set, as the host measured it. */
    uint64_t swapped;      /**< Out on the guest's swap. */
    uint64_t swap_in_rate; /**< Pages swapped in a second. */
    uint32_t stall; /**< Share of time in which some task waited for memory, in millionths. */
    uint32_t stall_sample; /**< Counts measurements of stall: the same number means nothing new. */
    balloon_curve curve;   /**< Miss-ratio curve. */
    uint64_t growth;       /**< Pages a second by which what it uses has grown of late. Known with
                                available, once there were two samples. */
} balloon_guest_view;

/** How scarce memory is on the host. */
typedef enum balloon_host_state {
    BALLOON_HOST_HIGH = 0, /**< Enough. */
    BALLOON_HOST_SOFT = 1, /**< Take back gently. */
    BALLOON_HOST_HARD = 2, /**< Take back now. */
    BALLOON_HOST_LOW = 3   /**< Emergency. */
} balloon_host_state;

/** All there is to decide on. Pages unless noted. */
typedef struct balloon_view {
    size_t size;                      /**< sizeof(balloon_view). */
    balloon_time_t now;               /**< The time. */
    balloon_time_t elapsed;           /**< Nanoseconds since the last decision; 0 the first time. */
    uint64_t pool;                    /**< Memory for all guests that there is; may be 0. */
    uint64_t reserve;                 /**< Of it, what should stay free. */
    uint64_t used;                    /**< Sum of the guests' sizes. */
    uint64_t free;                    /**< pool - used, or 0. */
    balloon_host_state state;         /**< How scarce memory is. */
    const balloon_guest_view *guests; /**< By rising id. */
    uint32_t guest_count;             /**< How many. */
    uint64_t *scratch;                /**< scratch_words words a guest, for sorting and the like;
                                           anything may be in it. */
} balloon_view;

/** Why a guest should have that size. */
typedef enum balloon_why {
    BALLOON_WHY_HOLD = 0,      /**< Nothing to change. */
    BALLOON_WHY_DEAD_BAND,     /**< Too small a change to bother. */
    BALLOON_WHY_COOL_DOWN,     /**< Changed a short while ago. */
    BALLOON_WHY_DEMAND,        /**< It needs that much. */
    BALLOON_WHY_PRESSURE,      /**< It waits for memory. */
    BALLOON_WHY_SHARE,         /**< Its share of what there is. */
    BALLOON_WHY_LIMIT,         /**< Its minimum or maximum. */
    BALLOON_WHY_HOST_LOW,      /**< The host is short. */
    BALLOON_WHY_HOST_CRITICAL, /**< The host is about to run out. */
    BALLOON_WHY_STALE,         /**< Its statistics are too old to decide on. */
    BALLOON_WHY_INACTIVE,      /**< It does not follow. */
    BALLOON_WHY_NO_DRIVER,     /**< It has no driver. */
    BALLOON_WHY_PINNED,        /**< Its memory must stay. */
    BALLOON_WHY_BUDGET,        /**< The memory it should get has not come back yet. */
    BALLOON_WHY_OWED           /**< What it gives does not come back to the host. */
} balloon_why;

/** What a policy wishes for a guest; starts as its target and BALLOON_WHY_HOLD. */
typedef struct balloon_wish {
    uint64_t target;  /**< Size, in pages; the pool bounds it. */
    uint32_t why;     /**< @ref balloon_why. */
    uint32_t urgency; /**< Who is served first when not all can grow; larger first. */
} balloon_wish;

/** A policy. Constant; a new one is a table and a function or two in an embedder's own file. */
typedef struct balloon_policy {
    size_t size;            /**< sizeof(balloon_policy). */
    const char *name;       /**< Short, for people. */
    size_t state_bytes;     /**< Memory for the whole pool, at most 4096. */
    size_t guest_bytes;     /**< Memory for each guest, at most 1024. */
    uint32_t scratch_words; /**< 64-bit words of scratch for each guest, at most 128. */
    /** Begin: state is zero, and aligned for anything. knobs is what the pool's config has, of the
     * type that this policy documents, or NULL for defaults. Returns whether it is acceptable.
     * NULL: nothing to do, and no knobs. */
    bool (*init)(void *state, const void *knobs);
    /** Decide: one wish for each guest of the view, in the same order. */
    void (*decide)(void *state, const balloon_view *view, balloon_wish *wishes);
} balloon_policy;

/** @name Built-in policies
 *
 * What they have in common: a guest without driver, pinned, booting or inactive is wished what it
 * has, and what it has is not given to others. Memory to divide is the pool less its reserve. A
 * policy of which the source decides every so often keeps that beat by the time in the view, and
 * wishes nothing new in between.
 *
 * Knobs are structs that begin with their size; 0 in any other field means its default, and
 * BALLOON_KNOB_OFF in one of those that say so means none.
 * @{ */

#define BALLOON_KNOB_OFF UINT32_MAX /**< In a knob: nothing of that, since 0 is the default. */

/** "fixed": no ballooning. Reads the limits only; every guest keeps the size it has, moved into its
 * limits. A baseline, and a place to park a pool. Weak: does nothing for anybody. */
extern BALLOON_API const balloon_policy balloon_policy_fixed;

/** "proportional": all guests at the same fraction of their range from min to max, as XAPI's
 * squeezed does it. Reads sizes, limits and the host's free memory, of which it leaves the reserve
 * and 9 MiB. Begins every 10 s, or when limits or the guests change; lets guests shrink first, and
 * grow only when nobody has to shrink any more; ends when all are where they should be. Weak: does
 * not see what guests need, and gives all memory away. */
extern BALLOON_API const balloon_policy balloon_policy_proportional;

/** Knobs of balloon_policy_shares. */
typedef struct balloon_shares_knobs {
    size_t size;  /**< sizeof(balloon_shares_knobs). */
    uint32_t tax; /**< How much of an idle page is taken, in 256ths: up to 240, the higher the more
                       the working set counts, OFF for shares alone; 0 means 192. */
} balloon_shares_knobs;

/** "shares": memory by shares, with a tax on what is idle, as VMware ESX does it (Waldspurger, OSDI
 * 2002). Reads shares and active; without active it takes size - available, without that it takes
 * all for active. The working set is the largest of a slow average, a fast one, and a fast one that
 * counts the running period of 30 s already. Divides so that all have the same price for a page:
 * shares / (active + idle / (1 - tax)). While the host has enough it takes nothing from anybody.
 * Weak: what a guest touches says little about what a miss costs it. */
extern BALLOON_API const balloon_policy balloon_policy_shares;

/** "mom": used memory and 20 % more, as oVirt's Memory Overcommitment Manager does it. Reads free
 * of guests and host every 5 s, decides every 10 s on averages of ten. With less than 20 % of the
 * host free all shrink by up to 5 %, else all grow by 5 % or to what they need. Weak: no shares,
 * file cache counts as used, and all grow at once. */
extern BALLOON_API const balloon_policy balloon_policy_mom;

/** Knobs of balloon_policy_proxmox. */
typedef struct balloon_proxmox_knobs {
    size_t size;      /**< sizeof(balloon_proxmox_knobs). */
    uint32_t percent; /**< How much of the pool to use: 1 to 100; 0 means 80. */
} balloon_proxmox_knobs;

/** "proxmox": the host at 80 % used, as Proxmox VE's automatic ballooning does it. Reads free,
 * shares and the host's used memory every 10 s. Guests with more than a quarter of their minimum
 * free give first, others get first, towards min + shares of what is above all minimums, by at most
 * 100 MiB. Weak: slow, and leaves a fifth of the memory unused. */
extern BALLOON_API const balloon_policy balloon_policy_proxmox;

/** "balance": as much above critical in the guest as in the host, as ChromeOS did it for its
 * virtual machines. Reads free and caches of guests (or available, when one of them is missing) and
 * the host's free memory, with the reserve as its critical level, every second; moves each guest
 * half of the way, as that moves the host towards it. Weak: made for one guest; several share what
 * is left in the order of their numbers. */
extern BALLOON_API const balloon_policy balloon_policy_balance;

/** Knobs of balloon_policy_stall. */
typedef struct balloon_stall_knobs {
    size_t size;     /**< sizeof(balloon_stall_knobs). */
    uint32_t budget; /**< Microseconds of waiting that are fine in an interval: up to 10^9; 0 means
                          10000. */
    uint32_t interval; /**< Seconds from one probe to the next: up to 3600; 0 means 6. */
} balloon_stall_knobs;

/** "stall": shrink a guest until it just begins to wait for memory, as Meta's Senpai does it. Reads
 * stall. Waiting beyond the budget grows a guest at once, by up to its own size; without it, it
 * shrinks every 6 s by up to 1 %. The source stops at 100 MiB; here the guest's minimum is where
 * that ends. Weak: one guest at a time, no notion of a pool; slow to give. */
extern BALLOON_API const balloon_policy balloon_policy_stall;

/** Knobs of balloon_policy_buffer. */
typedef struct balloon_buffer_knobs {
    size_t size;     /**< sizeof(balloon_buffer_knobs). */
    uint32_t buffer; /**< Memory beyond demand, in percent of it: 5 to 2000; 0 means 20. */
} balloon_buffer_knobs;

/** "buffer": what is committed and a fifth more, as Hyper-V's Dynamic Memory does it. Reads
 * committed, or size - available without it, and shares. When that does not fit, buffers shrink
 * together, and then demand is met by shares. In steps of 2 MiB. How fast Hyper-V moves is not
 * published; here it is at once. Weak: promised memory is often never touched, and file cache
 * counts for nothing. */
extern BALLOON_API const balloon_policy balloon_policy_buffer;

/** "curves": fewest misses, weighted by shares, by miss-ratio curves (Zhao and Wang, VEE 2009).
 * Fills the steepest pieces of the lower convex hulls first; when the last one fits only in part,
 * tries to do without it. So the misses exceed the best possible by no more than that one guest
 * lies above its hull. Guests without a curve keep what they have. Weak: curves cost much to
 * measure and are of the past. */
extern BALLOON_API const balloon_policy balloon_policy_curves;

/** "greedy": what one writes by hand in an afternoon, to compare with. Reads available, free and
 * swap; acts on each decision. A guest asks when, since the statistics before, more than 256 KiB
 * went in or out of its swap, or when less than 24 MiB is available, unless a 16th of its size is
 * free: for 64 MiB more than it has, and for what is out on its swap. It asks for 3 s after the
 * last statistics that said so. What the pool has not, less half of the reserve, is taken at once
 * from the guest that has most available and does not ask: all but 32 MiB of that, then the next.
 * Weak: no shares and no memory of what was; takes the working set of programs that rest, trusts
 * numbers that are old, and gives a liar all there is. */
extern BALLOON_API const balloon_policy balloon_policy_greedy;

/** Knobs of balloon_policy_waterline. */
typedef struct balloon_waterline_knobs {
    size_t size;         /**< sizeof(balloon_waterline_knobs). */
    uint32_t tax;        /**< As in balloon_shares_knobs: up to 240, OFF for none; 0 means 192. */
    uint32_t boost;      /**< What each unit of waiting adds to a guest's shares, in 256ths; OFF for
                              none; 0 means 64. */
    uint32_t boost_cap;  /**< Most units that count; boost * boost_cap may be 12000; 0 means 20. */
    uint32_t threshold;  /**< A unit: waiting that is fine, in millionths of the time, up to 10^6; 0
                              means 1000. */
    uint32_t dead_band;  /**< Changes of less than this part of the size, and of an eighth of the
                              reserve, and of less than 1 MiB, are not worth it: 32 for a 32nd,
                              which 0 means; OFF for none. */
    uint32_t shrink;     /**< Part of the way to go in one step down: 24 for a 24th, which 0
                              means. */
    balloon_time_t hold; /**< No shrinking for that long after growing under pressure, and at first;
                              0 means 10 s. Doubles, up to 8 times, when it was too short. */
    bool proactive;      /**< When all could have their maximum: give what they need and a quarter
                              more, instead of the maximum. */
    bool ignore_curves;  /**< Do not use miss-ratio curves when all guests have one. */
} balloon_waterline_knobs;

/** "waterline": the default, and ours. Shares with a tax on idle memory, where demand is measured
 * (active, or else size - available, swapped), probed (it falls slowly while nobody waits) and
 * raised by waiting, and where waiting raises the shares for a while. Reads active, available,
 * free, swapped, growth, stall, shares and curves; uses the curves alone when all guests have one.
 *
 * Nobody shrinks for nothing: all that is taken is what others want and the pool has not. Growing
 * is at once. What is free is given at once, too, whenever new statistics show that somebody grows
 * or waits with nothing left; all else once a second: of cache a quarter in a second while somebody
 * is in such need, else a 24th of the way. Not within the dead-band, after pressure, blindly, or by
 * more than the guest has to spare. Where the host measures active, it is known before anybody
 * waits, and what is free goes by eighths. A guest that waits gives only to one that waits 24 times
 * as much for each page, and a 64th of its size at a time. One that waits with memory free, beyond
 * what Linux keeps free by itself, does not want more: what was dropped has to come back first.
 * Without active, memory can be in use and cold: while stall is measured and low, demand falls
 * below use as well, by up to a 512th a second, and a 128th of the size may go in a step even when
 * less is available. Weak: a guest that makes itself wait gets up to six times its shares while the
 * others do not wait. */
extern BALLOON_API const balloon_policy balloon_policy_waterline;

/** All built-in policies, the default first.
 * @param[out] count how many; may be NULL.
 * @return a static table. */
BALLOON_API const balloon_policy *const *balloon_policies(size_t *count);

/** A built-in policy by its name.
 * @param name for example "shares"; may be NULL.
 * @return the policy, or NULL when there is none of that name. */
BALLOON_API const balloon_policy *balloon_policy_find(const char *name);
/** @} */

/** @} */

BALLOON_END_DECLS

#endif
