/* What the two optima share: a guest on a grid of units. */
#ifndef BALLOON_SIM_OPTIMUM_P_H
#define BALLOON_SIM_OPTIMUM_P_H

#include <balloon/optimum.h>

bool bl_optimum_guest_valid(const balloon_optimum_guest *guest);

/* Units from min to max, the last one maybe less than whole. */
uint64_t bl_optimum_steps(const balloon_optimum_guest *guest, uint64_t unit);

/* Weighted misses with that many units above min. */
uint64_t bl_optimum_cost(const balloon_optimum_guest *guest, uint64_t unit, uint64_t steps);

#endif
