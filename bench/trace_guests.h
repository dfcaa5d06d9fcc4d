/* Recorded demand as guests of a scenario. */
#ifndef BENCH_TRACE_GUESTS_H
#define BENCH_TRACE_GUESTS_H

#include <balloon/sim.h>

#include "csv.h"

/* What there is to know of a demand file. A guest is there from its first sample until the row
 * after its last one; in a gap between them, its last value holds. Columns without a sample are no
 * guests. */
struct trace_guest {
    size_t column;
    size_t first, last; /* rows with samples */
    uint64_t ram;       /* pages */
    bool raised;        /* its capacity is less than it wants, so that is its RAM */
};

struct trace {
    struct csv_demand demand;
    struct csv_curves curves; /* none: a built-in convex one */
    struct trace_guest *guests;
    uint32_t guest_count;
    uint64_t pool; /* pages */
    uint64_t duration_ms;
    uint64_t peak, mean; /* of what all guests together want, in pages */
    uint64_t ram;        /* of all guests, in pages */
    uint32_t raised;     /* guests whose capacity is too low */
    size_t parts;        /* a simulation has a greatest length: so many runs are needed */
    size_t *part_rows;   /* where each begins, and the end */
};

/* Read demand, and curves unless curves_path is NULL. pool_mib 0: 85 % of the greatest demand of
 * all together, but enough for what guests need at least. @return as csv_demand_read(). */
bool trace_load(struct trace *t, const char *path, const char *curves_path,
                const struct csv_form *form, uint64_t pool_mib, struct csv_error *error);
void trace_free(struct trace *t);

/* One part of a trace as a scenario.
 *
 * Guests are those of the built-in scenario 20 for the same seed (speed and age, what a miss costs,
 * share of files), but for RAM: the capacity of the file, or 1.25 times the most they want, rounded
 * up to MiB. Curves of a file are dealt out in turn; how often a guest misses with half of its
 * working set is drawn from the seed, as in the built-in scenarios, so only the shape is measured.
 * @return the scenario, in memory that one free() ends; NULL when there is none. */
struct trace_part {
    const struct trace *trace;
    size_t part;
};
const balloon_scenario *trace_build(const void *trace_part, uint64_t seed, void **memory);

#endif
