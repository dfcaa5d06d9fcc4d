/* Play scenarios: one policy at a time, and the best that could have been done. */
#ifndef BENCH_RUN_POLICIES_H
#define BENCH_RUN_POLICIES_H

#include <balloon/sim.h>

#include "contestants.h"
#include "run_optimum.h"

#define PLOT_COLUMNS 96
#define PLOT_GUESTS  16 /* the last band holds all guests beyond */

/* Sizes over time, in MiB. */
struct run_plot {
    uint32_t columns, guests;
    uint32_t size[PLOT_COLUMNS][PLOT_GUESTS];
    uint32_t need[PLOT_COLUMNS];   /* what all together need */
    uint32_t budget[PLOT_COLUMNS]; /* what they may have */
    uint32_t stall[PLOT_COLUMNS];  /* share of guest time, in millionths */
};

struct run_result {
    balloon_sim_result sim;
    double others_stall; /* share of their time that all guests but the last one stall */
    struct run_plot plot;
};

/* What came out of a job. */
enum run_state { RUN_WAITS = 0, RUN_DONE, RUN_FAILED, RUN_SKIPPED };

/* Makes a scenario, for instance by balloon_scenario_build(). The memory is on the heap, and of the
 * caller. NULL when it cannot. */
typedef const balloon_scenario *run_build(const void *what, uint64_t seed, void **memory);

/* How a scenario is played; as in balloon_sim_config. */
struct run_how {
    uint32_t profile, tick_ms, step_ms, rest_ms;
};

struct run_job {
    run_build *build;
    const void *what;
    uint64_t seed;
    const struct contestant *who; /* NULL: the optimum */
    struct run_how how;
    uint32_t state; /* enum run_state; skipped ones stay so */
    union {
        struct run_result result;
        struct run_best best;
    } out;
};

/* What the host sees unless told. */
#define RUN_PROFILE ((uint32_t)BALLOON_SIM_VIRTIO)

/* For usage texts. */
#define RUN_PROFILE_USAGE                                                                          \
    "  --profile NAME    what the host sees: virtio (statistics of stock Linux behind QEMU),\n"    \
    "                    virtio+psi (and stall times), measured (and what guests touch), curves\n" \
    "                    (and miss-ratio curves, for all policies) (virtio)\n"

/* A profile by its name. */
bool run_profile(const char *name, uint32_t *profile);

/* Play a scenario to its end. Contestants with curves have those measured whatever the profile.
 * @return whether it could be started. */
bool run_policy(const balloon_scenario *scenario, const struct contestant *who, struct run_how how,
                uint64_t seed, struct run_result *result);

/* Jobs in memory that processes share; NULL when there is none. Never freed. */
struct run_job *run_jobs_new(size_t count);

/* Run them all, each in a process of its own, so many at a time. progress is called after each. */
void run_jobs(struct run_job *jobs, size_t count, unsigned workers,
              void (*progress)(size_t done, size_t count));

#endif
