/* What the files of the built-in scenarios share: drawing guests and phases. */
#ifndef BALLOON_SIM_SCENARIO_P_H
#define BALLOON_SIM_SCENARIO_P_H

#include "sim_p.h"

enum bl_curve {
    BL_CURVE_GENTLE,
    BL_CURVE_SQUARE,
    BL_CURVE_CUBE,
    BL_CURVE_STEEP,
    BL_CURVE_STEEPEST,
    BL_CURVE_LOOP, /* from here on cliffs, */
    BL_CURVE_HALF_LOOP,
    BL_CURVE_TWO_LOOPS,
    BL_CURVE_COMPILER, /* from here on measured */
    BL_CURVE_HISTORY,
    BL_CURVE_DATABASE,
    BL_CURVE_TABLE,
    BL_CURVE_QUERIES,
    BL_CURVE_STREAM,
    BL_CURVE_ROUND,
    BL_CURVES
};

extern const balloon_curve bl_scenario_curves[BL_CURVES];

#define SECOND ((uint64_t)1000)

/* A scenario in the making. */
struct bl_maker {
    const balloon_scenario_options *options;
    balloon_scenario *scenario;
    balloon_sim_guest *guests;
    balloon_sim_event *events;
    balloon_sim_phase *phase; /* the next one to use */
    uint64_t random;
};

/* One for each number, from 1 on: draws guests, phases and events. */
typedef void bl_scenario_fill(struct bl_maker *m);
extern bl_scenario_fill *const bl_scenario_fills[BALLOON_SCENARIOS];

/* A number from low to high. Never two draws in one call: C leaves the order of arguments open. */
uint64_t bl_draw(struct bl_maker *m, uint64_t low, uint64_t high);

/* A curve from first to last. */
uint32_t bl_draw_curve(struct bl_maker *m, uint32_t first, uint32_t last);

/* Guest i with drawn properties and that much RAM in pages, or with drawn RAM for 0. */
balloon_sim_guest *bl_make_guest(struct bl_maker *m, uint32_t i, uint64_t ram);

/* One more phase of a guest: a drawn rate of misses and share of files. */
balloon_sim_phase *bl_make_phase(struct bl_maker *m, balloon_sim_guest *g, uint64_t at_ms,
                                 uint64_t pages, uint32_t curve);

/* Phases of 60 to 600 s to the end, with needs from percent low to high of RAM. */
void bl_make_phases(struct bl_maker *m, balloon_sim_guest *g, uint32_t low, uint32_t high);

/* Guests from first to last with drawn RAM and phases. */
void bl_make_crowd(struct bl_maker *m, uint32_t first, uint32_t last);

void bl_make_event(struct bl_maker *m, uint64_t at_ms, balloon_sim_event_kind kind, uint32_t guest,
                   uint64_t value);

/* So much RAM, in hundredths of the pool, do the guests have: the size of the pool from it. */
void bl_make_pool(struct bl_maker *m, uint32_t overcommit);

static inline uint64_t bl_percent(uint64_t whole, uint64_t percent)
{
    return bl_div(whole * percent, 100);
}

#endif
