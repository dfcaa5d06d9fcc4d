/* Limits of what a simulation accepts. */
#include "sim_p.h"

#define PAGES_MAX    ((uint64_t)1 << 40)
#define GUEST_MAX    ((uint64_t)1 << 33)
#define TIME_MAX     ((uint64_t)1000000000)
#define MISSES_MAX   ((uint64_t)10000000000u)
#define GUESTS_MAX   100000
#define POOL_MIN     1024
#define TICK_MAX     60000
#define REFILL_MAX   65536
#define SHARES_MAX   10000
#define MISS_US_MAX  1000000
#define STATS_MS_MAX 600000

static bool shape_valid(const balloon_curve *shape)
{
    const balloon_curve_point *p = shape->points;

    if (!p || !shape->count || shape->count > BALLOON_CURVE_POINTS_MAX)
        return false;
    for (uint32_t i = 0; i < shape->count; i++) {
        if (p[i].pages > BALLOON_SIM_ONE || p[i].misses > BALLOON_SIM_ONE ||
            (i && (p[i].pages <= p[i - 1].pages || p[i].misses > p[i - 1].misses)))
            return false;
    }
    return true;
}

static bool phases_valid(const balloon_scenario *s, const balloon_sim_guest *g)
{
    const balloon_sim_phase *p = g->phases;

    if (!p || !g->phase_count || p->at_ms)
        return false;
    for (uint32_t i = 0; i < g->phase_count; i++) {
        if (!p[i].pages || p[i].pages > GUEST_MAX || p[i].cold > GUEST_MAX ||
            p[i].misses > MISSES_MAX || p[i].curve >= s->curve_count || p[i].file > 1000 ||
            p[i].flags & ~(uint32_t)BALLOON_SIM_STREAM || (i && p[i].at_ms <= p[i - 1].at_ms))
            return false;
    }
    return !g->repeat_ms || g->repeat_ms > p[g->phase_count - 1].at_ms;
}

static bool guest_valid(const balloon_scenario *s, const balloon_sim_guest *g)
{
    uint64_t start = g->start ? g->start : g->max;

    return g->max && g->max <= GUEST_MAX && g->min <= start && start <= g->max &&
           g->floor <= g->max && g->swap <= PAGES_MAX && g->cache <= GUEST_MAX &&
           g->shares <= SHARES_MAX && g->weight <= SHARES_MAX && g->miss_us <= MISS_US_MAX &&
           g->refill <= REFILL_MAX && g->period_ms <= STATS_MS_MAX && g->age_ms <= STATS_MS_MAX &&
           g->jitter_ms <= STATS_MS_MAX && g->noise <= 1000 && g->loss <= 1000 &&
           g->manner <= BALLOON_SIM_THIEF && g->forgery <= BALLOON_SIM_NOISE &&
           (!g->depart_ms || g->depart_ms > g->arrive_ms) && g->boot_ms <= TIME_MAX &&
           phases_valid(s, g);
}

static bool event_valid(const balloon_scenario *s, const balloon_sim_event *e)
{
    switch (e->kind) {
    case BALLOON_SIM_POOL:
        return e->value >= POOL_MIN && e->value <= PAGES_MAX;
    case BALLOON_SIM_MANNER:
        return e->guest < s->guest_count && e->value <= BALLOON_SIM_THIEF;
    case BALLOON_SIM_FORGE:
        return e->guest < s->guest_count && e->value <= BALLOON_SIM_NOISE;
    default:
        return e->guest < s->guest_count && e->kind <= BALLOON_SIM_PIN && e->value <= 1;
    }
}

static bool scenario_valid(const balloon_scenario *s)
{
    if (!s || s->pages < POOL_MIN || s->pages > PAGES_MAX || s->reserve >= s->pages ||
        !s->duration_ms || s->duration_ms > TIME_MAX || !s->guest_count ||
        s->guest_count > GUESTS_MAX || !s->guests || !s->curves || (s->event_count && !s->events))
        return false;
    for (uint32_t i = 0; i < s->curve_count; i++) {
        if (!shape_valid(&s->curves[i]))
            return false;
    }
    for (uint32_t i = 0; i < s->guest_count; i++) {
        if (!guest_valid(s, &s->guests[i]))
            return false;
    }
    for (uint32_t i = 0; i < s->event_count; i++) {
        if (!event_valid(s, &s->events[i]) || (i && s->events[i].at_ms < s->events[i - 1].at_ms))
            return false;
    }
    return true;
}

const char *bl_sim_config_fault(const balloon_sim_config *c)
{
    const balloon_sim_actuator *a;

    if (!c || (!bl_sized(c, sizeof(*c)) && c->size != offsetof(balloon_sim_config, profile)))
        return "size: not sizeof(balloon_sim_config), or fields of a later version are set";
    if (!scenario_valid(c->scenario))
        return "scenario: NULL, or something in it is out of its limits";
    if (c->tick_ms > TICK_MAX)
        return "tick_ms: more than 60000";
    if (c->step_ms > TICK_MAX)
        return "step_ms: more than 60000";
    if (c->record_ms > TIME_MAX)
        return "record_ms: more than 10^9";
    if (c->record_count && !c->records)
        return "records: NULL, though record_count is not 0";
    if (c->size >= sizeof(*c) && c->profile > BALLOON_SIM_CURVES)
        return "profile: no such profile";
    if (c->size >= sizeof(*c) && c->rest_ms > TICK_MAX)
        return "rest_ms: more than 60000";
    a = c->actuator;
    if (a && !(bl_sized(a, sizeof(*a)) && a->bytes && a->init && a->move))
        return "actuator: of another version, or without one of its functions";
    return NULL;
}
