/* What every benchmark shares: a clock, medians, and one JSON object a line. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEASURE_RUNS 15

/* CPU time: what else the machine does counts less. */
static inline double measure_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline int measure_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static inline double measure_median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), measure_compare);
    return values[count / 2];
}

static inline void measure_print(const char *what, const char *impl, uint64_t pages, double ns)
{
    printf("{\"case\":\"%s\",\"impl\":\"%s\",\"pages\":%llu,\"ns_per_page\":%.3f}\n", what, impl,
           (unsigned long long)pages, ns / (double)pages);
    fflush(stdout);
}

/* Seeded, the same on every machine. */
static inline uint64_t measure_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

#endif
