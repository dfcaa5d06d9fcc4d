#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

static double others_stall(const balloon_sim *sim, uint32_t guests)
{
    double time = 0, stall = 0;

    for (uint32_t i = 0; i + 1 < guests; i++) {
        balloon_sim_guest_result r;

        if (balloon_sim_guest_result_get(sim, i, &r) != BALLOON_OK)
            continue;
        time += (double)r.time_ms;
        stall += (double)r.time_ms * (double)r.stall_mean / 1e6;
    }
    return time > 0 ? stall / time : 0;
}

bool run_profile(const char *name, uint32_t *profile)
{
    for (uint32_t i = BALLOON_SIM_VIRTIO; i <= BALLOON_SIM_CURVES; i++) {
        if (!strcmp(name, balloon_sim_profile_name(i))) {
            *profile = i;
            return true;
        }
    }
    return false;
}

bool run_policy(const balloon_scenario *s, const struct contestant *who, struct run_how how,
                uint64_t seed, struct run_result *result)
{
    struct run_oracle *oracle =
        who->policy == &run_oracle_policy ? run_oracle_new(s->guest_count) : NULL;
    balloon_sim_config config = {
        .size = sizeof(config),
        .scenario = s,
        .pool = {.policy = who->policy, .knobs = oracle ? oracle : contestant_knobs(who)},
        .seed = seed,
        .profile = who->curves ? (uint32_t)BALLOON_SIM_CURVES : how.profile,
        .tick_ms = how.tick_ms,
        .step_ms = how.step_ms,
        .rest_ms = how.rest_ms,
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
        if (oracle)
            run_oracle_watch(oracle, sim);
        run_and_plot(sim, s, &result->plot);
        balloon_sim_run(sim, s->duration_ms);
        balloon_sim_result_get(sim, &result->sim);
        result->others_stall = others_stall(sim, s->guest_count);
        ok = true;
    }
    run_oracle_free(oracle);
    free(memory);
    free(config.records);
    return ok;
}

/* --- many --------------------------------------------------------------------------------------
 */

static bool run_job(struct run_job *job)
{
    bool ok;
    void *memory = NULL;
    const balloon_scenario *s = job->build(job->what, job->seed, &memory);

    if (!s)
        ok = false;
    else if (job->who)
        ok = run_policy(s, job->who, job->how, job->seed, &job->out.result);
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
        if (started < count && jobs[started].state == RUN_SKIPPED) {
            started++;
            done++;
        } else if (started < count && running < workers) {
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
        if (jobs[i].state == RUN_WAITS)
            jobs[i].state = RUN_FAILED;
    }
}
