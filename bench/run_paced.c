/* What balloons of limited speed can reach at best, for one guest or two. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/optimum.h>

#include "run_optimum.h"

#define GUESTS     2
#define UNITS      160
#define STEP_UNITS 4    /* that a balloon moves in a step of time at least, or it is too fast */
#define STEPS_MOST 4000 /* one costs a look at UNITS^2 pairs of sizes */

struct paced {
    balloon_optimum_path path;
    balloon_optimum_guest *guests; /* of each phase */
    balloon_curve_point (*points)[BALLOON_CURVE_POINTS_MAX];
    uint32_t *steps;
};

static bool start(struct paced *p, uint32_t count, uint64_t phases)
{
    p->guests = calloc(phases * count, sizeof(*p->guests));
    p->points = calloc(phases * count, sizeof(*p->points));
    p->steps = calloc(phases, sizeof(*p->steps));
    p->path.guests = p->guests;
    p->path.steps = p->steps;
    p->path.count = count;
    return p->guests && p->points && p->steps;
}

static void drop(struct paced *p)
{
    free(p->guests);
    free(p->points);
    free(p->steps);
}

/* The truth of now as one more phase; false when a guest is not there. */
static bool add_phase(struct paced *p, const balloon_sim *sim)
{
    for (uint32_t i = 0; i < p->path.count; i++) {
        size_t at = (size_t)p->path.phases * p->path.count + i;
        balloon_sim_truth truth;

        if (balloon_sim_truth_get(sim, i, &truth) != BALLOON_OK || !truth.present)
            return false;
        memcpy(p->points[at], truth.curve.points, truth.curve.count * sizeof(*truth.curve.points));
        p->guests[at] = (balloon_optimum_guest){
            {p->points[at], truth.curve.count}, truth.weight, truth.min, truth.max};
    }
    p->path.phases++;
    return true;
}

/* The faster of two decides, so that it stays a bound. Returns how long a step is. */
static uint64_t set_speed(struct paced *p, const balloon_scenario *s)
{
    uint64_t inflate = 0, deflate = 0, least = 0, step;

    for (uint32_t i = 0; i < s->guest_count; i++) {
        const balloon_sim_guest *g = &s->guests[i];
        uint64_t in = g->inflate ? g->inflate : 25600, out = g->deflate ? g->deflate : 204800;

        inflate = in > inflate ? in : inflate;
        deflate = out > deflate ? out : deflate;
        least += g->min;
    }
    p->path.unit = p->path.budget > least ? (p->path.budget - least) / UNITS + 1 : 1;
    step = STEP_UNITS * p->path.unit / inflate + 1;
    p->path.shrink = (uint32_t)(inflate * step / p->path.unit + 1);
    p->path.grow = (uint32_t)(deflate * step / p->path.unit + 1);
    return step * 1000;
}

static bool gather(struct paced *p, balloon_sim *sim, uint64_t step_ms, uint64_t duration_ms)
{
    uint64_t change = 0;

    for (uint64_t now = 0; now < duration_ms; now += step_ms) {
        balloon_sim_run(sim, now);
        if (balloon_sim_budget(sim) != p->path.budget)
            return false;
        if (now >= change && !add_phase(p, sim))
            return false;
        change = balloon_sim_next_change(sim);
        p->steps[p->path.phases - 1]++;
    }
    return true;
}

double run_paced(balloon_sim *sim, const balloon_scenario *s)
{
    struct paced p = {0};
    double result = NAN;
    void *scratch = NULL;
    uint64_t step_ms, cost;
    size_t bytes;

    p.path.budget = balloon_sim_budget(sim);
    step_ms = set_speed(&p, s);
    if (s->guest_count > GUESTS || s->duration_ms / step_ms > STEPS_MOST)
        return NAN;
    if (start(&p, s->guest_count, s->duration_ms / step_ms + 1) &&
        gather(&p, sim, step_ms, s->duration_ms) &&
        (bytes = balloon_optimum_paced_bytes(&p.path)) < SIZE_MAX &&
        (scratch = malloc(bytes)) != NULL &&
        balloon_optimum_paced(&p.path, scratch, bytes, &cost, NULL) == BALLOON_OK)
        result = (double)cost * (double)step_ms / 1e6;
    free(scratch);
    drop(&p);
    return result;
}
