/* balloon-sim: what policies would have done to recorded demand. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "trace_guests.h"

static const char usage[] =
    "Usage: balloon-sim --trace FILE.csv [options]\n"
    "  --trace FILE           demand over time: time_s,<name>,... in MiB; each column is a guest.\n"
    "                         Or workload,time_s,working_set_mib,footprint_mib: each workload is\n"
    "                         one, wants its working set, and begins at time 0. Or what Grafana,\n"
    "                         sadf -d and others export: a column Time, timestamp or date (dates,\n"
    "                         or s, ms, us or ns since 1970), quotes, ; or tabs, NaN, null, "
    "blanks\n"
    "  --unit UNIT            of its values: B, KiB, MiB, GiB or pages (of 4 KiB); needed unless\n"
    "                         columns (used_bytes, \"Used (GiB)\", kbmemused) or cells (1.5 GiB) "
    "say\n"
    "  --columns A,B          take these columns only\n"
    "  --curves FILE          miss-ratio curves, dealt out to the guests in turn: workload,\n"
    "                         size_mib,miss_ratio,misses_per_s. Else a built-in convex one\n"
    "  --pool-mib N           memory for all guests (85 % of the greatest demand)\n"
    "  --scale-mib FLOOR,CEIL values are fractions, 0 for FLOOR and 1 for CEIL. 3277,14746 (20 "
    "and\n"
    "                         90 % of 16 GiB) when no value is above 1, or a note says \"not "
    "MiB\"\n" RUN_PROFILE_USAGE "  --policy LIST          policies (all)\n"
    "  --seed N               any 64 bits: draws what a trace does not say, and noise (1)\n"
    "  --json                 one JSON object instead of a table\n" CONTESTANTS_USAGE
    "A guest is there from its first sample to the row after its last; in a gap between them, the\n"
    "value before it holds. Its RAM is its capacity, or 1.25 times the most it wants.\n"
    "Status: 0 fine, 1 the machine is at fault, 2 an option or a file is.\n";

struct options {
    const char *trace, *curves, *policies;
    struct csv_form form;
    uint64_t pool_mib, seed;
    uint32_t profile;
    bool json;
};

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "balloon-sim: %s%.100s\n%s", what, which, usage);
    exit(2);
}

/* --- options -----------------------------------------------------------------------------------
 */

static uint64_t number_of(const char *text, uint64_t most, const char *option)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > most)
        fail("wrong number for ", option);
    return value;
}

static void parse_scale(const char *text, struct csv_scale *scale)
{
    char *end;

    scale->set = true;
    if (*text < '0' || *text > '9')
        fail("wrong value for ", "--scale-mib");
    scale->floor_mib = strtod(text, &end);
    if (*end != ',' || end[1] < '0' || end[1] > '9')
        fail("wrong value for ", "--scale-mib");
    scale->ceil_mib = strtod(end + 1, &end);
    if (*end || !(scale->floor_mib <= scale->ceil_mib) || !(scale->ceil_mib <= CSV_MIB_MAX))
        fail("wrong value for ", "--scale-mib");
}

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option words[] = {
        {"trace", required_argument, NULL, 't'},    {"curves", required_argument, NULL, 'c'},
        {"pool-mib", required_argument, NULL, 'm'}, {"scale-mib", required_argument, NULL, 'f'},
        {"unit", required_argument, NULL, 'u'},     {"columns", required_argument, NULL, 'C'},
        {"policy", required_argument, NULL, 'p'},   {"seed", required_argument, NULL, 's'},
        {"profile", required_argument, NULL, 'P'},  {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", words, NULL)) != -1) {
        switch (c) {
        case 't':
            o->trace = optarg;
            break;
        case 'c':
            o->curves = optarg;
            break;
        case 'm':
            o->pool_mib = number_of(optarg, UINT64_C(1) << 32, "--pool-mib");
            if (!o->pool_mib)
                fail("wrong number for ", "--pool-mib");
            break;
        case 'f':
            parse_scale(optarg, &o->form.scale);
            break;
        case 'u':
            if (!csv_unit_find(optarg, &o->form.unit))
                fail("no such unit: ", optarg);
            break;
        case 'C':
            o->form.columns = optarg;
            break;
        case 'p':
            o->policies = optarg;
            break;
        case 'P':
            if (!run_profile(optarg, &o->profile))
                fail("no such profile: ", optarg);
            break;
        case 's':
            o->seed = number_of(optarg, UINT64_MAX, "--seed");
            break;
        case 'j':
            o->json = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind < argc)
        fail("what is this? ", argv[optind]);
    if (!o->trace)
        fail("--trace is missing", "");
    if (o->form.unit && o->form.scale.set)
        fail("fractions have no unit: --scale-mib or --unit", "");
}

/* --- sums --------------------------------------------------------------------------------------
 */

/* All parts of a trace together. */
struct total {
    balloon_sim_result sim; /* with sums; shares are of all guest time */
    double pressure[3];
    uint64_t failed;
};

static void add_result(struct total *to, const struct run_job *job)
{
    const balloon_sim_result *r = &job->out.result.sim;

    if (job->state != RUN_DONE) {
        to->failed++;
        return;
    }
    to->sim.time_ms += r->time_ms;
    to->sim.guest_ms += r->guest_ms;
    to->sim.cost += r->cost;
    to->sim.swap_ins += r->swap_ins;
    to->sim.major_faults += r->major_faults;
    to->sim.oom_kills += r->oom_kills;
    to->sim.reversals += r->reversals;
    to->sim.churn += r->churn;
    to->sim.unsafe_growth += r->unsafe_growth;
    to->sim.unsafe_targets += r->unsafe_targets;
    to->sim.over_pool += r->over_pool;
    to->sim.waiting_ms += r->waiting_ms;
    for (int i = 0; i < 3; i++)
        to->pressure[i] += (double)r->pressure[i] / 1e6 * (double)r->guest_ms;
}

struct outcome {
    const struct options *options;
    const struct trace *trace;
    const struct contestant *who;
    struct total *totals; /* of each contestant */
    size_t count;
    struct run_best best;
    bool best_known;
};

static double of_guest_time(const struct total *t, double sum)
{
    return t->sim.guest_ms ? sum / (double)t->sim.guest_ms : 0;
}

static double reversals_per_hour(const struct total *t)
{
    return of_guest_time(t, (double)t->sim.reversals * 3600e3);
}

static double churn_mib(const struct total *t)
{
    return (double)t->sim.churn / (double)BALLOON_SIM_MIB;
}

/* --- output ------------------------------------------------------------------------------------
 */

static double whole_mib(uint64_t pages)
{
    return (double)pages / (double)BALLOON_SIM_MIB;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Where rows are far apart nobody sees what happens within a second. */
static bool is_slow(const struct trace *t)
{
    return t->duration_ms / t->demand.rows >= 10000;
}

static void put_table(const struct outcome *o)
{
    const struct trace *t = o->trace;

    printf("%s: %u guests, %zu rows, %.0f s, RAM %.0f MiB; demand of all: mean %.0f, greatest %.0f "
           "MiB\n",
           base_name(o->options->trace), t->guest_count, t->demand.rows,
           (double)t->duration_ms / 1000, whole_mib(t->ram), whole_mib(t->mean),
           whole_mib(t->peak));
    printf("pool %.0f MiB, of it reserve %.0f; seed %llu; the host sees: %s\n", whole_mib(t->pool),
           whole_mib(t->pool / 16), (unsigned long long)o->options->seed,
           balloon_sim_profile_name(o->options->profile));
    if (t->curves.count)
        printf("curves: %zu of %s, dealt out in turn: a synthetic pairing of demand and curves\n",
               t->curves.count, base_name(o->options->curves));
    else
        printf("curves: a built-in convex one for all guests\n");
    if (t->demand.scale.guessed)
        printf("values are fractions: 0 taken for %.0f MiB and 1 for %.0f, 20 and 90 %% of 16 GiB; "
               "see --scale-mib\n",
               t->demand.scale.floor_mib, t->demand.scale.ceil_mib);
    else if (t->demand.unit)
        printf("values are in %s\n", csv_unit_name(t->demand.unit));
    if (is_slow(t))
        printf("rows are %.0f s apart: decisions are once a second, and up to 10 s apart while "
               "nothing changes\n",
               (double)t->duration_ms / 1000 / (double)t->demand.rows);
    if (t->duration_ms < t->demand.rows * 1000)
        printf("rows are %.3f s apart, policies decide once a second\n",
               (double)t->duration_ms / 1000 / (double)t->demand.rows);
    if (t->raised)
        printf("%u of the guests want more than their capacity; their RAM is what they want\n",
               t->raised);
    if (t->parts > 1)
        printf("%zu parts, each with balloons anew, since the trace is that long\n", t->parts);
    if (o->best_known)
        printf("optimum: %.0f weighted misses, %s\n", o->best.cost / 1000,
               o->best.exact ? "which can be reached" : "a lower bound");
    if (o->best_known && !o->best.exact && !isnan(o->best.reached))
        printf("known to be possible: %.0f (steps of sizes up to %.1f MiB)\n",
               o->best.reached / 1000, whole_mib(o->best.unit));
    printf("\n%-20s %12s %9s %12s %11s %11s %5s %21s %8s %11s %6s\n", "policy", "cost", "regret",
           "over optimum", "swap-ins", "maj. faults", "OOM", "stalled >0.1/1/10 %", "turns/h",
           "churn MiB", "unsafe");
    for (size_t i = 0; i < o->count; i++) {
        const struct total *a = &o->totals[i];
        char regret[32] = "-", over[32] = "-", pressure[48];

        if (a->failed) {
            printf("%-20.20s failed\n", o->who[i].name);
            continue;
        }
        if (o->best_known) {
            snprintf(over, sizeof(over), "%.0f", ((double)a->sim.cost - o->best.cost) / 1000);
            if (o->best.cost > 0)
                snprintf(regret, sizeof(regret), "%.3f", (double)a->sim.cost / o->best.cost - 1);
        }
        snprintf(pressure, sizeof(pressure), "%.2f/%.2f/%.2f %%",
                 of_guest_time(a, 100 * a->pressure[0]), of_guest_time(a, 100 * a->pressure[1]),
                 of_guest_time(a, 100 * a->pressure[2]));
        printf("%-20.20s %12.0f %9s %12s %11llu %11llu %5llu %21s %8.1f %11.0f %6llu\n",
               o->who[i].name, (double)a->sim.cost / 1000, regret, over,
               (unsigned long long)a->sim.swap_ins, (unsigned long long)a->sim.major_faults,
               (unsigned long long)a->sim.oom_kills, pressure, reversals_per_hour(a), churn_mib(a),
               (unsigned long long)(a->sim.unsafe_growth + a->sim.unsafe_targets));
    }
    for (size_t i = 0; i < o->count; i++) {
        if (o->totals[i].sim.waiting_ms)
            printf("%s: guests waited %.1f s to be admitted\n", o->who[i].name,
                   (double)o->totals[i].sim.waiting_ms / 1000);
    }
}

static void put_json_input(const struct outcome *o)
{
    const struct trace *t = o->trace;

    printf("{\n  \"input\": {\"trace\": ");
    report_put_json(stdout, base_name(o->options->trace));
    printf(", \"rows\": %zu, \"seconds\": %.3f, \"parts\": %zu,\n", t->demand.rows,
           (double)t->duration_ms / 1000, t->parts);
    printf("    \"pool_mib\": %.0f, \"reserve_mib\": %.3f, \"ram_mib\": %.0f, "
           "\"demand_mean_mib\": %.1f, \"demand_peak_mib\": %.1f,\n",
           whole_mib(t->pool), whole_mib(t->pool / 16), whole_mib(t->ram), whole_mib(t->mean),
           whole_mib(t->peak));
    printf("    \"profile\": \"%s\", ", balloon_sim_profile_name(o->options->profile));
    printf("\"seed\": %llu, \"synthetic_pairing\": %s, \"curves\": ",
           (unsigned long long)o->options->seed, t->curves.count ? "true" : "false");
    report_put_json(stdout, t->curves.count ? base_name(o->options->curves) : "built-in, convex");
    if (t->demand.scale.set)
        printf(", \"scale_mib\": [%.3f, %.3f], \"scale_guessed\": %s", t->demand.scale.floor_mib,
               t->demand.scale.ceil_mib, t->demand.scale.guessed ? "true" : "false");
    if (t->demand.unit)
        printf(", \"unit\": \"%s\"", csv_unit_name(t->demand.unit));
    printf(",\n    \"guests\": [");
    for (uint32_t i = 0; i < t->guest_count; i++) {
        printf("%s{\"name\": ", i ? ", " : "");
        report_put_json(stdout, t->demand.names[t->guests[i].column]);
        printf(", \"ram_mib\": %.0f", whole_mib(t->guests[i].ram));
        if (t->guests[i].raised)
            printf(", \"capacity_mib\": %.3f", t->demand.capacity[t->guests[i].column]);
        if (t->curves.count) {
            printf(", \"curve\": ");
            report_put_json(stdout, t->curves.curves[i % t->curves.count].name);
        }
        printf("}");
    }
    printf("]},\n");
}

static void put_json(const struct outcome *o)
{
    put_json_input(o);
    printf("  \"optimum\": ");
    report_put_best(stdout, o->best_known ? &o->best : NULL);
    printf(",\n");
    printf("  \"policies\": [");
    for (size_t i = 0; i < o->count; i++) {
        const struct total *a = &o->totals[i];

        printf("%s\n    {\"policy\": ", i ? "," : "");
        report_put_json(stdout, o->who[i].name);
        printf(", \"failed\": %s, \"cost\": %.3f, ", a->failed ? "true" : "false",
               (double)a->sim.cost / 1000);
        if (o->best_known && !a->failed && o->best.cost > 0)
            printf("\"regret\": %.6f, ", (double)a->sim.cost / o->best.cost - 1);
        else
            printf("\"regret\": null, ");
        if (o->best_known && !a->failed)
            printf("\"over_optimum\": %.3f,\n", ((double)a->sim.cost - o->best.cost) / 1000);
        else
            printf("\"over_optimum\": null,\n");
        printf("     \"swap_ins\": %llu, \"major_faults\": %llu, \"oom_kills\": %llu, "
               "\"pressure\": [%.6f, %.6f, %.6f],\n",
               (unsigned long long)a->sim.swap_ins, (unsigned long long)a->sim.major_faults,
               (unsigned long long)a->sim.oom_kills, of_guest_time(a, a->pressure[0]),
               of_guest_time(a, a->pressure[1]), of_guest_time(a, a->pressure[2]));
        printf("     \"reversals_per_guest_hour\": %.3f, \"churn_mib\": %.1f, "
               "\"unsafe_growth\": %llu, \"unsafe_targets\": %llu, \"over_pool\": %llu, "
               "\"waiting_s\": %.3f}",
               reversals_per_hour(a), churn_mib(a), (unsigned long long)a->sim.unsafe_growth,
               (unsigned long long)a->sim.unsafe_targets, (unsigned long long)a->sim.over_pool,
               (double)a->sim.waiting_ms / 1000);
    }
    printf("\n  ]\n}\n");
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static struct run_how how_of(const struct outcome *o)
{
    struct run_how how = {.profile = o->options->profile};

    if (is_slow(o->trace)) {
        how.tick_ms = 1000;
        how.step_ms = 500;
        how.rest_ms = 10000;
    }
    return how;
}

static bool play(struct outcome *o, const struct trace_part *parts)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = o->trace->parts * (o->count + 1), k = 0;
    struct run_job *jobs = run_jobs_new(count);

    if (!jobs)
        return false;
    for (size_t i = 0; i <= o->count; i++) {
        for (size_t p = 0; p < o->trace->parts; p++)
            jobs[k++] = (struct run_job){.build = trace_build,
                                         .what = &parts[p],
                                         .seed = o->options->seed,
                                         .who = i < o->count ? &o->who[i] : NULL,
                                         .how = how_of(o)};
    }
    fflush(stdout);
    run_jobs(jobs, count, cpus > 0 && cpus < 64 ? (unsigned)cpus : 2, NULL);
    for (k = 0; k < count - o->trace->parts; k++)
        add_result(&o->totals[k / o->trace->parts], &jobs[k]);
    o->best_known = o->best.exact = true;
    for (; k < count; k++) {
        const struct run_best *best = &jobs[k].out.best;

        o->best_known = o->best_known && jobs[k].state == RUN_DONE;
        o->best.cost += best->cost;
        o->best.reached += best->reached;
        o->best.paced += best->paced;
        o->best.exact = o->best.exact && best->exact;
        o->best.phases += best->phases;
        o->best.unit = best->unit > o->best.unit ? best->unit : o->best.unit;
        o->best.units = best->units;
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct contestant who[CONTESTANTS_MAX];
    static struct total totals[CONTESTANTS_MAX];
    struct options options = {.policies = "all", .seed = 1, .profile = RUN_PROFILE};
    struct outcome o = {.options = &options, .who = who, .totals = totals};
    struct csv_error error = {""};
    struct trace_part *parts;
    struct trace trace;
    uint64_t failed = 0;
    char why[128];

    parse(argc, argv, &options);
    o.count = contestants_parse(options.policies, who, why, sizeof(why));
    if (!o.count)
        fail(why, "");
    if (!trace_load(&trace, options.trace, options.curves, &options.form, options.pool_mib,
                    &error)) {
        fprintf(stderr, "balloon-sim: %s\n", error.text);
        return 2;
    }
    o.trace = &trace;
    parts = calloc(trace.parts, sizeof(*parts));
    for (size_t i = 0; parts && i < trace.parts; i++)
        parts[i] = (struct trace_part){&trace, i};
    if (!parts || !play(&o, parts)) {
        perror("balloon-sim");
        return 1;
    }
    if (options.json)
        put_json(&o);
    else
        put_table(&o);
    for (size_t i = 0; i < o.count; i++)
        failed += totals[i].failed;
    free(parts);
    trace_free(&trace);
    return failed || !o.best_known || fflush(stdout) ? 1 : 0;
}
