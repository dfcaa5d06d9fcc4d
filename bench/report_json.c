#include <math.h>

#include "report.h"

void report_put_json(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(to, "\\%c", *text);
        else if (*text >= ' ' && *text <= '~')
            fputc(*text, to);
        else
            fprintf(to, "\\u%04x", (unsigned)(unsigned char)*text);
    }
    fputc('"', to);
}

/* JSON has no infinity. */
static void put(FILE *to, const char *name, double value)
{
    if (isnan(value) || isinf(value))
        fprintf(to, "\"%s\": null", name);
    else
        fprintf(to, "\"%s\": %.9g", name, value);
}

void report_put_best(FILE *to, const struct run_best *best)
{
    if (!best) {
        fprintf(to, "null");
        return;
    }
    fprintf(to, "{\"cost\": %.3f, \"kind\": \"%s\", ", best->cost / 1000,
            best->exact ? "exact" : "bound");
    put(to, "reached", best->reached / 1000);
    fprintf(to, ", ");
    put(to, "paced", best->paced / 1000);
    fprintf(to, ", \"unit_pages\": %llu, \"phases\": %llu}", (unsigned long long)best->unit,
            (unsigned long long)best->phases);
}

/* Fairness, and how far past its end a step goes. */
static void put_shares(FILE *to, const balloon_sim_result *s)
{
    fprintf(to,
            ", \"pressure_worst\": [%.6f, %.6f, %.6f], \"entitlement_min\": %.6f, "
            "\"entitlement_max\": %.6f, ",
            (double)s->pressure_worst[0] / 1e6, (double)s->pressure_worst[1] / 1e6,
            (double)s->pressure_worst[2] / 1e6, (double)s->entitlement_min / 1e6,
            (double)s->entitlement_max / 1e6);
    put(to, "overshoot",
        s->overshoot == BALLOON_SIM_NEVER ? (double)NAN : (double)s->overshoot / 1e6);
}

static void put_safety(FILE *to, const balloon_sim_result *s)
{
    fprintf(to,
            ", \"unsafe_growth\": %llu, \"unsafe_targets\": %llu, \"over_pool\": %llu, "
            "\"overrun_ms\": %llu, \"low_ms\": %llu, \"emergency_ms\": %llu, "
            "\"emergency_longest_ms\": %llu, \"shortfall_mib\": %.1f, \"waiting_ms\": %llu, ",
            (unsigned long long)s->unsafe_growth, (unsigned long long)s->unsafe_targets,
            (unsigned long long)s->over_pool, (unsigned long long)s->overrun_ms,
            (unsigned long long)s->low_ms, (unsigned long long)s->emergency_ms,
            (unsigned long long)s->emergency_longest,
            (double)s->shortfall / (double)BALLOON_SIM_MIB, (unsigned long long)s->waiting_ms);
}

static void put_run(FILE *to, const struct report *r, size_t c, uint32_t seed, size_t who)
{
    const struct run_job *job = report_job(r, c, seed, who);
    const balloon_sim_result *s = &job->out.result.sim;

    fprintf(to, "{\"policy\": ");
    report_put_json(to, r->who[who].name);
    if (job->state != RUN_DONE) {
        fprintf(to, ", \"%s\": true}", job->state == RUN_SKIPPED ? "skipped" : "failed");
        return;
    }
    fprintf(to, ", \"cost\": %.3f, ", (double)s->cost / 1000);
    put(to, "regret", report_regret(r, c, seed, who));
    fprintf(to, ", ");
    put(to, "excess_per_s", report_excess(r, c, seed, who));
    fprintf(to,
            ", \"swap_ins\": %llu, \"major_faults\": %llu, \"oom_kills\": %llu, "
            "\"stall_mean\": %.6f, \"stall_p99\": %.6f, \"pressure\": [%.6f, %.6f, %.6f], "
            "\"jain\": %.6f, \"idle_mib\": %.1f, ",
            (unsigned long long)s->swap_ins, (unsigned long long)s->major_faults,
            (unsigned long long)s->oom_kills, (double)s->stall_mean / 1e6,
            (double)s->stall_p99 / 1e6, (double)s->pressure[0] / 1e6, (double)s->pressure[1] / 1e6,
            (double)s->pressure[2] / 1e6, (double)s->jain / 1e6,
            (double)s->idle / (double)BALLOON_SIM_MIB);
    put(to, "convergence_s",
        s->convergence_ms == BALLOON_SIM_NEVER ? (double)NAN : (double)s->convergence_ms / 1000);
    fprintf(to, ", ");
    put(to, "reversals_per_guest_hour", report_reversals(r, c, seed, who));
    fprintf(to, ", ");
    put(to, "churn_mib_per_s", report_churn(r, c, seed, who));
    put_shares(to, s);
    put_safety(to, s);
    put(to, "others_stall", job->out.result.others_stall);
    fprintf(to, ", ");
    put(to, "isolation", report_isolation(r, c, seed, who));
    fprintf(to, "}");
}

static void put_case(FILE *to, const struct report *r, size_t c)
{
    fprintf(to, "%s\n    {\"scenario\": ", c ? "," : "");
    report_put_json(to, r->cases[c].name);
    fprintf(to, ", \"text\": ");
    report_put_json(to, r->cases[c].text);
    fprintf(to, ", \"in_summary\": %s, \"seeds\": [", r->cases[c].more ? "false" : "true");
    for (uint32_t seed = 0; seed < r->seeds; seed++) {
        const struct run_job *best = report_job(r, c, seed, r->who_count);

        fprintf(to, "%s\n      {\"seed\": %u, ", seed ? "," : "", seed + 1);
        fprintf(to, "\"optimum\": ");
        report_put_best(to, best->state == RUN_DONE ? &best->out.best : NULL);
        fprintf(to, ", \"policies\": [");
        for (size_t who = 0; who < r->who_count; who++) {
            fprintf(to, "%s\n        ", who ? "," : "");
            put_run(to, r, c, seed, who);
        }
        fprintf(to, "]}");
    }
    fprintf(to, "]}");
}

void report_json(const struct report *r, FILE *to)
{
    fprintf(to, "{\n  \"profile\": \"%s\",\n  \"summary\": [",
            balloon_sim_profile_name(r->profile));
    for (size_t who = 0; who < r->who_count; who++) {
        struct report_summary s;

        report_summarise(r, who, &s);
        fprintf(to, "%s\n    {\"policy\": ", who ? "," : "");
        report_put_json(to, r->who[who].name);
        fprintf(to, ", \"measured_curves\": %s, ", r->who[who].curves ? "true" : "false");
        put(to, "median_regret", s.median_regret);
        fprintf(to, ", ");
        put(to, "worst_regret", s.worst_regret);
        fprintf(to, ", ");
        put(to, "median_excess_per_s", s.median_excess);
        fprintf(to, ", ");
        put(to, "worst_excess_per_s", s.worst_excess);
        fprintf(to, ", ");
        put(to, "median_ratio_to_best", s.median_ratio);
        fprintf(to, ", ");
        put(to, "median_ratio_to_oracle", s.median_by_oracle);
        fprintf(to, ", \"times_best\": %u, ", s.wins);
        put(to, "reversals_per_guest_hour", s.reversals);
        fprintf(to, ", ");
        put(to, "churn_mib_per_s", s.churn);
        fprintf(to, ", ");
        put(to, "isolation_ppm", s.isolation);
        fprintf(to,
                ", \"oom_kills\": %llu, \"safety_violations\": %llu, \"over_pool\": %llu, "
                "\"failed_runs\": %llu}",
                (unsigned long long)s.oom_kills, (unsigned long long)s.violations,
                (unsigned long long)s.over_pool, (unsigned long long)s.failed);
    }
    fprintf(to, "\n  ],\n  \"scenarios\": [");
    for (size_t c = 0; c < r->case_count; c++)
        put_case(to, r, c);
    fprintf(to, "\n  ]\n}\n");
}
