/* policy-report: all policies on all scenarios, as a table, JSON and a page with pictures. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "trace_guests.h"

static const char usage[] =
    "Usage: policy-report [options]\n"
    "  --policy LIST     policies (all,oracle)\n"
    "  --scenarios LIST  such as S1,S6,S20 (all; S20 are the traces)\n"
    "  --seeds N         seeds 1 to N (3)\n"
    "  --jobs N          processes at a time (as many as processors)\n" RUN_PROFILE_USAGE
    "  --traces DIR      where the recorded traces are (bench/traces)\n"
    "  --out DIR         write report.json and report.html there (build/policies)\n"
    "  --table           only print the table\n"
    "  -q, --quiet       no progress\n" CONTESTANTS_USAGE;

struct options {
    const char *policies, *scenarios, *traces, *out;
    uint32_t seeds, profile;
    unsigned jobs;
    bool table, quiet;
};

static void fail(const char *what, const char *which)
{
    fprintf(stderr, "policy-report: %s%s\n%s", what, which, usage);
    exit(2);
}

static uint32_t number_of(const char *text, uint32_t most, const char *option)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || !value || value > most)
        fail("wrong number for ", option);
    return (uint32_t)value;
}

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option words[] = {
        {"policy", required_argument, NULL, 'p'},
        {"scenarios", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'n'},
        {"jobs", required_argument, NULL, 'j'},
        {"traces", required_argument, NULL, 'd'},
        {"out", required_argument, NULL, 'o'},
        {"table", no_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},
        {"profile", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "j:qh", words, NULL)) != -1) {
        switch (c) {
        case 'p':
            o->policies = optarg;
            break;
        case 'f':
            if (!run_profile(optarg, &o->profile))
                fail("no such profile: ", optarg);
            break;
        case 's':
            o->scenarios = optarg;
            break;
        case 'n':
            o->seeds = number_of(optarg, 64, "--seeds");
            break;
        case 'j':
            o->jobs = number_of(optarg, 256, "--jobs");
            break;
        case 'd':
            o->traces = optarg;
            break;
        case 'o':
            o->out = optarg;
            break;
        case 't':
            o->table = true;
            break;
        case 'q':
            o->quiet = true;
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
}

/* --- cases -------------------------------------------------------------------------------------
 */

static const balloon_scenario *build_number(const void *what, uint64_t seed, void **memory)
{
    const struct report_case *c = what;
    balloon_scenario_options o = {.size = sizeof(o),
                                  .number = c->number,
                                  .guests = c->guests,
                                  .seed = seed,
                                  .period_ms = c->period_ms};
    const balloon_scenario *scenario;
    balloon_layout layout;

    if (balloon_scenario_layout(&o, &layout) != BALLOON_OK ||
        (*memory = malloc(layout.bytes)) == NULL ||
        balloon_scenario_build(*memory, layout.bytes, &o, &scenario) != BALLOON_OK)
        return NULL;
    /* It is in our own memory. */
    if (c->calm)
        ((balloon_sim_guest *)scenario->guests)[scenario->guest_count - 1].phase_count = 1;
    return scenario;
}

static bool wanted(const char *list, uint32_t number)
{
    char name[8];
    size_t length = (size_t)snprintf(name, sizeof(name), "S%u", number);

    if (!list)
        return true;
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncasecmp(at, name, length) && (!at[length] || at[length] == ','))
            return true;
    }
    return false;
}

/* Name it after the scenario: S6/2s square. False when there is no such scenario. */
static bool name_case(struct report_case *c, const char *form)
{
    void *memory = NULL;
    const balloon_scenario *s = build_number(c, 1, &memory);

    if (s) {
        snprintf(c->name, sizeof(c->name), "S%u%s %s", c->number, form, s->name);
        snprintf(c->text, sizeof(c->text), "%s", s->text);
    }
    free(memory);
    return s != NULL;
}

static size_t add_numbers(const char *list, struct report_case *cases)
{
    size_t count = 0;

    for (uint32_t i = 1; i < 20; i++) {
        cases[count] = (struct report_case){.number = i};
        count += wanted(list, i) && name_case(&cases[count], "");
    }
    return count;
}

/* More forms of some scenarios, which count once all the same. */
static size_t add_forms(const char *list, struct report_case *cases)
{
    static const struct {
        const char *name;
        struct report_case form;
    } forms[] = {
        {"/2s", {.number = 6, .period_ms = 2000}},
        {"/10s", {.number = 6, .period_ms = 10000}},
        {"/30s", {.number = 6, .period_ms = 30000}},
        {"/120s", {.number = 6, .period_ms = 120000}},
        {"/calm", {.number = 8, .calm = true}},
        {"/1", {.number = 15, .guests = 1}},
        {"/10", {.number = 15, .guests = 10}},
        {"/1000", {.number = 15, .guests = 1000, .large = true}},
        {"/10000", {.number = 15, .guests = 10000, .large = true}},
        {"", {.number = 21}},
    };
    size_t count = 0;

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        cases[count] = forms[i].form;
        cases[count].more = true;
        count += wanted(list, forms[i].form.number) && name_case(&cases[count], forms[i].name);
    }
    return count;
}

/* Recorded demand, and where 0 and 1 of a file without units are taken to be. */
static const struct recorded {
    const char *name, *file, *text;
    struct csv_form form;
} recorded[] = {
    {"scout",
     "scout_ec2_a.csv",
     "Spark and Hadoop on cloud VMs, each with and without page cache.",
     {.unit = CSV_UNIT_MIB}},
    {"boutique",
     "nezha_onlineboutique_a.csv",
     "Containers of a shop on Kubernetes under load, with injected faults.",
     {.unit = CSV_UNIT_MIB}},
    {"train",
     "nezha_trainticket_a.csv",
     "Containers of a booking system, mostly flat and far below their limits.",
     {.unit = CSV_UNIT_MIB}},
    {"job",
     "prmon_atlas_job.csv",
     "One physics job; its pss, rss and virtual memory taken for three guests.",
     {.unit = CSV_UNIT_MIB}},
    {"servers",
     "smd_norm_3days.csv",
     "Production servers; shapes are real, 20 to 90 % of 16 GiB is our choice.",
     {.scale = {true, false, CSV_FLOOR_MIB, CSV_CEIL_MIB}}},
    {"lab", "lab_a_pss.csv", "Programs at work: resident memory.", {.unit = CSV_UNIT_MIB}},
    {"touched",
     "lab_a_referenced.csv",
     "Programs at work: pages touched in half a second.",
     {.unit = CSV_UNIT_MIB}},
};

#define RECORDED (sizeof(recorded) / sizeof(*recorded))

static struct trace traces[RECORDED];
static struct trace_part parts[RECORDED];

static const balloon_scenario *build_trace(const void *what, uint64_t seed, void **memory)
{
    return trace_build(((const struct report_case *)what)->trace, seed, memory);
}

static size_t add_traces(const char *directory, struct report_case *cases)
{
    char path[1024], curves[1024];
    struct csv_error error;

    snprintf(curves, sizeof(curves), "%s/mrc_lab_a.csv", directory);
    for (size_t i = 0; i < RECORDED; i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, recorded[i].file);
        if (!trace_load(&traces[i], path, curves, &recorded[i].form, 0, &error)) {
            fprintf(stderr, "policy-report: %s\n", error.text);
            exit(2);
        }
        parts[i] = (struct trace_part){&traces[i], 0};
        cases[i] = (struct report_case){.number = 20, .trace = &parts[i]};
        snprintf(cases[i].name, sizeof(cases[i].name), "S20 %s", recorded[i].name);
        snprintf(cases[i].text, sizeof(cases[i].text), "%s", recorded[i].text);
    }
    return RECORDED;
}

/* --- progress ----------------------------------------------------------------------------------
 */

static void progress(size_t done, size_t count)
{
    static size_t last;
    size_t percent = done * 100 / count;

    if (isatty(2)) {
        fprintf(stderr, "\r[%-50.*s] %zu/%zu%s", (int)(percent / 2),
                "##################################################", done, count,
                done == count ? "\n" : "");
    } else if (percent / 10 > last / 10) {
        fprintf(stderr, "policies: %zu of %zu runs\n", done, count);
    }
    last = percent;
}

static double clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Of large scenarios a seed must do. */
static bool skipped(const struct report *r, size_t c, uint32_t seed, size_t w)
{
    return r->cases[c].large &&
           (seed > 1 || w == r->who_count || r->who[w].policy == &run_oracle_policy);
}

/* Recorded demand that stays the same for ten seconds or more. */
static bool rests(const struct report_case *c)
{
    const struct trace_part *part = c->trace;

    return part && part->trace->duration_ms / part->trace->demand.rows >= 10000;
}

static void set_jobs(struct report *r)
{
    size_t k = 0;

    for (size_t c = 0; c < r->case_count; c++) {
        for (uint32_t seed = 1; seed <= r->seeds; seed++) {
            for (size_t w = 0; w <= r->who_count; w++)
                r->jobs[k++] = (struct run_job){
                    .build = r->cases[c].trace ? build_trace : build_number,
                    .what = &r->cases[c],
                    .seed = seed,
                    .who = w < r->who_count ? &r->who[w] : NULL,
                    .how = {.profile = r->profile, .rest_ms = rests(&r->cases[c]) ? 10000 : 0},
                    .state = skipped(r, c, seed, w) ? RUN_SKIPPED : RUN_WAITS};
        }
    }
}

static void make_directory(const char *path)
{
    char part[1024];

    for (const char *slash = path; slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (*part)
            mkdir(part, 0777);
    }
    mkdir(path, 0777);
}

static bool write_report(const struct report *r, const char *directory, const char *name,
                         void (*write)(const struct report *, FILE *))
{
    char path[1024];
    FILE *file;
    bool ok;

    make_directory(directory);
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "w");
    if (file)
        write(r, file);
    ok = file && !ferror(file);
    ok = file && !fclose(file) && ok;
    if (!ok)
        fprintf(stderr, "policy-report: %s: %s\n", path, strerror(errno));
    else
        printf("%s\n", path);
    return ok;
}

int main(int argc, char **argv)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.policies = "all,oracle",
                        .traces = "bench/traces",
                        .out = "build/policies",
                        .seeds = 3,
                        .profile = RUN_PROFILE,
                        .jobs = cpus > 0 && cpus < 256 ? (unsigned)cpus : 2};
    static struct contestant who[CONTESTANTS_MAX];
    static struct report_case cases[REPORT_CASES_MAX];
    struct report r = {.cases = cases, .who = who};
    char why[128];
    double start = clock_now();
    size_t count;

    parse(argc, argv, &o);
    r.seeds = o.seeds;
    r.profile = o.profile;
    r.who_count = contestants_parse(o.policies, who, why, sizeof(why));
    if (!r.who_count)
        fail(why, "");
    r.case_count = add_numbers(o.scenarios, cases);
    if (wanted(o.scenarios, 20))
        r.case_count += add_traces(o.traces, cases + r.case_count);
    r.case_count += add_forms(o.scenarios, cases + r.case_count);
    if (!r.case_count)
        fail("no such scenarios: ", o.scenarios ? o.scenarios : "");
    count = r.case_count * r.seeds * (r.who_count + 1);
    r.jobs = run_jobs_new(count);
    if (!r.jobs) {
        perror("policy-report");
        return 1;
    }
    set_jobs(&r);
    run_jobs(r.jobs, count, o.jobs, o.quiet ? NULL : progress);
    r.seconds = clock_now() - start;
    report_table(&r, stdout);
    if (o.table)
        return fflush(stdout) ? 1 : 0;
    return write_report(&r, o.out, "report.json", report_json) &&
                   write_report(&r, o.out, "report.html", report_html)
               ? 0
               : 1;
}
