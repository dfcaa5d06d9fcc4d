/** @file
 * @brief Many guests on one host: statistics in, safe targets out.
 */
#ifndef BALLOON_POOL_H
#define BALLOON_POOL_H

#include <balloon/policy.h>
#include <balloon/stats.h>
#include <balloon/types.h>

/** @defgroup balloon_pool Pool
 * @brief The ledger of a host's memory, and the limits that no policy can pass.
 *
 * The embedder tells how large its guests are (what the device counted, not what they claim) and
 * what they say of themselves; a policy wishes; the pool asks for no more than is safe. Afterwards:
 *
 * - every target is within its guest's minimum and maximum;
 * - the sum over all guests of the larger of size and target never grows past the budget (the pool
 *   less half of its reserve, and less what guests have given without that the host got it back),
 *   and where it was above already it does not grow at all. So memory is promised only once it has
 *   come back, whatever guests say or do. That they do not touch again what came back, no balloon
 *   can make sure: see balloon_pool_set_owed();
 * - a promise that is taken back counts until the guest must have heard of it: until a size has
 *   come that is newer than the change;
 * - a guest that is silent is not made smaller while the host has enough memory; one without
 *   driver, or pinned, is not changed at all, and one that boots can only grow;
 * - a guest that is on its way to a target is not turned round because it has not arrived: wishes
 *   are compared with targets, not with sizes;
 * - a guest that does not follow is asked for nothing more for a while, and others are not promised
 *   what it has; nor is one of which nothing that it gives comes back: it gets that again;
 * - when memory is short and the policy does not make room, the pool takes it: first promises, then
 *   what guests do not need, then all down to a floor, least important guests first, equals by what
 *   they have to spare; and gives it back when there is enough again;
 * - work is bounded: N log N for N guests. Nothing is allocated, equal inputs give equal plans.
 * @{ */

BALLOON_BEGIN_DECLS

/** All guests of a host; opaque, and living in memory of the caller. One caller at a time. */
typedef struct balloon_pool balloon_pool;

/** How a pool is set up. Set size, max_guests, pages and policy; 0 elsewhere means the default. */
typedef struct balloon_pool_config {
    size_t size;                   /**< sizeof(balloon_pool_config). */
    uint32_t max_guests;           /**< Most guests at any time, up to 100000. */
    uint64_t pages;                /**< Memory for all guests, up to 2^40. */
    uint64_t reserve;              /**< Of it, what should stay free; 0 means a 16th. Must be less
                                        than pages. With less than 64, 32 and 16 % of it free the
                                        host is in state SOFT, HARD and LOW. */
    const balloon_policy *policy;  /**< Who decides. Kept. */
    const void *knobs;             /**< For its init function; not kept. */
    balloon_time_t stale_after;    /**< Statistics older than this count as none; 0 means 15 s. */
    balloon_time_t boot_grace;     /**< Leave a new guest alone for this long after its driver has
                                        come; 0 means 10 s, 1 none. */
    balloon_time_t inactive_after; /**< A guest that should move and has not for this long is
                                        inactive; 0 means 5 s. */
    balloon_time_t retry_after;    /**< An inactive guest is tried again after this long, then twice
                                        that each time up to 16 times as long; 0 means 30 s. */
} balloon_pool_config;

/** A guest. Set size, min, max and current; pages unless noted. */
typedef struct balloon_pool_guest {
    size_t size;       /**< sizeof(balloon_pool_guest). */
    uint64_t min;      /**< Never ask it to be smaller. */
    uint64_t max;      /**< Never ask it to be larger: its RAM. */
    uint64_t current;  /**< How large it is now. */
    uint32_t shares;   /**< 1 to 10000; 0 means 1000. */
    uint32_t priority; /**< Higher is spared longer in an emergency. */
} balloon_pool_guest;

/** What the embedder says about a guest beside its size; see balloon_pool_set_flags(). The numbers
 * are those of @ref balloon_guest_flag. */
#define BALLOON_POOL_FLAGS ((uint32_t)BALLOON_GUEST_NO_DRIVER | (uint32_t)BALLOON_GUEST_PINNED)

/** A change of a guest's target. */
typedef struct balloon_change {
    uint64_t id;        /**< Which guest. */
    uint64_t target;    /**< How large it should be, in pages. */
    uint32_t why;       /**< @ref balloon_why. */
    uint32_t emergency; /**< Nonzero: at once; the host is about to run out. */
} balloon_change;

/** How a decision came out. */
typedef enum balloon_verdict {
    BALLOON_VERDICT_OK = 0,       /**< Everybody has, or will have, what the policy wishes. */
    BALLOON_VERDICT_DEGRADED = 1, /**< Some wait for memory that others have yet to give, or had to
                                       give more than the policy wished. */
    BALLOON_VERDICT_SHORT = 2 /**< Even all that can be taken is not enough: shortfall pages must
                                   be swapped, migrated or killed by the embedder. */
} balloon_verdict;

/** Where a pool stands. Pages, except as noted. */
typedef struct balloon_pool_status {
    uint64_t pages;           /**< Memory for all guests. */
    uint64_t reserve;         /**< Of it, what should stay free. */
    uint64_t reserved;        /**< Of it, what is set aside for guests to come. */
    uint64_t owed;            /**< Of it, what guests have given and did not come back. */
    uint64_t budget;          /**< What may be promised: pages - reserved - owed - reserve / 2. */
    uint64_t used;            /**< Sum of the guests' sizes. */
    uint64_t committed;       /**< Sum of what guests have or may take: the larger of size and
                                   target, or an older target that they may still act on; of one of
                                   which nothing comes back, no more than its RAM less what it owes.
                                 */
    uint64_t shortfall;       /**< With BALLOON_VERDICT_SHORT, what is missing. */
    uint32_t guests;          /**< How many. */
    balloon_host_state state; /**< How scarce memory is. */
    balloon_verdict verdict;  /**< Of the last decision. */
} balloon_pool_status;

/** Where a guest stands. */
typedef struct balloon_pool_guest_status {
    balloon_pool_guest config; /**< Its limits; current is its size. */
    uint64_t target;           /**< What it was last asked for. */
    uint32_t flags;            /**< @ref balloon_guest_flag, at the last decision. */
    uint32_t why;              /**< @ref balloon_why of the last decision. */
    uint32_t stall;            /**< Share of time waiting for memory, in millionths. */
    uint32_t flagged;          /**< Nonzero: it stood still though it should have moved for 20 s
                                    of the last minute: less than 1 MiB in more than a second. */
    uint64_t owed;             /**< Pages it has given that did not come back. */
} balloon_pool_guest_status;

/** What a pool has counted. */
typedef struct balloon_pool_counters {
    uint64_t decisions;      /**< Calls of balloon_pool_decide(). */
    uint64_t changes;        /**< Changes handed out. */
    uint64_t clamped_limit;  /**< Wishes outside of minimum and maximum. */
    uint64_t clamped_budget; /**< Wishes to grow that had to wait, wholly or in part. */
    uint64_t clamped_guard;  /**< Wishes to change a guest that may not be: without driver, pinned,
                                  inactive; or to shrink it: booting, silent. */
    uint64_t samples;        /**< Statistics taken. */
    uint64_t samples_odd;    /**< Statistics in which something could not be true: more than the
                                  guest's RAM, or a time to come. */
    uint64_t reboots;        /**< Times that counters of a guest went back. */
    uint64_t emergencies;    /**< Decisions in state LOW, or in which the pool had to make room. */
    uint64_t inactive;       /**< Times that a guest became inactive. */
} balloon_pool_counters;

/** @name Setting up
 * @{ */

/** What is wrong with a config, for the eyes of whoever wrote it.
 * @return NULL when nothing is; else a static text of the name of the first wrong field, a colon
 * and the reason. By the same rules as the layout. */
BALLOON_API const char *balloon_pool_config_check(const balloon_pool_config *config);

/** Memory a pool needs.
 * @return OK, or ERR_INVALID for a config outside its limits. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_layout(const balloon_pool_config *config,
                                                               balloon_layout *layout);

/** Make a pool in the caller's memory. There is nothing to undo.
 * @return OK; ERR_INVALID for a bad config, knobs that the policy refuses, or bad alignment;
 *         ERR_NOSPACE when bytes is too small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_init(void *memory, size_t bytes,
                                                             const balloon_pool_config *config,
                                                             balloon_pool **pool);

/** The host has more or less memory for guests now. Takes effect with the next decision.
 * @param pool    a pool.
 * @param pages   memory for all guests.
 * @param reserve of it, what should stay free; 0 means a 16th.
 * @return OK; ERR_INVALID for 0, more than 2^40, or a reserve that is not less. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_resize(balloon_pool *pool, uint64_t pages,
                                                               uint64_t reserve);
/** @} */

/** @name Guests
 * @{ */

/** A guest comes. Its target is its current size, which also ends a reservation of that much; it
 * is left alone for config.boot_grace. Takes time log N.
 * @param      pool  a pool.
 * @param      guest its limits.
 * @param      now   the time.
 * @param[out] id    its number, not used again before 2^32 others.
 * @return OK; ERR_INVALID unless min <= current <= max, 1 <= max <= 2^40 and shares <= 10000;
 *         ERR_NOSPACE when there are max_guests, when the minimums of all would not fit into the
 *         pool less its reserve, or when its current size does not fit into the budget, reserved
 *         memory included: make room first, by balloon_pool_reserve(). */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_add(balloon_pool *pool,
                                                            const balloon_pool_guest *guest,
                                                            balloon_time_t now, uint64_t *id);

/** A guest that is there already, as a manager finds it when it starts: like balloon_pool_add(),
 * but it may have any size, has no grace, and is not refused for want of room. What is too much is
 * asked back by the next decisions.
 * @return OK; ERR_INVALID as balloon_pool_add(), but for the size; ERR_NOSPACE when there are
 *         max_guests, when the minimums of all would not fit into the pool less its reserve, or
 * when it is below its minimum and there is no room to grow to it: let that be less. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_adopt(balloon_pool *pool,
                                                              const balloon_pool_guest *guest,
                                                              balloon_time_t now, uint64_t *id);

/** A guest is gone, and its memory back. Moves up to 12 bytes for each other guest.
 * @return OK; ERR_INVALID when there is no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_remove(balloon_pool *pool, uint64_t id);

/** Change a guest's limits, shares and priority; its size is not touched, current is ignored. A
 * target that is outside now moves to the limit at once; the next decision tells.
 * @return OK; ERR_INVALID for no such guest or wrong limits, as for balloon_pool_add(); ERR_NOSPACE
 *         when the minimums would not fit, or when a target has to rise to the new minimum and
 * there is no room in the budget now. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_set_guest(balloon_pool *pool, uint64_t id,
                                                                  const balloon_pool_guest *guest);

/** Set aside memory for guests that are about to come; 0 ends it. It counts as memory that the pool
 * does not have, so decisions make room for it: it is there once used <= budget.
 * @return OK; ERR_NOSPACE when it and all minimums do not fit into the pool less its reserve. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_reserve(balloon_pool *pool, uint64_t pages);
/** @} */

/** @name Inputs
 * @{ */

/** How large a guest is: its RAM less what the device holds of it.
 * @param pool  a pool.
 * @param id    a guest.
 * @param pages its size. Any is accepted: a guest may exceed its maximum by plugging, or its target
 *              by taking pages back. What is beyond 2^40 counts as that.
 * @param now   when that was so. A size from after a decision shows that the guest acts on what was
 *              taken of it by balloon_pool_next().
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_set_size(balloon_pool *pool, uint64_t id,
                                                                 uint64_t pages,
                                                                 balloon_time_t now);

/** What a guest has given and the host has not got back: pages of its balloon that wait to be
 * discarded, cannot be, or fill no whole page of the host. As long as it is owed, the pool does as
 * if that memory did not exist: it is promised to nobody, and room is made for it. Whether the
 * guest follows is judged by its size alone. When most of what it gave stays owed for
 * config.inactive_after, it is asked for no more and can have that back, which costs nothing unless
 * more than the budget is promised already; after
 * config.retry_after, and later more rarely, it is tried again.
 *
 * A guest may also touch pages of its balloon that had come back, and nothing tells the host: limit
 * it by a memory cgroup of its size and some more, and count as owed what an audit finds resident,
 * such as balloon_os_resident() in balloon/os.h.
 * @param pool  a pool.
 * @param id    a guest.
 * @param pages how much; 0 at first. What is beyond 2^40 counts as that.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_set_owed(balloon_pool *pool, uint64_t id,
                                                                 uint64_t pages);

/** Statistics of a guest. Nothing in them is trusted: what cannot be true is dropped and counted.
 * The same statistics may be given again, and older ones; they are ignored.
 * @param pool   a pool.
 * @param id     a guest.
 * @param sample values, and when they were taken.
 * @param now    the time.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_sample(balloon_pool *pool, uint64_t id,
                                                               const balloon_sample *sample,
                                                               balloon_time_t now);

/** Pages that a guest has used lately, as the host measured it (accessed bits, sampling). It counts
 * for four times config.stale_after.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_set_active(balloon_pool *pool, uint64_t id,
                                                                   uint64_t pages,
                                                                   balloon_time_t now);

/** A guest's miss-ratio curve, as measured. Copied; it counts until the next one.
 * @return OK; ERR_INVALID for no such guest, more than BALLOON_CURVE_POINTS_MAX points, or points
 *         that do not rise in pages or do rise in misses. No points: nothing is known any more. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_set_curve(balloon_pool *pool, uint64_t id,
                                                                  const balloon_curve *curve);

/** BALLOON_GUEST_NO_DRIVER or BALLOON_GUEST_PINNED, or both or none. A driver that comes starts the
 * grace of config.boot_grace, but not again before six times that has passed. While there is none,
 * the target follows the size, so that the next driver finds nothing to do; while memory is pinned,
 * the guest is not asked to shrink further.
 * @return OK; ERR_INVALID for no such guest or other flags. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_pool_set_flags(balloon_pool *pool, uint64_t id,
                                                                  uint32_t flags,
                                                                  balloon_time_t now);
/** @} */

/** @name Decisions
 * @{ */

/** Decide: when balloon_pool_deadline() says, or at any other time; a decision more or less does
 * not change what statistics mean. Before, give the sizes; afterwards, take the changes.
 * @return how the decision came out. */
BALLOON_API balloon_verdict balloon_pool_decide(balloon_pool *pool, balloon_time_t now);

/** The next change of the last decision, shrinking guests first. What is not taken comes again with
 * the next decision, as far as it still holds.
 * @param      pool   a pool.
 * @param[out] change filled in; untouched when there is none left.
 * @return whether there is one. */
BALLOON_API bool balloon_pool_next(balloon_pool *pool, balloon_change *change);
/** @} */

/** @name The beat
 *
 * A loop sleeps until the deadline, asks the guests that are wanted for their size or statistics,
 * and decides:
 *
 *     sleep until balloon_pool_deadline(pool), or until something comes from a guest;
 *     for each guest: ask for what balloon_pool_wants(pool, id, now) says, pass on what came;
 *     balloon_pool_decide(pool, now);
 * @{ */

/** Bits of balloon_pool_wants(). */
typedef enum balloon_pool_want {
    BALLOON_POOL_WANTS_SAMPLE = 1 << 0, /**< New statistics would change a decision. */
    BALLOON_POOL_WANTS_SIZE = 1 << 1    /**< Its size would. */
} balloon_pool_want;

/** When the next decision is due: a second after the last one when all is calm, a tenth of a second
 * while a guest waits for memory, memory is on its way or the host is short, and at once (but not
 * within 20 ms) when something has come in since that a guest waits for or that shows that one
 * waits: a size, statistics, a guest that went.
 * @return a time, which may have passed; 0 before the first decision. */
BALLOON_API balloon_time_t balloon_pool_deadline(const balloon_pool *pool);

/** What of a guest is worth asking for before a decision at that time: statistics and size once a
 * second, and ten times a second of a guest that waits for memory or is changing. Asking for more
 * is no fault, only wasted.
 * @param pool a pool.
 * @param id   a guest.
 * @param now  the time of the decision.
 * @return @ref balloon_pool_want; 0 for no such guest. */
BALLOON_API uint32_t balloon_pool_wants(const balloon_pool *pool, uint64_t id, balloon_time_t now);
/** @} */

/** @name Questions
 * @{ */

/** Where the pool stands. */
BALLOON_API void balloon_pool_status_get(const balloon_pool *pool, balloon_pool_status *status);

/** Where a guest stands.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_pool_guest_get(const balloon_pool *pool, uint64_t id, balloon_pool_guest_status *status);

/** What the pool has counted. */
BALLOON_API void balloon_pool_counters_get(const balloon_pool *pool,
                                           balloon_pool_counters *counters);

/** A few words for a @ref balloon_why.
 * @return a static string, never NULL. */
BALLOON_API const char *balloon_why_text(uint32_t why);

/** Check every rule inside the pool; for tests and fuzzers.
 * @param      pool a pool.
 * @param[out] why  the rule that is broken, a static string; may be NULL.
 * @return whether all hold. */
BALLOON_API bool balloon_pool_check(const balloon_pool *pool, const char **why);
/** @} */

BALLOON_END_DECLS

/** @} */

#endif
