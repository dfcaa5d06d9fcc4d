#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of the numbers among them; the lower middle plus the upper one by two when they are even. */
static double median(double *values, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i]))
            values[n++] = values[i];
    }
    if (!n)
        return NAN;
    qsort(values, n, sizeof(*values), compare);
    /* Not the mean of two of which one is infinite. */
    return n % 2 || isinf(values[n / 2]) ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* --- figures of a run --------------------------------------------------------------------------
 */

static const balloon_sim_result *result_of(const struct report *r, size_t c, uint32_t seed,
                                           size_t who)
{
    const struct run_job *job = report_job(r, c, seed, who);

    return job->state == RUN_DONE ? &job->out.result.sim : NULL;
}

static const struct run_best *best_of(const struct report *r, size_t c, uint32_t seed)
{
    const struct run_job *job = report_job(r, c, seed, r->who_count);

    return job->state == RUN_DONE ? &job->out.best : NULL;
}

double report_regret(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const balloon_sim_result *result = result_of(r, c, seed, who);
    const struct run_best *best = best_of(r, c, seed);

    if (!result || !best)
        return NAN;
    if (best->cost > 0)
        return (double)result->cost / best->cost - 1;
    return result->cost ? INFINITY : 0;
}

double report_excess(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const balloon_sim_result *result = result_of(r, c, seed, who);
    const struct run_best *best = best_of(r, c, seed);

    return result && best ? ((double)result->cost - best->cost) / (double)result->time_ms : NAN;
}

static double cost(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const balloon_sim_result *result = result_of(r, c, seed, who);

    return result ? (double)result->cost : NAN;
}

double report_reversals(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const balloon_sim_result *result = result_of(r, c, seed, who);

    return result ? (double)result->reversals_per_hour / 1000 : NAN;
}

double report_churn(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const balloon_sim_result *result = result_of(r, c, seed, who);

    return result ? (double)result->churn_per_second / (double)BALLOON_SIM_MIB : NAN;
}

double report_pressure(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const balloon_sim_result *result = result_of(r, c, seed, who);

    return result ? (double)result->pressure[1] / 1e6 : NAN;
}

double report_isolation(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    for (size_t k = 0; k < r->case_count; k++) {
        const struct run_job *own = report_job(r, c, seed, who),
                             *calm = report_job(r, k, seed, who);

        if (r->cases[k].calm && r->cases[k].number == r->cases[c].number && !r->cases[c].more &&
            own->state == RUN_DONE && calm->state == RUN_DONE)
            return own->out.result.others_stall - calm->out.result.others_stall;
    }
    return NAN;
}

/* --- over seeds and cases ----------------------------------------------------------------------
 */

double report_median(const struct report *r, size_t c, size_t who, report_figure *figure)
{
    double values[64];
    uint32_t seeds = r->seeds < 64 ? r->seeds : 64;

    for (uint32_t i = 0; i < seeds; i++)
        values[i] = figure(r, c, i, who);
    return median(values, seeds);
}

/* Contestants without measured curves set the standard, if there are any. */
static double ratio(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    double best[2] = {INFINITY, INFINITY}, own = cost(r, c, seed, who);

    for (size_t i = 0; i < r->who_count; i++) {
        double other = cost(r, c, seed, i);

        best[r->who[i].curves] = fmin(best[r->who[i].curves], other);
    }
    if (isinf(best[0]))
        best[0] = best[1];
    if (best[0] > 0)
        return own / best[0];
    return own > 0 ? INFINITY : own + 1;
}

double report_ratio(const struct report *r, size_t c, size_t who)
{
    return report_median(r, c, who, ratio);
}

/* Cost relative to the oracle with the same seed; NAN without one. */
static double by_oracle(const struct report *r, size_t c, uint32_t seed, size_t who)
{
    double own = cost(r, c, seed, who), other = NAN;

    for (size_t i = 0; i < r->who_count; i++) {
        if (r->who[i].policy == &run_oracle_policy)
            other = cost(r, c, seed, i);
    }
    return other > 0 ? own / other : own > 0 && !isnan(other) ? INFINITY : own + other + 1;
}

bool report_wins(const struct report *r, size_t c, size_t who)
{
    double own = report_ratio(r, c, who);

    for (size_t i = 0; i < r->who_count; i++) {
        if (r->who[i].policy != &run_oracle_policy && !(report_ratio(r, c, i) >= own) &&
            !(r->who[i].curves && !r->who[who].curves))
            return false;
    }
    return true;
}

void report_summarise(const struct report *r, size_t who, struct report_summary *to)
{
    double regrets[REPORT_CASES_MAX], ratios[REPORT_CASES_MAX], oracles[REPORT_CASES_MAX],
        turns[REPORT_CASES_MAX], churns[REPORT_CASES_MAX], waits[REPORT_CASES_MAX],
        excesses[REPORT_CASES_MAX], isolations[REPORT_CASES_MAX];
    size_t n = 0;

    *to = (struct report_summary){0};
    for (size_t c = 0; c < r->case_count; c++) {
        bool counts = !r->cases[c].more;

        for (uint32_t seed = 0; seed < r->seeds; seed++) {
            const balloon_sim_result *result = result_of(r, c, seed, who);
            double regret = report_regret(r, c, seed, who);

            to->failed += report_job(r, c, seed, who)->state == RUN_FAILED;
            if (!result)
                continue;
            /* What must never happen counts wherever it does. */
            to->violations += result->unsafe_growth + result->unsafe_targets;
            if (!counts)
                continue;
            to->oom_kills += result->oom_kills;
            to->over_pool += result->over_pool;
            if (!isinf(regret) && regret > to->worst_regret)
                to->worst_regret = regret;
            to->worst_excess = fmax(to->worst_excess, report_excess(r, c, seed, who));
        }
        if (!counts)
            continue;
        regrets[n] = report_median(r, c, who, report_regret);
        ratios[n] = report_ratio(r, c, who);
        oracles[n] = report_median(r, c, who, by_oracle);
        turns[n] = report_median(r, c, who, report_reversals);
        churns[n] = report_median(r, c, who, report_churn);
        waits[n] = report_median(r, c, who, report_pressure);
        excesses[n] = report_median(r, c, who, report_excess);
        isolations[n] = 1e6 * report_median(r, c, who, report_isolation);
        to->wins += report_wins(r, c, who);
        n++;
    }
    to->median_regret = median(regrets, n);
    to->median_excess = median(excesses, n);
    to->median_ratio = median(ratios, n);
    to->median_by_oracle = median(oracles, n);
    to->reversals = median(turns, n);
    to->churn = median(churns, n);
    to->pressure = median(waits, n);
    to->isolation = median(isolations, n);
}

/* --- the table ---------------------------------------------------------------------------------
 */

#define CELL 16

static void put_number(char *to, size_t size, double value)
{
    if (isnan(value))
        snprintf(to, size, "-");
    else if (isinf(value))
        snprintf(to, size, "inf");
    else
        snprintf(to, size, fabs(value) < 10 ? "%.2f" : fabs(value) < 100 ? "%.1f" : "%.0f", value);
}

static void put_line(FILE *to, const struct report *r, const char *name,
                     double (*value)(const struct report_summary *),
                     const struct report_summary *all)
{
    fprintf(to, "%-24.24s%10s", name, "");
    for (size_t i = 0; i < r->who_count; i++) {
        char text[32];

        put_number(text, sizeof(text), value(&all[i]));
        fprintf(to, " %*s", CELL, text);
    }
    fprintf(to, "\n");
}

#define LINE(field)                                                                                \
    static double get_##field(const struct report_summary *s)                                      \
    {                                                                                              \
        return (double)s->field;                                                                   \
    }
LINE(median_regret)
LINE(worst_regret)
LINE(median_excess)
LINE(worst_excess)
LINE(median_ratio)
LINE(median_by_oracle)
LINE(wins)
LINE(reversals)
LINE(churn)
LINE(pressure)
LINE(isolation)
LINE(oom_kills)
LINE(violations)
LINE(over_pool)
LINE(failed)

/* more: only the forms that do not count, or only those that do. */
static void put_cases(const struct report *r, FILE *to, bool more)
{
    for (size_t c = 0; c < r->case_count; c++) {
        const struct run_best *best = best_of(r, c, 0);
        const balloon_sim_result *one = result_of(r, c, 0, 0);
        char number[16];

        if (r->cases[c].more != more)
            continue;
        put_number(number, sizeof(number),
                   best && one ? best->cost / (double)one->time_ms : (double)NAN);
        fprintf(to, "%-24.24s%10s", r->cases[c].name, number);
        for (size_t i = 0; i < r->who_count; i++) {
            double over = report_median(r, c, i, report_regret);
            char by[16], regret[16], text[40];

            put_number(by, sizeof(by), report_ratio(r, c, i));
            put_number(regret, sizeof(regret),
                       isinf(over) ? report_median(r, c, i, report_excess) : over);
            snprintf(text, sizeof(text), "%s%s %s%s", report_wins(r, c, i) ? "*" : "", by, regret,
                     isinf(over) ? "/s" : "");
            fprintf(to, " %*s", CELL, text);
        }
        fprintf(to, "\n");
    }
}

void report_table(const struct report *r, FILE *to)
{
    struct report_summary all[CONTESTANTS_MAX];

    for (size_t i = 0; i < r->who_count; i++) {
        if (strlen(r->who[i].name) > CELL)
            fprintf(to, "#%zu: %s\n", i + 1, r->who[i].name);
    }
    fprintf(to, "%-24s%10s", "", "optimum/s");
    for (size_t i = 0; i < r->who_count; i++) {
        char name[sizeof(r->who[i].name)];

        if (strlen(r->who[i].name) > CELL)
            snprintf(name, sizeof(name), "#%zu", i + 1);
        else
            snprintf(name, sizeof(name), "%s", r->who[i].name);
        fprintf(to, " %*s", CELL, name);
    }
    fprintf(to, "\n");
    put_cases(r, to, false);
    for (size_t i = 0; i < r->who_count; i++)
        report_summarise(r, i, &all[i]);
    put_line(to, r, "median regret", get_median_regret, all);
    put_line(to, r, "worst regret", get_worst_regret, all);
    put_line(to, r, "median excess/s", get_median_excess, all);
    put_line(to, r, "worst excess/s", get_worst_excess, all);
    put_line(to, r, "median ratio to best", get_median_ratio, all);
    put_line(to, r, "median ratio to oracle", get_median_by_oracle, all);
    put_line(to, r, "times best", get_wins, all);
    put_line(to, r, "reversals/guest-hour", get_reversals, all);
    put_line(to, r, "churn MiB/s", get_churn, all);
    put_line(to, r, "time stalled > 1 %", get_pressure, all);
    put_line(to, r, "stall by neighbour, ppm", get_isolation, all);
    put_line(to, r, "OOM kills", get_oom_kills, all);
    put_line(to, r, "safety violations", get_violations, all);
    put_line(to, r, "over the pool", get_over_pool, all);
    put_line(to, r, "failed runs", get_failed, all);
    fprintf(to, "Other forms of these scenarios, not in the figures above:\n");
    put_cases(r, to, true);
    fprintf(to, "The host sees: %s.\n", balloon_sim_profile_name(r->profile));
    fprintf(to,
            "Cells: cost by that of the best policy without measured curves (* the best), and\n"
            "regret C/OPT - 1, or C - OPT in misses/s where OPT is 0; medians of %u seeds.\n"
            "optimum/s: weighted misses a second, seed 1. Worst regret: where OPT is not 0.\n"
            "Over the pool: decisions with a sum of max(size, target) above it, unasked: guests\n"
            "that take memory back (S11) and hosts that shrink (S16). %.1f s.\n",
            r->seeds, r->seconds);
}
