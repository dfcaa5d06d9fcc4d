/** @file
 * @brief A simulator: guests, their host and a pool with its policy, in virtual time.
 */
#ifndef BALLOON_SIM_H
#define BALLOON_SIM_H

#include <balloon/policy.h>
#include <balloon/pool.h>
#include <balloon/stats.h>
#include <balloon/types.h>

/** @defgroup balloon_sim Simulator
 * @brief What would this policy do to these guests?
 *
 * A *scenario* is plain data: guests, what they need over time, and what happens to them. A *sim*
 * plays it against a pool (pool.h): time and again it tells the pool how large guests are, lets it
 * decide and has the guests follow, as fast and as faithfully as the scenario says. It has no
 * clock, no floating point and no memory but what it is given; one config gives the same numbers,
 * to the bit, on every machine. So it fits into unit tests: write a scenario, run it, compare
 * results.
 *
 * **Time** is in milliseconds here, the smallest step there is; pools get nanoseconds as always.
 *
 * **A guest's memory.** A phase has a working set and a miss-ratio curve over the guest's size. The
 * working set is partly file, which is dropped when memory is short and read again, and partly
 * anonymous, which is swapped. Beside it there may be *cold* memory, allocated and never used
 * again, and *idle cache*, which fills what is free as time goes by. When the guest shrinks, free
 * pages go first, then idle cache, then cold memory to swap, then the working set, file and
 * anonymous in proportion. When it grows, the working set comes back by misses, a few pages each;
 * until then the guest misses as if it was still small. Available memory is what Linux would say:
 * free, and the cache, of the working set too. So a policy cannot see from it which cache matters.
 *
 * **Growth.** A working set that grows page by page (grow) does so as fast as stalls let it: while
 * each new page has to be written to swap first, eight at a time take as long as a miss. Cost
 * counts a set that grows as if it was there already, so the truth does not depend on the policy;
 * faults and stalls are of what has been touched so far. What ends frees its memory and its swap:
 * nothing is read, and counters of swapping stay.
 *
 * **Misses.** Cost counts what the curve says at the effective size, also when the guest waits so
 * much that it could not miss as often: cost is never less than the curve at the real size, so the
 * offline optimum stays a lower bound. With x the time all these misses would take, the guest
 * stalls for x / (1 + x) of the time; faults and swapping in its statistics are as many as fit into
 * the rest. A guest that waits for admission misses as it would at its minimum. Guests are admitted
 * in order of arrival.
 *
 * **Other simplifications.** Sizes change in steps (step_ms), and everything is constant between
 * two events, where it is integrated exactly. A new phase costs nothing by itself: first touches
 * cost the same at any size. OOM kills are counted, every ten seconds as long as the need lasts,
 * and change nothing: what was killed is started again. After a reboot a guest is as large as its
 * RAM at once. When the guests exceed the host, that is counted and slows nobody.
 * @{ */

BALLOON_BEGIN_DECLS

/** @name Scenarios
 * Constant data. All pointers stay the caller's, and must last as long as the sim.
 * @{ */

#define BALLOON_SIM_NEVER UINT64_MAX          /**< A time that does not come. */
#define BALLOON_SIM_MIB   ((uint64_t)256)     /**< Pages in a MiB. */
#define BALLOON_SIM_GIB   ((uint64_t)1 << 18) /**< Pages in a GiB. */
#define BALLOON_SIM_ONE   ((uint64_t)65536)   /**< 1 on both axes of a scenario's curves. */

/** What a phase is beside its numbers. */
typedef enum balloon_sim_phase_flag {
    /** Data stream through once, as in a backup: misses count, but are no stall, since more memory
     * would not help. */
    BALLOON_SIM_STREAM = 1 << 0
} balloon_sim_phase_flag;

/** What a guest needs from some time on. */
typedef struct balloon_sim_phase {
    uint64_t at_ms;  /**< Begins then; 0 for a guest's first, and rising. */
    uint64_t pages;  /**< Working set: the size at which the curve ends. At least 1, up to 2^33. */
    uint64_t cold;   /**< Pages allocated beside it and never used. */
    uint64_t misses; /**< Misses in a thousand seconds that BALLOON_SIM_ONE on the curve stands for;
                          up to 10^10. */
    uint32_t curve;  /**< Which of the scenario's curves. */
    uint32_t file;   /**< How much of the working set is file, in thousandths. */
    uint32_t flags;  /**< @ref balloon_sim_phase_flag. */
    uint32_t grow;   /**< Pages a second by which the working set gets to pages from a smaller one
                          before, when nothing holds it up; 0 means at once. */
} balloon_sim_phase;

/** How a guest follows its target. */
typedef enum balloon_sim_manner {
    BALLOON_SIM_OBEDIENT = 0, /**< As fast as it can. */
    BALLOON_SIM_STUCK = 1,    /**< Never moves. */
    BALLOON_SIM_SLOW = 2,     /**< At 15 MiB/s, either way. */
    BALLOON_SIM_HALF = 3,     /**< Goes half of the way when asked to shrink. */
    BALLOON_SIM_THIEF = 4 /**< Takes back, unasked, what its working set and cold memory need. */
} balloon_sim_manner;

/** How a guest's statistics lie. */
typedef enum balloon_sim_forgery {
    BALLOON_SIM_HONEST = 0,       /**< They do not. */
    BALLOON_SIM_FORGES_FREE = 1,  /**< Free and available are four times its RAM. */
    BALLOON_SIM_FORGES_STALL = 2, /**< It stalls all of the time, with many faults. */
    BALLOON_SIM_FORGES_NEED = 3,  /**< Nothing is free or available. */
    BALLOON_SIM_SILENT = 4,       /**< Nothing is ever sent. */
    BALLOON_SIM_FROZEN = 5,       /**< The first values again and again. */
    BALLOON_SIM_RESETS = 6,       /**< Counters start from 0 each minute. */
    BALLOON_SIM_NOISE = 7         /**< Any 64 bits in every value. */
} balloon_sim_forgery;

/* Sets of statistics that guests send: bit i for balloon_stat i. */
#define BALLOON_SIM_SENDS_LINUX                                                                    \
    ((uint32_t)0x4ff) /**< Linux's virtio driver: all up to caches,                                \
                           and OOM kills. */
#define BALLOON_SIM_SENDS_VIRTIO                                                                   \
    ((uint32_t)0xffff)                              /**< Linux's virtio driver from 6.12 on: also  \
                                                         who waited for memory, and reclaim. */
#define BALLOON_SIM_SENDS_WINDOWS ((uint32_t)0x3ff) /**< Tags 0 to 9; no OOM kills. */
#define BALLOON_SIM_SENDS_PSI                                                                      \
    ((uint32_t)0x204ff)                              /**< As Linux, and the time that some task    \
                                                          stalled. */
#define BALLOON_SIM_SENDS_HYPERV ((uint32_t)0x10050) /**< Free, available and committed memory. */
#define BALLOON_SIM_SENDS_ALL    ((uint32_t)0x304ff) /**< PSI, and committed memory. */
#define BALLOON_SIM_SENDS_NONE   ((uint32_t)1 << 31) /**< None; 0 means PSI. */

/** What is special about a guest. */
typedef enum balloon_sim_guest_flag {
    BALLOON_SIM_DEFLATES_ON_OOM = 1 << 0, /**< Takes pages back when it would have to kill. */
    BALLOON_SIM_HOST_ACTIVE = 1 << 1,     /**< The host measures its working set every 10 s: what it
                                               has of it, with the noise of its statistics. */
    BALLOON_SIM_HOST_CURVE = 1 << 2,      /**< The host measures its miss-ratio curve: it knows the
                                               true one 30 s after a change. */
    BALLOON_SIM_NO_DRIVER = 1 << 3 /**< It has no balloon driver until an event brings one. */
} balloon_sim_guest_flag;

/** A guest. Pages, except as noted. Set max, phases and phase_count; 0 elsewhere is the default. */
typedef struct balloon_sim_guest {
    uint64_t min;      /**< The pool never asks it to be smaller. */
    uint64_t max;      /**< Its RAM, up to 2^33 (32 TiB). */
    uint64_t start;    /**< Size at first; 0 means max. */
    uint64_t floor;    /**< It never goes below, whatever it is asked; at most max. */
    uint64_t swap;     /**< Room on its swap. */
    uint64_t cache;    /**< Pages a second that idle cache grows by. */
    uint32_t shares;   /**< Its claim: 1 to 10000; 0 means 1000. */
    uint32_t priority; /**< As in balloon_pool_guest. */
    uint32_t weight;   /**< What a miss of it costs, in thousandths: up to 10000; 0 means shares. */
    uint32_t miss_us;  /**< Time that a miss takes, up to 10^6 us; 0 means 100. */
    uint32_t refill;   /**< Pages that a miss brings back; 0 means all at once, as if the curve was
                            all there is. 8 is what swap reads ahead. */
    uint32_t inflate;  /**< Pages a second that it can give; 0 means 25600 (100 MiB/s). A quarter of
                            it when less than a 32nd of its size is free or idle cache. */
    uint32_t deflate;  /**< Pages a second that it can take; 0 means 204800 (800 MiB/s). */
    uint32_t sends;    /**< Statistics: BALLOON_SIM_SENDS_*, or any set of bits. */
    uint32_t period_ms; /**< Time between two requests for statistics; 0 means 1000. A new request
                             waits for the last answer. */
    uint32_t age_ms;    /**< Time from measuring statistics to their arrival, at least, */
    uint32_t jitter_ms; /**< and by how much it may be more, evenly. */
    uint32_t noise;     /**< Free, available, caches and committed memory are off by up to so many
                             thousandths, evenly. */
    uint32_t loss;      /**< So many thousandths of its statistics are lost. */
    uint32_t flags;     /**< @ref balloon_sim_guest_flag. */
    uint32_t manner;    /**< @ref balloon_sim_manner. */
    uint32_t forgery;   /**< @ref balloon_sim_forgery. */
    uint64_t arrive_ms; /**< When it comes. */
    uint64_t depart_ms; /**< When it goes; 0 means never. */
    uint64_t boot_ms;   /**< Its driver starts so long after it came, or was rebooted. */
    uint64_t repeat_ms; /**< Phases start over after so long; 0 means never. More than the last
                             at_ms. */
    const balloon_sim_phase *phases; /**< What it needs, when. */
    uint32_t phase_count;            /**< How many, at least 1. */
} balloon_sim_guest;

/** What happens in a scenario. */
typedef enum balloon_sim_event_kind {
    BALLOON_SIM_REBOOT = 0, /**< The balloon is gone, counters are 0, memory is empty. */
    BALLOON_SIM_DRIVER = 1, /**< value 1: the driver comes; 0: it goes, the balloon stays. */
    BALLOON_SIM_PIN = 2,    /**< value 1: a migration pins the guest; 0: it ends. */
    BALLOON_SIM_POOL = 3,   /**< The host has value pages for guests now; its reserve changes in
                                 proportion. */
    BALLOON_SIM_MANNER = 4, /**< value is its @ref balloon_sim_manner now. */
    BALLOON_SIM_FORGE = 5   /**< value is its @ref balloon_sim_forgery now. */
} balloon_sim_event_kind;

/** An event. */
typedef struct balloon_sim_event {
    uint64_t at_ms; /**< When; rising. */
    uint32_t kind;  /**< @ref balloon_sim_event_kind. */
    uint32_t guest; /**< Which guest, by its place in the scenario. */
    uint64_t value; /**< See the kinds. */
} balloon_sim_event;

/** A scenario. Guests that are there at the start need start sizes that fit into the budget. */
typedef struct balloon_scenario {
    const char *name;                /**< Short, for people. */
    const char *text;                /**< A sentence about it. */
    uint64_t pages;                  /**< Memory of the host for guests. */
    uint64_t reserve;                /**< Of it, what should stay free; 0 means a 16th. */
    uint64_t duration_ms;            /**< How long it lasts, up to 10^9. */
    uint64_t step_ms;                /**< When the change happens from which convergence and
                                          overshoot are measured; 0 means that they are not. */
    const balloon_curve *curves;     /**< Shapes: pages up to BALLOON_SIM_ONE, a working set, and
                                          misses likewise. 1 to BALLOON_CURVE_POINTS_MAX points. */
    uint32_t curve_count;            /**< How many. */
    uint32_t guest_count;            /**< How many, up to 100000. */
    const balloon_sim_guest *guests; /**< The guests. */
    const balloon_sim_event *events; /**< What happens, by rising time. */
    uint32_t event_count;            /**< How many. */
} balloon_scenario;

/** Demand over time, as in a recorded trace. */
typedef struct balloon_scenario_trace {
    const uint64_t *pages; /**< rows times columns working sets, by row; UINT64_MAX where there is
                              no sample, and 0 counts as 1. */
    uint32_t rows;         /**< How many samples. */
    uint32_t columns;      /**< How many guests. */
    uint64_t row_ms;       /**< Time from row to row. */
} balloon_scenario_trace;

/** Which built-in scenario. Set size and number. */
typedef struct balloon_scenario_options {
    size_t size;     /**< sizeof(balloon_scenario_options). */
    uint32_t number; /**< 1 to BALLOON_SCENARIOS. */
    uint32_t guests; /**< How many, up to 10000; 0 means what is usual for it. Scenarios 3, 8, 11,
                          12, 14, 17 and 18 have at least 4 guests, 21 at least
                          2. */
    uint64_t seed;   /**< Sizes, curves and times are drawn from it. */
    uint64_t period_ms; /**< Scenario 6: period of the square wave; 0 means one from 2 to 120 s for
                             each guest. */
    uint32_t sends;     /**< Statistics that all guests send; 0 means BALLOON_SIM_SENDS_ALL. */
    uint32_t flags;     /**< @ref balloon_sim_guest_flag that all guests have beside their own; for
                             instance, measured curves. */
    const balloon_scenario_trace *trace; /**< Scenario 20: the demand of its guests; needed there.
                                              Not kept. */
} balloon_scenario_options;

#define BALLOON_SCENARIOS 21 /**< Built-in scenarios. */

/** Memory that a built-in scenario needs.
 * @return OK; ERR_INVALID for numbers outside their limits, or scenario 20 without a trace. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_scenario_layout(const balloon_scenario_options *options, balloon_layout *layout);

/** Make a built-in scenario in the caller's memory: equal options give equal scenarios.
 *
 * Guests have 1 to 16 GiB of RAM, a minimum of an eighth, swap as large as their RAM, and start
 * with equal parts of the budget. RAM is overcommitted by 1.3 to 2. Curves are convex with
 * exponents from 1.5 to 6, with cliffs, or as measured of real programs; phases last for 60 to
 * 600 s. Balloons inflate at 40 to 200 MiB/s. Statistics are up to 7 s old, of every second guest
 * up to 2 s, and off by up to 3 %; the host measures working sets, too.
 *
 *  1 steady, equal guests; 2 unequal shares; 3 one guest's need jumps; 4 one after the other jumps;
 *  5 all at once want 1.5 times the pool; 6 square waves; 7 a leak up to the guest's RAM; 8 a
 * backup streams files in one guest; 9 cliffs; 10 a boot storm, arrivals and departures; 11
 * balloons that are stuck, slow, half-obedient or stealing; 12 statistics that are old, missing,
 * reset or forged; 13 minimums that nearly fill the pool; 14 one guest with 1000 times the RAM and
 * the shares of the others; 15 any number of guests (2 unless told); 16 the host itself needs
 * memory; 17 migration pins guests; 18 idle hoarders and busy paupers; 19 day and night; 20
 * recorded demand, with a curve for each guest drawn from the seed: a synthetic load with real
 * parts. 21 is not drawn: three guests of 384 MiB in 640, and a hog of 250 MiB that goes from one
 * to the next every 40 s, the first time after 2 s, as it was recorded with real ones.
 * @param      memory   aligned as the layout says; the scenario lives in it.
 * @param      bytes    its size.
 * @param      options  which one.
 * @param[out] scenario the scenario.
 * @return as balloon_scenario_layout(); ERR_INVALID for bad alignment; ERR_NOSPACE when bytes is
 *         too small. */
BALLOON_API BALLOON_CHECKED balloon_status
balloon_scenario_build(void *memory, size_t bytes, const balloon_scenario_options *options,
                       const balloon_scenario **scenario);
/** @} */

/** @name Setting up
 * @{ */

/** One simulation; opaque, and living in memory of the caller. */
typedef struct balloon_sim balloon_sim;

/** What moves the balloons. Without one, sizes just change. With one, each guest's balloon is
 * something of its own, for instance a real device and a real driver: the sim says how far the
 * guest is willing to go, and believes what the actuator makes of it. */
typedef struct balloon_sim_actuator {
    size_t size;      /**< sizeof(balloon_sim_actuator). */
    const char *name; /**< Short, for people. */
    /** Memory for a guest with so much RAM, aligned for anything. SIZE_MAX: no such guest. */
    size_t (*bytes)(uint64_t ram);
    /** A guest comes, or was rebooted: no balloon yet. */
    void (*init)(void *state, uint64_t ram, balloon_time_t now);
    /** Move to that size. Returns the size that came out. */
    uint64_t (*move)(void *state, uint64_t size, balloon_time_t now);
    /** Statistics on their way to the host, in the form in which they arrive. NULL: unchanged. */
    void (*sample)(void *state, balloon_sample *sample, balloon_time_t now);
} balloon_sim_actuator;

/** A guest at some time. Pages unless noted. */
typedef struct balloon_sim_record {
    uint64_t size;    /**< Its size; 0 when it is not there. */
    uint64_t target;  /**< What it was asked to be. */
    uint64_t need;    /**< Its working set; of one that grows, what has been touched. */
    uint64_t misses;  /**< Misses in a thousand seconds. */
    uint32_t stall;   /**< Share of time that it stalls, in millionths. */
    uint32_t present; /**< Whether it is there. */
} balloon_sim_record;

/** What the host can see of the guests, whatever the scenario says of that. Only memory itself, and
 * how guests lie or lose statistics, stay the scenario's. */
typedef enum balloon_sim_profile {
    BALLOON_SIM_AS_SET = 0, /**< What the scenario says; the built-in ones: MEASURED. */
    /** What QEMU or libvirt shows of stock Linux 6.12 behind virtio-balloon: statistics of
     * BALLOON_SIM_SENDS_VIRTIO (other sets lose what is not of virtio). They come when
     * balloon_pool_wants() them, 30 to 200 ms later; else every second or, of every other guest,
     * every fifth, with the whole second of their arrival for their time. Nothing is measured by
     * the host. The guest's kernel keeps some memory free, as of its watermarks, however short it
     * is, and reclaims before allocators have to. */
    BALLOON_SIM_VIRTIO = 1,
    BALLOON_SIM_VIRTIO_PSI = 2, /**< The same, and an agent that sends stall times. */
    BALLOON_SIM_MEASURED = 3,   /**< As set, and the host measures working sets of all guests. */
    BALLOON_SIM_CURVES = 4      /**< As set, and the host measures working sets and curves. */
} balloon_sim_profile;

/** A profile's name: "as-set", "virtio", "virtio+psi", "measured" or "curves"; "unknown" for other
 * numbers. */
BALLOON_API const char *balloon_sim_profile_name(uint32_t profile);

/** How a simulation is set up. Set size, scenario and pool.policy. */
typedef struct balloon_sim_config {
    size_t size;                      /**< sizeof(balloon_sim_config). */
    const balloon_scenario *scenario; /**< What is played. Kept. */
    balloon_pool_config pool;         /**< The pool; size is set, and max_guests, pages and reserve
                                           are taken from the scenario. */
    uint64_t seed;                    /**< For noise, age and loss of statistics. */
    uint32_t tick_ms;                 /**< Time between decisions; 0 means when the pool wants to,
                                           by balloon_pool_deadline(), and 1000 without profile. */
    uint32_t step_ms;                 /**< Time between two steps of a moving balloon; 0 means
                                           100. */
    const balloon_sim_actuator *actuator; /**< NULL: sizes just change. Kept. */
    balloon_sim_record *records; /**< Room for a record of each guest every record_ms, from time 0
                                      on: record i of guest g is records[i * guest_count + g]. May
                                    be NULL. Kept. */
    size_t record_count;         /**< Entries of records. */
    uint64_t record_ms;          /**< Time from one record to the next; 0 means 1000. */
    uint32_t profile;            /**< @ref balloon_sim_profile. A config that ends before this field
                                      is fine, too. */
    uint32_t rest_ms;            /**< For long scenarios: while nothing changes but time, the time
                                      between decisions and between statistics doubles, up to this.
                                      When something happens, all guests are looked at as they were
                                      just before, and the next decision comes when it would have
                                      come. 0: no rest. */
} balloon_sim_config;

/** What is wrong with a config, for the eyes of whoever wrote it.
 * @return NULL when nothing is; else a static text of the name of the first wrong field, a colon
 * and the reason. By the same rules as the layout. */
BALLOON_API const char *balloon_sim_config_check(const balloon_sim_config *config);

/** Memory a simulation needs: about 2 KiB a guest, and the pool.
 * @return OK, or ERR_INVALID for a config or scenario outside its limits. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_sim_layout(const balloon_sim_config *config,
                                                              balloon_layout *layout);

/** Make a simulation in the caller's memory, at time 0 before the first decision. There is nothing
 * to undo.
 * @return OK; ERR_INVALID as balloon_sim_layout(), for bad alignment, for knobs that the policy
 *         refuses, or when the guests at the start do not fit into the pool; ERR_NOSPACE when
 *         bytes is too small. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_sim_init(void *memory, size_t bytes,
                                                            const balloon_sim_config *config,
                                                            balloon_sim **sim);
/** @} */

/** @name Running
 * @{ */

/** Let time pass, with all that happens up to and at until_ms. The past and times after the end of
 * the scenario are fine. */
BALLOON_API void balloon_sim_run(balloon_sim *sim, uint64_t until_ms);

/** Run to the next decision.
 * @return false at the end of the scenario. */
BALLOON_API bool balloon_sim_step(balloon_sim *sim);

/** What time it is. */
BALLOON_API uint64_t balloon_sim_now(const balloon_sim *sim);
/** @} */

/** @name What the optimum needs
 * The truth changes only at the times that balloon_sim_next_change() tells, whatever the policy
 * does. Ask, then run to the next change, and so on.
 * @{ */

/** A guest as it is at the moment. */
typedef struct balloon_sim_truth {
    bool present;        /**< It is there, or waits to be admitted. */
    uint64_t min;        /**< Its least size. */
    uint64_t max;        /**< Its largest size. */
    uint64_t weight;     /**< What a miss costs, in thousandths. */
    balloon_curve curve; /**< Its misses in a thousand seconds by its size in pages; valid until the
                              next change. */
} balloon_sim_truth;

/** When a curve, a guest's presence or the budget changes next.
 * @return a time after now; the end of the scenario at the latest. */
BALLOON_API uint64_t balloon_sim_next_change(const balloon_sim *sim);

/** What may be promised to guests now: the pool less half of its reserve. */
BALLOON_API uint64_t balloon_sim_budget(const balloon_sim *sim);

/** The truth about a guest.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_sim_truth_get(const balloon_sim *sim,
                                                                 uint32_t guest,
                                                                 balloon_sim_truth *truth);
/** @} */

/** @name Results
 * @{ */

/** What came out, so far. Shares are in millionths; pages unless noted. "Weighted" is multiplied by
 * the guests' weights, 1000 of which are 1. Sums over guests stay at UINT64_MAX when they get
 * there.
 */
typedef struct balloon_sim_result {
    uint64_t time_ms;            /**< How long it ran. */
    uint64_t guest_ms;           /**< Sum of the time that each guest was there. */
    uint64_t cost;               /**< Weighted misses, in thousandths: refault cost. */
    uint64_t misses;             /**< Misses, in thousandths. */
    uint64_t swap_ins;           /**< Pages swapped in. */
    uint64_t major_faults;       /**< Faults that read, from swap or file. */
    uint64_t oom_kills;          /**< OOM kills. */
    uint64_t stall_mean;         /**< Share of guest time stalled. */
    uint64_t stall_p99;          /**< What the stall does not pass in 99 % of guest time. Stalls are
                                      counted in buckets, eight for each power of two, so this is the
                                      end of one: above the true one by at most an eighth. */
    uint64_t pressure[3];        /**< Share of guest time with a stall above 0.1, 1 and 10 %. */
    uint64_t pressure_worst[3];  /**< The same of the guest with the most. */
    uint64_t jain;               /**< Jain's index over guests of 1 / (1 + stall): 10^6 is fair. */
    uint64_t entitlement_min;    /**< Mean size by mean entitlement, of the guest with the least. */
    uint64_t entitlement_max;    /**< And with the most. Entitled is a guest to its part of the
                                      budget by shares, within its limits. */
    uint64_t reversals;          /**< Times that a guest turned from growing to shrinking or back by
                                      at least 1 % of its size. */
    uint64_t reversals_per_hour; /**< In a guest's hour, in thousandths. */
    uint64_t churn;              /**< Pages moved, either way. */
    uint64_t churn_per_second;   /**< Pages moved in a second. */
    uint64_t idle;               /**< Mean over time of pages that a guest holds and has not used
                                      for 120 s, while another one misses. */
    uint64_t convergence_ms;     /**< From step_ms until all sizes stay within 2 % of their last.
                                      Needs records from then on; else BALLOON_SIM_NEVER. */
    uint64_t overshoot;         /**< Most that a guest which moved by 2 % or more went past its last
                                     size, as share of that. The same. */
    uint64_t decisions;         /**< Decisions made. */
    uint64_t unsafe_growth;     /**< Decisions after which the sum of max(size, target) was above
                                     the budget and more than before: must be 0. */
    uint64_t unsafe_targets;    /**< Targets below minimum or above maximum: must be 0. */
    uint64_t over_pool;         /**< Decisions after which that sum was above the pool: 0 unless
                                     guests grew unasked (thieves, deflating on OOM, reboots) or the
                                     pool shrank. */
    uint64_t overrun;           /**< Most pages by which sizes exceeded the pool. */
    uint64_t overrun_ms;        /**< For how long they did. */
    uint64_t low_ms;            /**< Time with less free than the pool's mark for
                                     BALLOON_HOST_LOW, 16 % of the reserve. */
    uint64_t emergency_ms;      /**< Time in which the pool was in an emergency. */
    uint64_t emergency_longest; /**< The longest of these, in ms. */
    uint64_t shortfall;         /**< Largest shortfall that the pool reported. */
    uint64_t waiting_ms;        /**< Time that guests waited to be admitted. */
} balloon_sim_result;

/** What came out for one guest, so far; as above. */
typedef struct balloon_sim_guest_result {
    uint64_t time_ms;      /**< How long it was there. */
    uint64_t misses;       /**< Misses, in thousandths. */
    uint64_t swap_ins;     /**< Pages swapped in. */
    uint64_t major_faults; /**< Faults that read. */
    uint64_t oom_kills;    /**< OOM kills. */
    uint64_t stall_mean;   /**< Share of time stalled. */
    uint64_t pressure[3];  /**< Share of time with a stall above 0.1, 1 and 10 %. */
    uint64_t size_mean;    /**< Mean size. */
    uint64_t entitlement;  /**< Mean entitlement. */
    uint64_t reversals;    /**< Turns. */
    uint64_t churn;        /**< Pages moved. */
    uint64_t waiting_ms;   /**< Time that it waited to be admitted. */
} balloon_sim_guest_result;

/** A guest as it stands. Pages unless noted. */
typedef struct balloon_sim_guest_status {
    bool present;        /**< It is there. */
    uint64_t id;         /**< Its number in the pool; 0 when it is not there. */
    uint64_t size;       /**< Its size. */
    uint64_t target;     /**< What it was last asked to be. */
    uint64_t hot;        /**< What it has of its working set, */
    uint64_t cold;       /**< of its cold memory, */
    uint64_t cache;      /**< and of idle cache. */
    uint64_t free;       /**< The rest. */
    uint64_t available;  /**< Free, and all cache. */
    uint64_t swapped;    /**< Anonymous memory that is not there. */
    uint64_t misses;     /**< Misses in a thousand seconds. */
    uint32_t stall;      /**< Share of time stalled. */
    bool sampled;        /**< Statistics of it have arrived. */
    balloon_sample last; /**< The last of them. */
} balloon_sim_guest_status;

/** Where things stand. */
BALLOON_API void balloon_sim_result_get(const balloon_sim *sim, balloon_sim_result *result);

/** Where things stand for one guest.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_sim_guest_result_get(
    const balloon_sim *sim, uint32_t guest, balloon_sim_guest_result *result);

/** A guest at the moment.
 * @return OK; ERR_INVALID for no such guest. */
BALLOON_API BALLOON_CHECKED balloon_status balloon_sim_guest_get(const balloon_sim *sim,
                                                                 uint32_t guest,
                                                                 balloon_sim_guest_status *status);

/** How many records have been written for each guest. */
BALLOON_API size_t balloon_sim_records(const balloon_sim *sim);

/** The pool that decides, for questions. */
BALLOON_API const balloon_pool *balloon_sim_pool(const balloon_sim *sim);

/** Check every rule inside the simulation and its pool: no page of a guest is counted twice, and
 * sums are what they sum up.
 * @param      sim a simulation.
 * @param[out] why the rule that is broken, a static string; may be NULL.
 * @return whether all hold. */
BALLOON_API bool balloon_sim_check(const balloon_sim *sim, const char **why);
/** @} */

BALLOON_END_DECLS

/** @} */

#endif
