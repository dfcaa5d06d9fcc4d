/* The best that could have been done in a scenario, knowing all. */
#ifndef BENCH_RUN_OPTIMUM_H
#define BENCH_RUN_OPTIMUM_H

#include <balloon/sim.h>

/* The optimum of a scenario. Costs are as in balloon_sim_result: thousandths of weighted misses. */
struct run_best {
    double cost;    /* nobody can have less: regret is measured against this */
    double reached; /* what a known division of memory costs; NAN when none was looked for */
    double paced; /* what balloons that are slow can reach, on a grid of sizes and seconds; NAN for
                     more than two guests, and where not all are there all the time */
    bool exact;   /* cost can be reached: at all times all curves were convex */
    uint64_t units;  /* where not, memory above the minimums was divided in so many steps, */
    uint64_t unit;   /* each of so many pages at most; 0 when it was not */
    uint64_t phases; /* times between two changes */
};

/* The offline optimum, time by time.
 * @return false when memory is short, or a guest's curve is beyond what the optimum takes. */
bool run_optimum(const balloon_scenario *scenario, struct run_best *best);

/* run_best.paced, from a sim of the scenario at its start. */
double run_paced(balloon_sim *sim, const balloon_scenario *scenario);

/* A policy that wishes at once what the optimum has, and has to get there as everybody does, by
 * balloons that are slow and memory that has to come back by misses first. What it costs more than
 * the optimum no policy can save. Its knobs are a run_oracle that watches the sim it decides in. */
extern const balloon_policy run_oracle_policy;
struct run_oracle;
struct run_oracle *run_oracle_new(uint32_t guests);
void run_oracle_watch(struct run_oracle *oracle, const balloon_sim *sim);
void run_oracle_free(struct run_oracle *oracle);

#endif
