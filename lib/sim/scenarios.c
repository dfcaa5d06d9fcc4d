/* The built-in scenarios: memory, and how guests and phases are drawn. */
#include <string.h>

#include "scenario_p.h"

#define GUESTS_MAX 10000

/* What is usual for a scenario. */
struct plan {
    const char *name, *text;
    uint32_t guests, least; /* usual, and at least */
    uint32_t duration;      /* s */
    uint32_t events;        /* at most */
};

static const struct plan plans[BALLOON_SCENARIOS] = {
    {"steady", "Equal guests, and nothing changes.", 8, 1, 1800, 0},
    {"shares", "Equal guests with unequal shares, and nothing changes.", 8, 1, 1800, 0},
    {"step", "One guest needs much more at once.", 8, 4, 1800, 0},
    {"steps", "One guest after the other needs much more for a while.", 8, 1, 3600, 0},
    {"surge", "All guests at once want 1.5 times the pool.", 8, 1, 1800, 0},
    {"square", "Needs go up and down like a square wave.", 8, 1, 1800, 0},
    {"leak", "One guest leaks memory until it has used up all it can have.", 8, 1, 1800, 0},
    {"stream", "One guest reads large files once.", 8, 4, 1800, 0},
    {"cliffs", "Guests need all of their working set or miss all the time.", 8, 1, 3600, 0},
    {"storm", "Guests arrive in a storm, and some depart.", 16, 1, 3600, 0},
    {"balloons", "Balloons are stuck, slow, half-obedient, or take memory back.", 12, 4, 3600, 1},
    {"statistics", "Statistics are old, missing, reset and forged.", 16, 4, 3600, 0},
    {"minimums", "The minimums of all nearly fill the pool.", 8, 1, 1800, 0},
    {"giant", "One guest has 1000 times the RAM and the shares of the others.", 9, 4, 1800, 0},
    {"crowd", "Any number of guests.", 2, 1, 1800, 0},
    {"host", "The host itself needs memory for a while.", 8, 1, 2400, 40},
    {"migration", "Migrations pin guests for minutes.", 8, 4, 3600, 16},
    {"hoarders", "Half of the guests hold what they do not use; the others are short.", 8, 4, 1800,
     0},
    {"days", "Needs go up and down as by day and night.", 8, 1, 3600, 0},
    {"trace", "Recorded demand.", 0, 0, 0, 0},
    {"hog", "A hog goes from guest to guest; each has little to spare.", 3, 2, 122, 0},
};

/* --- drawing ---------------------------------------------------------------------------------- */

uint64_t bl_draw(struct bl_maker *m, uint64_t low, uint64_t high)
{
    return low + bl_sim_below(&m->random, (uint32_t)(high - low + 1));
}

uint32_t bl_draw_curve(struct bl_maker *m, uint32_t first, uint32_t last)
{
    return (uint32_t)bl_draw(m, first, last);
}

balloon_sim_guest *bl_make_guest(struct bl_maker *m, uint32_t i, uint64_t ram)
{
    static const uint8_t gib[] = {1, 2, 2, 4, 4, 4, 8, 8, 16};
    balloon_sim_guest *g = &m->guests[i];

    g->max = ram ? ram : gib[bl_draw(m, 0, sizeof(gib) - 1)] * BALLOON_SIM_GIB;
    g->min = g->floor = g->max >> 3;
    g->swap = g->max;
    g->cache = (uint32_t)bl_draw(m, 1, 20) * BALLOON_SIM_MIB;
    g->refill = 8;
    g->inflate = (uint32_t)(bl_draw(m, 40, 200) * BALLOON_SIM_MIB);
    g->sends = m->options->sends ? m->options->sends : BALLOON_SIM_SENDS_ALL;
    g->flags = m->options->flags | BALLOON_SIM_HOST_ACTIVE;
    /* Most guests answer at once; some are slow for life. */
    g->age_ms = bl_draw(m, 0, 1) ? (uint32_t)bl_draw(m, 0, 5000) : 0;
    g->jitter_ms = (uint32_t)bl_draw(m, 0, 2000);
    g->noise = 30;
    g->phases = m->phase;
    return g;
}

/* Curves differ too much in their upper ends to compare these, so misses are drawn for half of the
 * working set: 20 to 2000 in a second. */
balloon_sim_phase *bl_make_phase(struct bl_maker *m, balloon_sim_guest *g, uint64_t at_ms,
                                 uint64_t pages, uint32_t curve)
{
    balloon_sim_phase *p = m->phase++;
    uint64_t half = balloon_curve_at(&bl_scenario_curves[curve], BALLOON_SIM_ONE / 2);

    g->phase_count++;
    p->at_ms = at_ms;
    p->pages = bl_sim_most(pages, 1);
    p->misses = bl_div(bl_draw(m, 20, 2000) * 1000 * BALLOON_SIM_ONE, half);
    p->curve = curve;
    p->file = (uint32_t)bl_draw(m, 100, 700);
    return p;
}

void bl_make_phases(struct bl_maker *m, balloon_sim_guest *g, uint32_t low, uint32_t high)
{
    uint64_t at = 0;

    while (at < m->scenario->duration_ms) {
        uint64_t pages = bl_percent(g->max, bl_draw(m, low, high));
        balloon_sim_phase *p =
            bl_make_phase(m, g, at, pages, bl_draw_curve(m, BL_CURVE_GENTLE, BL_CURVE_QUERIES));

        p->cold = bl_percent(g->max, bl_draw(m, 0, 20));
        at += bl_draw(m, 60, 600) * SECOND;
    }
}

void bl_make_crowd(struct bl_maker *m, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i <= last; i++)
        bl_make_phases(m, bl_make_guest(m, i, 0), 20, 100);
}

void bl_make_event(struct bl_maker *m, uint64_t at_ms, balloon_sim_event_kind kind, uint32_t guest,
                   uint64_t value)
{
    m->events[m->scenario->event_count++] =
        (balloon_sim_event){.at_ms = at_ms, .kind = kind, .guest = guest, .value = value};
}

void bl_make_pool(struct bl_maker *m, uint32_t overcommit)
{
    uint64_t ram = 0;

    for (uint32_t i = 0; i < m->scenario->guest_count; i++)
        ram += m->guests[i].max;
    m->scenario->pages = bl_div(ram * 100, overcommit);
}

/* --- making ----------------------------------------------------------------------------------- */

/* Guests that are there at the start get equal parts of the budget, within their limits. */
static void share_out(struct bl_maker *m)
{
    uint64_t budget = m->scenario->pages - (m->scenario->pages >> 5);
    uint64_t low = 0, high = (uint64_t)1 << 34;

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2, sum = 0;

        for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
            const balloon_sim_guest *g = &m->guests[i];

            if (!g->arrive_ms)
                sum += bl_sim_most(g->min, bl_sim_least(g->max, middle));
        }
        if (sum <= budget)
            low = middle;
        else
            high = middle;
    }
    for (uint32_t i = 0; i < m->scenario->guest_count; i++) {
        balloon_sim_guest *g = &m->guests[i];

        if (!g->arrive_ms)
            g->start = bl_sim_most(g->min, bl_sim_least(g->max, low));
    }
}

static uint64_t duration_of(const balloon_scenario_options *o)
{
    uint64_t duration = plans[o->number - 1].duration * SECOND;

    if (o->number == 20)
        return o->trace->rows * o->trace->row_ms;
    if (o->number == 15 && o->guests >= 1000)
        return (o->guests >= 5000 ? 120 : 600) * SECOND;
    return duration;
}

static uint32_t guests_of(const balloon_scenario_options *o)
{
    if (o->number == 20)
        return o->trace->columns;
    return o->guests ? o->guests : plans[o->number - 1].guests;
}

static bool options_valid(const balloon_scenario_options *o)
{
    const balloon_scenario_trace *t;

    if (!o || !bl_sized(o, sizeof(*o)) || !o->number || o->number > BALLOON_SCENARIOS ||
        o->guests > GUESTS_MAX || o->period_ms == 1 || o->period_ms > 3600 * SECOND)
        return false;
    t = o->trace;
    if (o->number == 20)
        return t && t->pages && t->rows && t->columns && t->columns <= GUESTS_MAX && t->row_ms &&
               t->row_ms <= 1000 * 1000 * SECOND / t->rows;
    return guests_of(o) >= plans[o->number - 1].least;
}

struct places {
    uint64_t guests, phases, events, bytes;
};

static bool lay_out(const balloon_scenario_options *o, struct places *places)
{
    uint64_t phases, at;

    if (!options_valid(o))
        return false;
    /* Phases last for a minute or more, but for those of a trace and of some that have 64. */
    phases = o->number == 20 ? o->trace->rows : bl_div(duration_of(o), 60 * SECOND) + 64;
    if (guests_of(o) >= 1000)
        phases = o->number == 20 ? phases : bl_div(duration_of(o), 60 * SECOND) + 24;
    at = places->guests = (sizeof(balloon_scenario) + 15) & ~(uint64_t)15;
    at += guests_of(o) * (uint64_t)sizeof(balloon_sim_guest);
    places->phases = at;
    at += guests_of(o) * phases * sizeof(balloon_sim_phase);
    places->events = at;
    at += plans[o->number - 1].events * (uint64_t)sizeof(balloon_sim_event);
    places->bytes = at;
    return at <= SIZE_MAX / 2;
}

balloon_status balloon_scenario_layout(const balloon_scenario_options *options,
                                       balloon_layout *layout)
{
    struct places places;

    if (!lay_out(options, &places))
        return BALLOON_ERR_INVALID;
    *layout = (balloon_layout){(size_t)places.bytes, _Alignof(max_align_t)};
    return BALLOON_OK;
}

balloon_status balloon_scenario_build(void *memory, size_t bytes,
                                      const balloon_scenario_options *options,
                                      const balloon_scenario **scenario)
{
    struct places places;
    struct bl_maker m = {.options = options};
    char *base = memory;

    if (!lay_out(options, &places) || !memory || (uintptr_t)memory & (_Alignof(max_align_t) - 1))
        return BALLOON_ERR_INVALID;
    if (bytes < places.bytes)
        return BALLOON_ERR_NOSPACE;
    memset(memory, 0, (size_t)places.bytes);
    m.scenario = memory;
    m.guests = (balloon_sim_guest *)(void *)(base + places.guests);
    m.phase = (balloon_sim_phase *)(void *)(base + places.phases);
    m.events = (balloon_sim_event *)(void *)(base + places.events);
    /* Scenarios of one seed should have nothing in common. */
    m.random = options->seed * 64 + options->number;
    m.random = bl_sim_random(&m.random);
    *m.scenario = (balloon_scenario){.name = plans[options->number - 1].name,
                                     .text = plans[options->number - 1].text,
                                     .duration_ms = duration_of(options),
                                     .curves = bl_scenario_curves,
                                     .curve_count = BL_CURVES,
                                     .guest_count = guests_of(options),
                                     .guests = m.guests,
                                     .events = m.events};
    bl_scenario_fills[options->number - 1](&m);
    if (!m.scenario->pages)
        bl_make_pool(&m, (uint32_t)bl_draw(&m, 130, 200));
    share_out(&m);
    *scenario = m.scenario;
    return BALLOON_OK;
}
