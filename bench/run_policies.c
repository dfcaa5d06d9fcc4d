#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <balloon/optimum.h>

#include "run_policies.h"

/* --- one policy --------------------------------------------------------------------------------
 */

static uint32_t mib(uint64_t pages)
{
    return (uint32_t)(pages / BALLOON_SIM_MIB);
}

/* Guest time that was stalled, so far, in 10^-6 ms. */
static double stalled(const balloon_sim *sim, uint64_t *guest_ms)
{
    balloon_sim_result r;

    balloon_sim_result_get(sim, &r);
    *guest_ms = r.guest_ms;
    return (double)r.stall_mean * (double)r.guest_ms;
}

static void plot_column(const balloon_sim *sim, uint32_t guests, struct run_plot *plot, uint32_t x)
{
    uint64_t size[PLOT_GUESTS] = {0}, need = 0;

    for (uint32_t i = 0; i < guests; i++) {
        balloon_sim_guest_status status;
        balloon_sim_truth truth;

        if (balloon_sim_guest_get(sim, i, &status) != BALLOON_OK ||
            balloon_sim_truth_get(sim, i, &truth) != BALLOON_OK)
            continue;
        size[i < PLOT_GUESTS ? i : PLOT_GUESTS - 1] += status.size;
        if (truth.present && truth.curve.count)
            need += truth.curve.points[truth.curve.count - 1].pages;
    }
    for (uint32_t i = 0; i < plot->guests; i++)
        plot->size[x][i] = mib(size[i]);
    plot->need[x] = mib(need);
    plot->budget[x] = mib(balloon_sim_budget(sim));
}

static void run_and_plot(balloon_sim *sim, const balloon_scenario *s, struct run_plot *plot)
{
    uint64_t time = 0, last_time;
    double stall = 0, last_stall;

    plot->columns = PLOT_COLUMNS;
    plot->guests = s->guest_count < PLOT_GUESTS ? s->guest_count : PLOT_GUESTS;
    for (uint32_t x = 0; x < PLOT_COLUMNS; x++) {
        balloon_sim_run(sim, s->duration_ms * (x + 1) / PLOT_COLUMNS);
        plot_column(sim, s->guest_count, plot, x);
        last_time = time;
        last_stall = stall;
        stall = stalled(sim, &time);
        if (time > last_time && stall > last_stall)
            plot->stall[x] = (uint32_t)((stall - last_stall) / (double)(time - last_time));
        else
            plot->stall[x] = 0;
    }
}

bool run_policy(const balloon_scenario *s, const struct contestant *who, uint64_t seed,
                balloon_sim_result *result, struct run_plot *plot)
{
    balloon_sim_config config = {
        .size = sizeof(config),
        .scenario = s,
        .pool = {.policy = who->policy, .knobs = contestant_knobs(who)},
        .seed = seed,
    };
    /* Convergence is measured from records; only few scenarios have it. */
    size_t records = s->step_ms ? (size_t)(s->duration_ms / 1000 + 1) * s->guest_count : 0;
    balloon_layout layout;
    balloon_sim *sim;
    void *memory = NULL;
    bool ok = false;

    if (records) {
        config.records = calloc(records, sizeof(*config.records));
        config.record_count = config.records ? records : 0;
    }
    if (balloon_sim_layout(&config, &layout) == BALLOON_OK &&
        (memory = aligned_alloc(layout.align, (layout.bytes + layout.align - 1) / layout.align *
                                                  layout.align)) != NULL &&
        balloon_sim_init(memory, layout.bytes, &config, &sim) == BALLOON_OK) {
        if (plot)
            run_and_plot(sim, s, plot);
        balloon_sim_run(sim, s->duration_ms);
        balloon_sim_result_get(sim, result);
        ok = true;
    }
    free(memory);
    free(config.records);
    return ok;
}

/* --- the optimum -------------------------------------------------------------------------------
 */

#define UNITS_MOST  1024
#define UNITS_LEAST 128
#define WORK_MOST   3e9  /* inner steps of the dynamic programming */
#define MEMO        4096 /* divisions that are remembered: square waves come back */

struct memo {
    uint64_t key;
    balloon_optimum_result value;
};

struct best_maker {
    balloon_optimum_guest *guests;
    uint32_t count;
    struct memo *memo;
    void *scratch;
    size_t scratch_bytes;
};

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t hash_of(const struct best_maker *m, uint64_t budget)
{
    uint64_t hash = mix(mix(1, budget), m->count);

    for (uint32_t i = 0; i < m->count; i++) {
        const balloon_optimum_guest *g = &m->guests[i];

        hash = mix(mix(mix(hash, g->weight), g->min), g->max);
        for (uint32_t k = 0; k < g->curve.count; k++)
            hash = mix(mix(hash, g->curve.points[k].pages), g->curve.points[k].misses);
    }
    return hash;
}

/* The guests that are there now. */
static void gather(struct best_maker *m, const balloon_sim *sim, uint32_t guests)
{
    m->count = 0;
    for (uint32_t i = 0; i < guests; i++) {
        balloon_sim_truth truth;

        if (balloon_sim_truth_get(sim, i, &truth) == BALLOON_OK && truth.present)
            m->guests[m->count++] =
                (balloon_optimum_guest){truth.curve, truth.weight, truth.min, truth.max};
    }
}

/* The step of sizes: memory above the minimums in so many parts, of numbers near that the one which
 * leaves the smallest rest, since that is lost. */
static uint64_t unit_of(uint64_t pages, uint64_t units)
{
    uint64_t best = pages / units, rest = UINT64_MAX;

    for (uint64_t k = units; k > units - units / 8; k--) {
        uint64_t unit = pages / k;

        if (unit && pages % unit < rest && pages / unit <= units) {
            best = unit;
            rest = pages % unit;
        }
    }
    return best ? best : 1;
}

static bool divide(struct best_maker *m, uint64_t budget, struct run_best *best,
                   balloon_optimum_result *to)
{
    uint64_t key = hash_of(m, budget), least = 0, unit;
    struct memo *memo = &m->memo[key % MEMO];
    size_t bytes;

    if (memo->key != key) {
        /* While a host shrinks, minimums may not fit; then nobody can do better than these. */
        for (uint32_t i = 0; i < m->count; i++)
            least += m->guests[i].min;
        budget = budget > least ? budget : least;
        unit = unit_of(budget - least, best->units);
        best->unit = unit > best->unit ? unit : best->unit;
        bytes = balloon_optimum_bytes(m->count, budget, unit);
        if (bytes > m->scratch_bytes) {
            free(m->scratch);
            m->scratch = bytes < SIZE_MAX ? malloc(bytes) : NULL;
            m->scratch_bytes = m->scratch ? bytes : 0;
        }
        if (!m->scratch || balloon_optimum(m->guests, m->count, budget, unit, m->scratch,
                                           m->scratch_bytes, NULL, &memo->value) != BALLOON_OK) {
            memo->key = 0;
            return false;
        }
        memo->key = key;
    }
    *to = memo->value;
    return true;
}

/* How many times something changes: what it costs to solve all of them. */
static uint64_t count_phases(balloon_sim *sim, const balloon_scenario *s)
{
    uint64_t count = 0;

    while (balloon_sim_now(sim) < s->duration_ms) {
        balloon_sim_run(sim, balloon_sim_next_change(sim));
        count++;
    }
    return count;
}

static uint64_t units_for(const balloon_scenario *s, uint64_t phases)
{
    uint64_t units = UNITS_MOST;

    while (units > UNITS_LEAST &&
           (double)phases * s->guest_count * (double)(units * units) / 2 > WORK_MOST)
        units /= 2;
    return units;
}

static bool add_phases(struct best_maker *m, balloon_sim *sim, const balloon_scenario *s,
                       struct run_best *best)
{
    while (balloon_sim_now(sim) < s->duration_ms) {
        uint64_t now = balloon_sim_now(sim), next = balloon_sim_next_change(sim);
        balloon_optimum_result r;

        gather(m, sim, s->guest_count);
        if (!divide(m, balloon_sim_budget(sim), best, &r))
            return false;
        /* Misses in 1000 s, weighted by thousandths, for so many ms. */
        best->cost += (double)r.cost * (double)(next - now) / 1e6;
        best->bound += (double)r.bound * (double)(next - now) / 1e6;
        balloon_sim_run(sim, next);
    }
    return true;
}

bool run_optimum(const balloon_scenario *s, struct run_best *best)
{
    balloon_sim_config config = {
        .size = sizeof(config), .scenario = s, .pool = {.policy = &balloon_policy_fixed}};
    struct best_maker m = {0};
    balloon_layout layout;
    balloon_sim *sim;
    void *memory = NULL;
    bool ok = false;

    *best = (struct run_best){0};
    m.guests = calloc(s->guest_count, sizeof(*m.guests));
    m.memo = calloc(MEMO, sizeof(*m.memo));
    if (m.guests && m.memo && balloon_sim_layout(&config, &layout) == BALLOON_OK &&
        (memory = aligned_alloc(layout.align, (layout.bytes + layout.align - 1) / layout.align *
                                                  layout.align)) != NULL &&
        balloon_sim_init(memory, layout.bytes, &config, &sim) == BALLOON_OK) {
        best->phases = count_phases(sim, s);
        best->units = units_for(s, best->phases);
        ok = balloon_sim_init(memory, layout.bytes, &config, &sim) == BALLOON_OK &&
             add_phases(&m, sim, s, best);
    }
    free(m.guests);
    free(m.memo);
    free(m.scratch);
    free(memory);
    return ok;
}

/* --- many --------------------------------------------------------------------------------------
 */

static bool run_job(struct run_job *job)
{
    bool curves = job->who && job->who->curves, ok;
    void *memory = NULL;
    const balloon_scenario *s =
        job->build(job->what, job->seed, curves ? (uint32_t)BALLOON_SIM_HOST_CURVE : 0, &memory);

    if (!s)
        ok = false;
    else if (job->who)
        ok = run_policy(s, job->who, job->seed, &job->out.result.sim, &job->out.result.plot);
    else
        ok = run_optimum(s, &job->out.best);
    free(memory);
    return ok;
}

struct run_job *run_jobs_new(size_t count)
{
    void *memory = mmap(NULL, count * sizeof(struct run_job), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void run_jobs(struct run_job *jobs, size_t count, unsigned workers,
              void (*progress)(size_t done, size_t count))
{
    size_t started = 0, done = 0, running = 0;

    while (done < count) {
        if (started < count && running < workers) {
            pid_t child = fork();

            if (child == 0)
                _exit(run_job(&jobs[started]) ? (jobs[started].state = RUN_DONE, 0) : 1);
            /* Without a process to be had, at least go on alone. */
            if (child < 0) {
                if (run_job(&jobs[started]))
                    jobs[started].state = RUN_DONE;
                done++;
            } else {
                running++;
            }
            started++;
            if (child > 0)
                continue;
        } else if (wait(NULL) > 0) {
            running--;
            done++;
        }
        if (progress)
            progress(done, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (jobs[i].state != RUN_DONE)
            jobs[i].state = RUN_FAILED;
    }
}
