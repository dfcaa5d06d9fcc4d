/* The order of events: a heap of guests by when something happens to them next. */
#include "sim_p.h"

static bool earlier(const balloon_sim *sim, uint32_t a, uint32_t b)
{
    uint64_t x = sim->guests[a].next, y = sim->guests[b].next;

    return x != y ? x < y : a < b;
}

void bl_sim_seat(balloon_sim *sim, uint32_t place, uint32_t guest)
{
    sim->heap[place] = guest;
    sim->guests[guest].heap = place;
}

/* Put a guest into its place among the others after its next time has changed. */
static void sift(balloon_sim *sim, uint32_t guest)
{
    uint32_t place = sim->guests[guest].heap;

    while (place && earlier(sim, guest, sim->heap[(place - 1) / 2])) {
        bl_sim_seat(sim, place, sim->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * place + 1;

        if (child + 1 < sim->count && earlier(sim, sim->heap[child + 1], sim->heap[child]))
            child++;
        if (child >= sim->count || !earlier(sim, sim->heap[child], guest))
            break;
        bl_sim_seat(sim, place, sim->heap[child]);
        place = child;
    }
    bl_sim_seat(sim, place, guest);
}

/* Something about a guest has changed: what does it do next? */
void bl_sim_wake(balloon_sim *sim, struct bl_sim_guest *g)
{
    bl_sim_guest_schedule(sim, g);
    bl_sim_wait(sim, g);
}

void bl_sim_wait(balloon_sim *sim, struct bl_sim_guest *g)
{
    g->next = BALLOON_SIM_NEVER;
    for (int i = 0; i < BL_SIM_TIMERS; i++)
        g->next = bl_sim_least(g->next, g->at[i]);
    sift(sim, (uint32_t)(g - sim->guests));
}
