/* Benchmarks that have more than page numbers to count: which cases to run, and lines of them. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include <stdbool.h>
#include <string.h>

#include "measure.h"

/* The only argument of a benchmark: run the cases whose name contains it. */
static const char *cases_only = "";

static inline bool case_wanted(const char *name)
{
    return strstr(name, cases_only) != NULL;
}

/* Keeps results alive. */
static volatile uint64_t cases_sink;

/* unit: what one of `units` is, and the name of the figure ends with. */
static inline void case_print(const char *name, const char *impl, const char *unit, uint64_t units,
                              double ns)
{
    printf("{\"case\":\"%s\",\"impl\":\"%s\",\"%ss\":%llu,\"ns_per_%s\":%.3f}\n", name, impl, unit,
           (unsigned long long)units, unit, ns / (double)units);
    fflush(stdout);
}

typedef void case_function(void *self);

/* The median of MEASURE_RUNS, after one that brings in the memory. */
static inline double case_measure(case_function *work, void *self)
{
    double ns[MEASURE_RUNS];

    for (int i = -1; i < MEASURE_RUNS; i++) {
        double start = measure_now();

        work(self);
        if (i >= 0)
            ns[i] = measure_now() - start;
    }
    return measure_median(ns, MEASURE_RUNS);
}

#endif
