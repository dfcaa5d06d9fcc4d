/* What the parts of the policy report share: cases, results, and statistics over seeds. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdio.h>

#include "run_policies.h"

#define REPORT_CASES_MAX 64

/* A scenario of the report. */
struct report_case {
    char name[64];      /* such as "S3 step" */
    char text[160];     /* what it is about */
    uint32_t number;    /* of the built-in scenario; 20 is a trace */
    uint32_t guests;    /* how many; 0 means what is usual */
    uint64_t period_ms; /* of scenario 6 */
    bool more;          /* one more form of a scenario that counts already: not in the summary */
    bool large;         /* neither the optimum nor the oracle can be had in reasonable time */
    const void *trace;  /* struct trace of trace_guests.h, for 20 */
    bool calm; /* the last guest stays as it begins: what its neighbours have without its doings */
};

struct report {
    const struct report_case *cases;
    size_t case_count;
    const struct contestant *who;
    size_t who_count;
    uint32_t seeds;   /* seeds 1 to this */
    uint32_t profile; /* enum balloon_sim_profile, but of those with curves */
    struct run_job *jobs;
    double seconds; /* how long all of it took */
};

/* A job of the report: that of a policy, or the optimum when who is who_count. */
static inline const struct run_job *report_job(const struct report *r, size_t c, uint32_t seed,
                                               size_t who)
{
    return &r->jobs[(c * r->seeds + seed) * (r->who_count + 1) + who];
}

/* C / OPT - 1 of one run; NAN when it failed, INFINITY when OPT is 0 and C is not. */
double report_regret(const struct report *r, size_t c, uint32_t seed, size_t who);

/* C - OPT in weighted misses a second; NAN when it failed. */
double report_excess(const struct report *r, size_t c, uint32_t seed, size_t who);

/* What a thrashing neighbour costs the others: the share of their time that they stall, less the
 * same in a calm form of that case. NAN when there is none. */
double report_isolation(const struct report *r, size_t c, uint32_t seed, size_t who);

/* Cost relative to the best contestant without measured curves with the same seed; median. */
double report_ratio(const struct report *r, size_t c, size_t who);

/* Is that ratio the least of all, but the oracle's? Those with measured curves are left out unless
 * it has them. */
bool report_wins(const struct report *r, size_t c, size_t who);

/* Median over seeds of a figure; NAN when there is none. */
typedef double report_figure(const struct report *r, size_t c, uint32_t seed, size_t who);
double report_median(const struct report *r, size_t c, size_t who, report_figure *figure);

/* Over all cases that count of the medians over seeds. */
struct report_summary {
    double median_regret, worst_regret; /* worst of all runs with OPT above 0 */
    double median_excess, worst_excess; /* weighted misses a second */
    double median_ratio;
    double median_by_oracle; /* NAN when the oracle does not take part */
    double reversals;        /* per guest-hour, median */
    double churn;            /* MiB/s, median */
    double pressure;         /* share of guest time with a stall above 1 %, median */
    uint64_t oom_kills;      /* sums */
    uint64_t violations;     /* unsafe_growth and unsafe_targets */
    uint64_t over_pool;      /* decisions after which more was promised or used than the pool has */
    uint64_t failed;         /* runs that did not end */
    double isolation;        /* millionths, of the case that has a calm form */
    uint32_t wins;           /* cases in which it is the best */
};
void report_summarise(const struct report *r, size_t who, struct report_summary *to);

/* Figures of one run. */
double report_reversals(const struct report *r, size_t c, uint32_t seed, size_t who);
double report_churn(const struct report *r, size_t c, uint32_t seed, size_t who);
double report_pressure(const struct report *r, size_t c, uint32_t seed, size_t who);

/* A text into JSON or HTML, escaped. */
void report_put_json(FILE *to, const char *text);
void report_put_html(FILE *to, const char *text);

/* An optimum as a JSON value; NULL when it is not known. */
void report_put_best(FILE *to, const struct run_best *best);

/* The forms of the report. */
void report_table(const struct report *r, FILE *to);
void report_json(const struct report *r, FILE *to);
void report_html(const struct report *r, FILE *to);

#endif
