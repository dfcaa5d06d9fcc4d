/* The best that could have been done: at once, by the offline optimum; and through balloons, by an
 * oracle that wishes what the optimum has. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <balloon/optimum.h>

#include "run_optimum.h"

#define UNITS_MOST   1024
#define UNITS_LEAST  128
#define UNITS_ORACLE 256
#define UNITS_GREEDY 8192 /* for convex curves, which are no work */
#define WORK_MOST    3e9  /* inner steps of the dynamic programming */
#define MEMO         4096 /* divisions that are remembered: square waves come back */

struct memo {
    uint64_t key;
    balloon_optimum_result value;
};

struct best_maker {
    balloon_optimum_guest *guests;
    uint32_t *places; /* which guests of the scenario they are */
    uint32_t count, most;
    struct memo *memo;
    uint64_t *sizes; /* for each memo, those of its guests; NULL when nobody asks */
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
static void gather(struct best_maker *m, const balloon_sim *sim)
{
    m->count = 0;
    for (uint32_t i = 0; i < m->most; i++) {
        balloon_sim_truth truth;

        if (balloon_sim_truth_get(sim, i, &truth) == BALLOON_OK && truth.present) {
            m->places[m->count] = i;
            m->guests[m->count++] =
                (balloon_optimum_guest){truth.curve, truth.weight, truth.min, truth.max};
        }
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

static uint64_t *sizes_of(const struct best_maker *m, const struct memo *memo)
{
    return m->sizes ? m->sizes + (size_t)(memo - m->memo) * m->most : NULL;
}

/* Where guests are many or unlike, a step should not be more than a sixteenth of the smallest. */
static uint64_t units_of(const struct best_maker *m, uint64_t pages, uint64_t units)
{
    uint64_t smallest = UINT64_MAX;

    for (uint32_t i = 0; i < m->count; i++) {
        uint64_t range = m->guests[i].max - m->guests[i].min;

        smallest = range && range < smallest ? range : smallest;
    }
    while (units < UNITS_GREEDY && pages / units > smallest / 16)
        units *= 2;
    return units;
}

static bool solve(struct best_maker *m, uint64_t budget, uint64_t unit, struct memo *memo)
{
    size_t bytes = balloon_optimum_bytes(m->count, budget, unit);

    if (bytes > m->scratch_bytes) {
        free(m->scratch);
        m->scratch = bytes < SIZE_MAX ? malloc(bytes) : NULL;
        m->scratch_bytes = m->scratch ? bytes : 0;
    }
    return m->scratch &&
           balloon_optimum(m->guests, m->count, budget, unit, m->scratch, m->scratch_bytes,
                           sizes_of(m, memo), &memo->value) == BALLOON_OK;
}

/* NULL when it cannot be done. */
static const struct memo *divide(struct best_maker *m, uint64_t budget, struct run_best *best)
{
    uint64_t key = hash_of(m, budget), least = 0, unit, units = best->units;
    struct memo *memo = &m->memo[key % MEMO];

    if (memo->key != key) {
        memo->key = 0;
        /* While a host shrinks, minimums may not fit; then nobody can do better than these. */
        for (uint32_t i = 0; i < m->count; i++)
            least += m->guests[i].min;
        budget = budget > least ? budget : least;
        /* In one step, for the bound alone: it is all there is to know when it is exact. */
        if (!solve(m, budget, budget + 1, memo))
            return NULL;
        if (memo->value.exact && m->sizes)
            units = units_of(m, budget - least, units);
        if (units && (!memo->value.exact || m->sizes)) {
            unit = unit_of(budget - least, units);
            best->unit = unit > best->unit ? unit : best->unit;
            if (!solve(m, budget, unit, memo))
                return NULL;
        }
        memo->key = key;
    }
    return memo;
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

/* 0 when it is too much work. */
static uint64_t units_for(const balloon_scenario *s, uint64_t phases)
{
    uint64_t units = UNITS_MOST;

    while (units >= UNITS_LEAST &&
           (double)phases * s->guest_count * (double)(units * units) / 2 > WORK_MOST)
        units /= 2;
    return units >= UNITS_LEAST ? units : 0;
}

static bool add_phases(struct best_maker *m, balloon_sim *sim, const balloon_scenario *s,
                       struct run_best *best)
{
    while (balloon_sim_now(sim) < s->duration_ms) {
        uint64_t now = balloon_sim_now(sim), next = balloon_sim_next_change(sim);
        const struct memo *memo;
        double bound, grid;

        gather(m, sim);
        memo = divide(m, balloon_sim_budget(sim), best);
        if (!memo)
            return false;
        /* Misses in 1000 s, weighted by thousandths, for so many ms. */
        bound = (double)memo->value.bound * (double)(next - now) / 1e6;
        grid = best->units ? (double)memo->value.cost * (double)(next - now) / 1e6 : (double)NAN;
        best->cost += bound;
        best->reached += memo->value.exact ? bound : grid;
        best->exact = best->exact && memo->value.exact;
        balloon_sim_run(sim, next);
    }
    return true;
}

static void drop(struct best_maker *m)
{
    free(m->guests);
    free(m->places);
    free(m->memo);
    free(m->sizes);
    free(m->scratch);
}

static bool start(struct best_maker *m, uint32_t guests, bool sizes)
{
    *m = (struct best_maker){.most = guests};
    m->guests = calloc(guests, sizeof(*m->guests));
    m->places = calloc(guests, sizeof(*m->places));
    m->memo = calloc(MEMO, sizeof(*m->memo));
    if (sizes)
        m->sizes = calloc((size_t)MEMO * guests, sizeof(*m->sizes));
    return m->guests && m->places && m->memo && (m->sizes || !sizes);
}

/* What guests say and what is in their memory is no part of the truth, and costs the most time. */
static balloon_sim_guest *mute(const balloon_scenario *s)
{
    balloon_sim_guest *guests = malloc(s->guest_count * sizeof(*guests));

    for (uint32_t i = 0; guests && i < s->guest_count; i++) {
        guests[i] = s->guests[i];
        guests[i].sends = BALLOON_SIM_SENDS_NONE;
        guests[i].period_ms = 600000;
        guests[i].flags &= (uint32_t)BALLOON_SIM_NO_DRIVER;
        guests[i].swap = UINT64_C(1) << 40;
        guests[i].refill = 0;
        guests[i].cache = 0;
    }
    return guests;
}

bool run_optimum(const balloon_scenario *s, struct run_best *best)
{
    balloon_scenario quiet = *s;
    balloon_sim_config config = {.size = sizeof(config),
                                 .scenario = &quiet,
                                 .pool = {.policy = &balloon_policy_fixed},
                                 .tick_ms = 60000};
    balloon_sim_guest *guests = mute(s);
    struct best_maker m;
    balloon_layout layout;
    balloon_sim *sim;
    void *memory = NULL;
    bool ok = false;

    *best = (struct run_best){0};
    quiet.guests = guests;
    if (start(&m, s->guest_count, false) && guests &&
        balloon_sim_layout(&config, &layout) == BALLOON_OK &&
        (memory = aligned_alloc(layout.align, (layout.bytes + layout.align - 1) / layout.align *
                                                  layout.align)) != NULL &&
        balloon_sim_init(memory, layout.bytes, &config, &sim) == BALLOON_OK) {
        best->phases = count_phases(sim, s);
        best->units = units_for(s, best->phases);
        best->exact = true;
        ok = balloon_sim_init(memory, layout.bytes, &config, &sim) == BALLOON_OK &&
             add_phases(&m, sim, s, best) &&
             balloon_sim_init(memory, layout.bytes, &config, &sim) == BALLOON_OK;
        if (ok)
            best->paced = run_paced(sim, s);
    }
    drop(&m);
    free(guests);
    free(memory);
    return ok;
}

/* --- the oracle --------------------------------------------------------------------------------
 */

struct run_oracle {
    struct best_maker maker;
    struct run_best best;
    const balloon_sim *sim;
};

struct run_oracle *run_oracle_new(uint32_t guests)
{
    struct run_oracle *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    o->best.units = UNITS_ORACLE;
    if (!start(&o->maker, guests, true)) {
        run_oracle_free(o);
        return NULL;
    }
    return o;
}

void run_oracle_watch(struct run_oracle *oracle, const balloon_sim *sim)
{
    oracle->sim = sim;
}

void run_oracle_free(struct run_oracle *oracle)
{
    if (oracle)
        drop(&oracle->maker);
    free(oracle);
}

static bool begin(void *state, const void *knobs)
{
    *(const void **)state = knobs;
    return knobs != NULL;
}

/* What the optimum leaves over stays where it is. */
static void wish(const balloon_guest_view *g, uint64_t best, uint64_t *rest, balloon_wish *wish)
{
    uint64_t more = g->target > best ? g->target - best : 0;

    more = more < *rest ? more : *rest;
    *rest -= more;
    wish->target = best + more;
    wish->why = BALLOON_WHY_DEMAND;
    wish->urgency = g->stall;
}

static void foretell(void *state, const balloon_view *view, balloon_wish *wishes)
{
    struct run_oracle *o = *(struct run_oracle **)state;
    struct best_maker *m = &o->maker;
    uint64_t budget = balloon_sim_budget(o->sim), rest = budget;
    const struct memo *memo;
    const uint64_t *sizes;

    gather(m, o->sim);
    memo = divide(m, budget, &o->best);
    if (!memo)
        return;
    sizes = sizes_of(m, memo);
    for (uint32_t i = 0; i < m->count; i++)
        rest -= sizes[i] < rest ? sizes[i] : rest;
    for (uint32_t i = 0; i < m->count; i++) {
        balloon_sim_guest_status status;

        if (balloon_sim_guest_get(o->sim, m->places[i], &status) != BALLOON_OK || !status.present)
            continue;
        for (uint32_t k = 0; k < view->guest_count; k++) {
            if (view->guests[k].id == status.id)
                wish(&view->guests[k], sizes[i], &rest, &wishes[k]);
        }
    }
}

const balloon_policy run_oracle_policy = {
    .size = sizeof(run_oracle_policy),
    .name = "oracle",
    .state_bytes = sizeof(void *),
    .init = begin,
    .decide = foretell,
};
